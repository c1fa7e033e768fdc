"""The dataset card and the Croissant metadata of a corpus, read by the packages they are for."""

import json
import logging
import re
from collections import Counter
from pathlib import Path

import datasets
import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image as Picture

import pipeline.card
from filters import consent
from pipeline.card import Told, card, cell, most_of, named
from pipeline.croissant import croissant
from pipeline.inspect.finished import Finished, open_corpus
from pipeline.inspect.funnel import counted, funnel, part_readers
from pipeline.miniweb.generate import generate
from pipeline.miniweb.write import warc_records
from shards.readers import read_documents
from tests.corpora import build_here


def told(corpus: Finished) -> bytes:
    """The card, from files read once more with all names in memory, and not from what the build counted."""
    names: dict[tuple[str, str], list[int]] = {}
    stated = Counter[str]()
    for read in part_readers(corpus, ()):
        found, more = named(read)
        stated.update(more)
        for key, counts in found.items():
            names[key] = [sum(pair) for pair in zip(names.get(key, (0, 0)), counts, strict=True)]
    return card(corpus, Told(counted(corpus), stated, most_of({key: (a, b) for key, (a, b) in names.items()})))


def rows(corpus: Finished, folder: str) -> int:
    return sum(entry.rows for entry in corpus.files(folder))


def test_datasets_loads_every_table_of_a_directory(small_corpus: Path, tmp_path: Path) -> None:
    corpus, cache = open_corpus(small_corpus), str(tmp_path)
    windows = datasets.load_dataset(str(small_corpus), cache_dir=cache)
    assert set(windows) == {"train", "validation"}
    assert sum(map(len, windows.values())) == rows(corpus, "windows") and windows["train"][0]["images"][0].size[0] > 1
    documents = datasets.load_dataset(str(small_corpus), "documents", cache_dir=cache)["full"]
    assert len(documents) == rows(corpus, "documents") and "held_out" in documents.features
    assert len(datasets.load_dataset(str(small_corpus), "images", cache_dir=cache)["full"]) == rows(corpus, "images")


