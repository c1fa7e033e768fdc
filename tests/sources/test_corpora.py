"""Other projects' documents as inputs: OBELICS, OmniCorpus and MMC4, in files as they are published, and our exports of
them."""

import base64
import hashlib
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Picture

from pipeline.build import build
from pipeline.cli.commands import run
from pipeline.engine.progress import Progress
from pipeline.errors import BuildError
from pipeline.export import export
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.miniweb.serve import Asked, Server
from pipeline.recipe import load
from pipeline.sources.given import KIND, document_of
from pipeline.sources.record import Record
from pipeline.stages.fetch import Network
from pipeline.stages.parts import cut, with_images
from shards.readers import read_documents
from shards.records import Text
from tests.corpora import SMALL, build_here
from tests.fetch.answers import ok

URL = "https://example.org/a"
LIMIT = 1_000_000
ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
LISTS = [(name, pa.list_(pa.string())) for name in ("images", "texts")]
OBELICS = pa.schema([*LISTS, ("metadata", pa.string()), ("general_metadata", pa.string())])


def noise(seed: int) -> bytes:
    buffer = io.BytesIO()
    Picture.effect_noise((160, 160), 40 + seed).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def records(path: Path) -> list[Record]:
    source = cut(None, [path], "file:///")
    return [record for part in source.parts.parts for record in source.read(part.number, LIMIT)]


def nodes(record: Record) -> list[str | tuple[str, str]]:
    document = document_of(record)
    assert document is not None
    return [node.text if isinstance(node, Text) else (node.url, node.alt) for node in document.nodes]


def row(texts: list[Any], images: list[Any], url: str = URL, **more: Any) -> dict[str, Any]:
    metadata = [image and {"document_url": url, "src": image, "alt_text": "An alt"} for image in images]
    told = {"texts": texts, "images": images, "metadata": json.dumps(metadata)}
    return told | {"general_metadata": json.dumps({"url": url, "warc_filename": "x"})} | more


def test_obelics_rows_become_documents_and_damaged_ones_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    text = "One.\n\nEND_OF_DOCUMENT_TOKEN_TO_BE_REPLACED\n\nTwo.\n\n\n\nThree."
    rows = [
        row([None, text, None, "Last"], ["https://example.org/1.jpg", None, "not a url", None]),
        row(["A"], []),
        row(["A", None], [None, "https://example.org/2.jpg"], general_metadata="{not JSON"),
        row(["A"], [None], url="no url"),
        row(["A"], [None], metadata=None),
    ]
    pq.write_table(pa.Table.from_pylist(rows, OBELICS), path, row_group_size=2)
    found = records(path)
    assert [record.rule for record in found] == [None, *["record.corrupt"] * 3, None]
    assert [record.number for record in found] == list(range(5)) and [r.offset for r in found] == list(range(5))
    assert found[0].kind == KIND and found[0].url == URL and "parallel" not in found[1].detail and found[1].detail
    assert nodes(found[0]) == [("https://example.org/1.jpg", "An alt"), "One.\n\nTwo.\n\nThree.\n\nLast"]
    assert document_of(found[0]).left_out == (("image.placeholder", 1),)


def test_omnicorpus_rows_become_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    told = [
        {"general_metadata": {"url": URL, "id": "x"}, "texts": ["A", None], "images": [None, URL], "metadata": [None]}
    ]
    pq.write_table(pa.Table.from_pylist(told), path)
    (record,) = records(path)
    assert nodes(record) == ["A", (URL, "")]


def mmc4(images: list[dict[str, Any]]) -> dict[str, Any]:
    return {"url": URL, "text_list": ["One.", "Two.", "Three."], "image_info": images, "similarity_matrix": []}


@pytest.mark.parametrize("name", ["docs_shard_0_v2.jsonl", "docs_shard_0_v2.jsonl.zip", "00000.tar"])
def test_mmc4_puts_an_image_before_its_sentence(name: str, tmp_path: Path) -> None:
    data = noise(1)
    encoded = base64.b64encode(data).decode()
    first, second = "https://example.org/1.jpg", "https://example.org/2.jpg"
    images = [
        {"image_name": "1", "raw_url": second, "matched_text_index": 2, "image_base64": encoded},
        {"image_name": "2", "raw_url": first, "matched_text_index": 0},
    ]
    lines = [json.dumps(mmc4(images)), "{broken", json.dumps(mmc4([]) | {"url": 7})]
    path = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("docs.jsonl", "\n".join(lines))
    elif name.endswith(".tar"):
        with tarfile.open(path, "w") as tar:
            for number, line in enumerate(lines):
                member = tarfile.TarInfo(f"{number}.json")
                member.size = len(line)
                tar.addfile(member, io.BytesIO(line.encode()))
    else:
        path.write_text("\n".join(lines))
    found = records(path)
    assert [record.rule for record in found] == [None, None, "record.corrupt", "record.corrupt"]
    assert nodes(found[0]) == [(first, ""), "One. Two.", (second, ""), "Three."]
    assert found[1].url == second and found[1].body == data
    source = cut(None, [path], "file:///")
    assert dict(source.bodies(0, {1}, dict, LIMIT)) == {1: data}


