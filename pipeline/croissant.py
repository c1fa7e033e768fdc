"""croissant.json of a corpus: its tables in MLCommons' Croissant format, version 1.0."""

import json
from typing import Any

import pyarrow as pa

from pipeline.inspect.finished import Finished
from pipeline.stages.schemas import IMAGES
from shards.records import DOCUMENTS, WINDOWS

NAME = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification, without which mlcroissant refuses a file."""
TABLES = (("windows", WINDOWS), ("documents", DOCUMENTS), ("images", IMAGES))


def croissant(corpus: Finished, title: str) -> bytes:
    """The metadata of a corpus whose files are complete. Fields are the columns of one text or number per row."""
    tables = [(name, schema) for name, schema in TABLES if any(entry.rows for entry in corpus.files(name))]
    value = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": "openm3w-corpus",
        "description": f"{title}: documents, training windows and the index of images. README.md has more.",
        "license": "README.md",
        "url": "README.md",
        "version": corpus.manifest["tool"]["version"],
        "isLiveDataset": False,
        "distribution": [_files(name) for name, _ in tables],
        "recordSet": [_records(name, schema) for name, schema in tables],
    }
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _files(name: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{name}-files",
        "name": f"{name}-files",
        "encodingFormat": "application/x-parquet",
        "includes": f"{name}/*.parquet",
    }


def _records(name: str, schema: pa.Schema) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{field.name}",
            "dataType": kind,
            "source": {"fileSet": {"@id": f"{name}-files"}, "extract": {"column": field.name}},
        }
        for field in schema
        if (kind := _data_type(field.type)) is not None
    ]
    return {"@type": "cr:RecordSet", "@id": name, "field": fields}


def _data_type(kind: pa.DataType) -> str | None:
    if pa.types.is_string(kind):
        return "sc:Text"
    return "sc:Integer" if pa.types.is_integer(kind) else None