def test_the_card_tells_what_the_corpus_holds_and_what_opted_out(small_corpus: Path) -> None:
    corpus = open_corpus(small_corpus)
    text = (small_corpus / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert [config["config_name"] for config in front["configs"]] == ["windows", "documents", "images"]
    found = list(read_documents(map(corpus.path, corpus.files("documents"))))
    languages = Counter(row["language"] for row in found)
    assert front["language"] == sorted(languages)
    images = sum(image is not None for row in found for image in row["images"] if row["language"] == "ja")
    assert f"| ja | {languages['ja']} | {images} |" in text
    for level in funnel(corpus)["levels"]:
        for row in level["rules"]:
            assert f"{row['count']:,} `{row['rule']}`" in text
            if row["rule"] in consent.RULES:
                assert f"| `{row['rule']}` | " in text.split("## Opt-outs")[1].split("## Funnel")[0]
    assert str(small_corpus) not in text and "miniweb.warc.gz" in text


def test_licences_and_authors_of_pages_are_counted_and_cannot_write_markup(small_corpus: Path, tmp_path: Path) -> None:
    licence = "https://creativecommons.org/licenses/by/4.0/"
    hostile = "<b>|\n# `x` [a](javascript:b) ![](http://c) \u202e" + "long " * 99
    corpus = open_corpus(small_corpus)
    names = [licence, licence, hostile]
    (tmp_path / "documents").mkdir()
    for entry in corpus.files("documents"):
        table = pq.read_table(corpus.path(entry), partitioning=None)
        changed = table.to_pylist()
        for row in changed:
            if names:
                row["metadata"] |= {"licence": names.pop(), "author": "A. Writer"}
        pq.write_table(pa.Table.from_pylist(changed, table.schema), tmp_path / entry.path)
    for name in ("images", "windows", "work"):
        (tmp_path / name).symlink_to(small_corpus / name)
    text = told(Finished(tmp_path, corpus.manifest, corpus.recipe)).decode()
    assert f"| {cell(licence)} | 2 | " in text and "(3 of " in text
    section = text.split("## Licences")[1].split("## Opt-outs")[0]
    assert "<b>" not in section and "](" not in section and "\u202e" not in section and "\n# " not in section
    assert max(map(len, section.splitlines())) < 400


def test_an_image_has_its_licence_and_the_author_and_licence_of_its_page(tmp_path: Path) -> None:
    licence, own = "https://creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/publicdomain/zero/1.0/"
    head = f'<title>A</title><meta name=author content="A. Writer"><link rel=license href="{licence}">'
    (tmp_path / "site").mkdir()
    words = [
        "harbour",
        "morning",
        "lighthouse",
        "photograph",
        "museum",
        "northern",
        "rocks",
        "tide",
        "boats",
        "painting",
    ]
    for name, said in (("a", head), ("b", "<title>B</title>")):
        lines = [f"<p>The {one} of the {two} shows that a {name} lies there.</p>" for one in words for two in words]
        image = f"<img src={name}.png>"
        if name == "a":
            stated = f"<meta itemprop=creator content='P. Hotographer'><a itemprop=license href={own}>CC0</a>"
            image = f"<figure itemscope itemtype=https://schema.org/ImageObject>{image}{stated}</figure>"
        body = f"<article><h1>Page</h1>{''.join(lines[:20])}{image}{''.join(lines[20:40])}</article>"
        page = f"<html><head>{said}</head><body>{body}</body></html>"
        (tmp_path / "site" / f"{name}.html").write_text(page)
        Picture.effect_noise((200, 160), 90).save(tmp_path / "site" / f"{name}.png")
    corpus = build_here([tmp_path / "site"], tmp_path / "corpus", ["dedup.near_text=false"], "https://example.org/")
    table = pq.read_table(corpus / "images" / "00000.parquet", partitioning=None).to_pylist()
    found = {row["page_url"]: (row["url"], row["page_author"], row["page_licence"]) for row in table}
    assert found == {
        "https://example.org/a.html": ("https://example.org/a.png", "A. Writer", licence),
        "https://example.org/b.html": ("https://example.org/b.png", "", ""),
    }
    assert {row["page_url"][-6]: (row["author"], row["licence"]) for row in table} == {
        "a": ("P. Hotographer", own),
        "b": ("", ""),
    }
    told = (corpus / "README.md").read_text()
    assert f"| {cell(licence)} | 1 | 0 |" in told and f"| {cell(own)} | 0 | 1 |" in told
    assert "(1 of 2 images)" in told and "(1 of 2 images have an author)" in told
    shards = (corpus / "windows").glob("*.parquet")
    images = [image for path in shards for row in pq.read_table(path).to_pylist() for image in row["image_metadata"]]
    assert {image["licence"] for image in images} == {own, ""}


def test_a_corpus_with_windows_in_tar_files_only_says_what_reads_them(small_corpus: Path) -> None:
    corpus = open_corpus(small_corpus)
    files = [entry for entry in corpus.manifest["files"] if not re.fullmatch(r"windows/.*\.parquet", entry["path"])]
    tars = Finished(corpus.root, corpus.manifest | {"files": files}, corpus.recipe)
    text = told(tars).decode()
    configs = yaml.safe_load(text.split("---")[1])["configs"]
    assert [config["config_name"] for config in configs] == ["documents", "images"] and configs[0]["default"]
    assert "use the `webdataset` library for them." in text
    assert [table["@id"] for table in json.loads(croissant(tars, ""))["recordSet"]] == ["documents", "images"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")
def test_mlcroissant_validates_and_reads_the_tables(small_corpus: Path, caplog) -> None:
    corpus = open_corpus(small_corpus)
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld=str(small_corpus / "croissant.json"))
    assert dataset.metadata.name and "context" not in caplog.text
    for name in ("documents", "images"):
        found = list(dataset.records(name))
        assert len(found) == rows(corpus, name)
    assert {row["images/status"] for row in found} >= {b"success"}
    assert any(entry["path"] == "croissant.json" for entry in corpus.manifest["files"])


def test_the_card_adds_up_what_parts_have_in_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts with pages in several parts, more of them than the table shows."""
    monkeypatch.setattr(pipeline.card, "ROWS", 3)
    monkeypatch.setattr(pipeline.card, "KEPT", {"host": 3, "language": 2, "licence": 3})
    files = [tmp_path / f"{number}.warc" for number in range(3)]
    for place, record in enumerate(warc_records(generate(120, seed=3))):
        with files[place % 3].open("ab") as file:
            file.write(record)
    corpus = open_corpus(build_here(files, tmp_path / "corpus", []))
    assert corpus.manifest["parts"] >= 3
    text = (corpus.root / "README.md").read_text()
    assert text.encode() == told(corpus) and " others | " in text


def test_the_same_corpus_gives_the_same_bytes(small_corpus: Path) -> None:
    corpus = open_corpus(small_corpus)
    assert (small_corpus / "README.md").read_bytes() == told(corpus)
    assert (small_corpus / "croissant.json").read_bytes() == croissant(
        corpus, "Interleaved image-text corpus from the web"
    )