def test_files_of_another_kind_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "b.jsonl").write_text("[]\n")
    for name in ("a.parquet", "b.jsonl", "c.jsonl"):
        with pytest.raises(BuildError, match=r"not a file of mmc4|file or folder not found"):
            with_images([str(tmp_path / name)], "mmc4")


def test_the_command_takes_one_kind_and_says_what_it_would_read(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(mmc4([])) + "\n" for _ in range(3)))
    with pytest.raises(SystemExit) as ended:
        run(["build", "--from-mmc4", str(path), "-o", str(tmp_path / "corpus"), "--dry-run"])
    assert ended.value.code in (0, None) and re.search(r"pages +3\n", capsys.readouterr().out)
    with pytest.raises(SystemExit) as ended:
        run(["build", "--from-mmc4", "--from-obelics", str(path), "-o", str(tmp_path / "corpus")])
    assert ended.value.code == 2 and "--from-obelics and --from-mmc4" in capsys.readouterr().err


SETTINGS = ["dedup.near_text=false", "windows.validation=0"]


def test_obelics_comes_back_with_the_same_order_and_text(small_corpus: Path, tmp_path: Path) -> None:
    """obelics -> ours -> obelics, with images beside: rules, dedup and windows run, extraction does not."""
    export(small_corpus, "obelics", tmp_path / "first", print)
    named = with_images([str(tmp_path / "first" / "*.parquet")], "obelics")
    assert len(named) == 2
    corpus = build_here([Path(name) for name in named], tmp_path / "corpus", SETTINGS)
    export(corpus, "obelics", tmp_path / "second", print)
    first, second = (pq.read_table(tmp_path / name / "00000.parquet").to_pylist() for name in ("first", "second"))
    again = {json.loads(row["general_metadata"])["url"]: row for row in second}
    kept = [row for row in first if json.loads(row["general_metadata"])["url"] in again]
    assert len(kept) >= 0.95 * len(first) > 50
    for row in kept:
        other = again[json.loads(row["general_metadata"])["url"]]
        assert (other["texts"], other["images"]) == (row["texts"], row["images"])
    levels = {level["level"]: level for level in funnel(open_corpus(corpus))["levels"]}
    assert levels["records"]["out"]["page"] == len(first) and levels["windows"]["out"]["train"] > 50
    assert "image.outside" not in {rule["rule"] for rule in levels["images"]["rules"]}


def test_images_that_are_not_beside_are_fetched_and_opt_outs_are_obeyed(tmp_path: Path) -> None:
    bodies = {"/one.jpg": noise(1), "/closed/two.jpg": noise(2), "/robots.txt": b"User-agent: *\nDisallow: /closed/\n"}
    asked: list[str] = []

    def answer(request: Asked) -> bytes:
        asked.append(request.target)
        return ok(bodies[request.target]) if request.target in bodies else ABSENT

    words = "harbour morning lighthouse photograph museum northern rocks tide boats painting"
    text = " ".join(f"The {one} of the {two} is there." for one in words.split() for two in words.split()[:4])
    with Server(["127.0.0.1"], 0, answer) as server:
        images = [f"http://127.0.0.1:{server.port}{name}" for name in ("/one.jpg", "/closed/two.jpg")]
        path = tmp_path / "a.parquet"
        rows = [row([None, text, None], [images[0], None, images[1]])]
        pq.write_table(pa.Table.from_pylist(rows, OBELICS), path)
        network = Network(allow_private=("127.0.0.1/32",))
        options = ["--direct_num_workers=1"]
        recipe = load("web", SMALL)
        build([str(path)], tmp_path / "c", recipe, "file:///", options, Progress(io.StringIO()), network)
    corpus = open_corpus(tmp_path / "c")
    (document,) = read_documents(map(corpus.path, corpus.files("documents")))
    assert document["texts"] == [None, text] and document["images"][0]["url"] == images[0]
    assert document["images"][0]["sha256"] == hashlib.sha256(bodies["/one.jpg"]).digest()
    assert "/one.jpg" in asked and "/closed/two.jpg" not in asked
    levels = {level["level"]: level for level in funnel(corpus)["levels"]}
    assert {"rule": "robots.disallow", "count": 1} in levels["images"]["rules"]
