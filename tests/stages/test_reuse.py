"""A corpus as the input: the same bytes as a build from its input, and what is taken down is gone."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.image import LOOKS
from filters.takedown import listed, read
from filters.word_lists import WordListError
from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.whatif import what_if
from pipeline.stages.reuse import is_corpus
from tests.corpora import build_here, digests

STRICTER = ["text.min_words=60", "image.min_side=100"]


def documents(root: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((root / "documents").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def rules(root: Path, name: str) -> dict[str, int]:
    (level,) = (level for level in funnel(root)["levels"] if level["level"] == name)
    return {row["rule"]: row["count"] for row in level["rules"]}


def test_another_threshold_gives_what_a_build_from_the_input_gives(
    web_warc: Path, undisturbed: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    again = build_here([undisturbed], tmp_path / "again", STRICTER)
    whole = build_here([web_warc], tmp_path / "whole", STRICTER)
    assert digests(again) == digests(whole) != expected
    assert digests(undisturbed) == expected
    for folder in ("pages", "records"):
        for path in (undisturbed / "work" / folder).glob("*.parquet"):
            assert (again / "work" / folder / path.name).samefile(path)


def test_takedown(undisturbed: Path, tmp_path: Path) -> None:
    before = documents(undisturbed)
    page, site = before[0]["url"], before[-1]["site"]
    image = next(
        image for row in before if row["site"] != site and row["url"] != page for image in row["images"] if image
    )
    taken = tmp_path / "takedown.txt"
    taken.write_text(f"# asked for\n{page}\n{site}  # a host\n\n{image['sha256'].hex()}\n")
    settings = [f"page.takedown={taken}", "text.min_words=0"]
    root = build_here([undisturbed], tmp_path / "corpus", settings)
    after = documents(root)
    gone = {row["url"] for row in before if row["url"] == page or row["site"] == site}
    assert after and gone and not gone & {row["url"] for row in after}
    assert image["sha256"] not in {image["sha256"] for row in after for image in row["images"] if image}
    assert rules(root, "pages")["page.takedown"] >= len(gone)
    assert rules(root, "pictures")["image.takedown"] == 1
    held = b"".join(path.read_bytes() for path in (root / "images").glob("*.tar"))
    assert stored_bytes(undisturbed, image) not in held


def stored_bytes(root: Path, image: dict[str, Any]) -> bytes:
    rows = [row for path in (root / "images").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    row = next(row for row in rows if row["stored_sha256"] == image["stored_sha256"])
    data = (root / "images" / row["tar"]).read_bytes()[row["offset"] : row["offset"] + row["length"]]
    assert sha256(data).digest() == image["stored_sha256"]
    return data


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("extract.comments=true", "must be extracted again (extract.comments differ): build from its input"),
        ("image.max_side=100", "must be decoded again (image.max_side differs): build from its input"),
    ],
)
def test_what_needs_the_input(undisturbed: Path, tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(BuildError) as raised:
        build_here([undisturbed], tmp_path / "corpus", [setting])
    assert message in str(raised.value)
    assert not (tmp_path / "corpus").exists()


def test_a_corpus_without_newer_columns_is_an_input(undisturbed: Path, tmp_path: Path) -> None:
    """The looks of images are measured again; what is not known drops nothing."""
    older = tmp_path / "older"
    shutil.copytree(undisturbed, older)
    names = [metric.name for metric in LOOKS]
    whole = columns(undisturbed, names)
    for folder, gone in (("distinct_images", names), ("references", ["declared"])):
        for path in (older / "work" / folder).glob("*.parquet"):
            pq.write_table(pq.read_table(path, partitioning=None).drop_columns(gone), path)
    manifest = older / "work/pages/manifest.json"
    listed = json.loads(manifest.read_text())
    for entry in (entry for entry in listed["files"] if entry["path"].startswith("work/pages/")):
        path = older / entry["path"]
        table = pq.read_table(path, partitioning=None)
        at = table.schema.get_field_index("images")
        kept = [field for field in table.schema.field(at).type.value_type if field.name not in ("licence", "author")]
        without = pa.table({"images": table["images"].to_pylist()}, pa.schema([("images", pa.list_(pa.struct(kept)))]))
        pq.write_table(table.set_column(at, without.schema.field(0), without["images"]), path)
        entry["bytes"] = path.stat().st_size
    manifest.write_text(json.dumps(listed))
    (generation,) = (older / "work/generations").glob("*.json")
    generation.rename(generation.with_name("00007.json"))  # of a corpus that was built seven times
    limits = ["image.min_bytes=1000000", "image.min_declared_side=1000", f"image.min_sharpness={max(whole[2]) + 1}"]
    told = what_if(open_corpus(older), limits)
    pages, images = told["levels"]
    assert pages["out"][0] == pages["out"][1] > 0 and images["out"][0] == images["out"][1]
    again = build_here([older], tmp_path / "again")
    found = columns(again, names)
    assert found[0] == found[1] == [None] * len(whole[0])
    # the stored JPEG, where a build measures before compression
    assert found[2] == pytest.approx(whole[2], rel=0.6, abs=30) and found[3] == pytest.approx(whole[3], abs=0.1)
    assert documents(again) == documents(undisturbed)


def columns(root: Path, names: list[str]) -> list[list[Any]]:
    """Columns of the stored images, in the order of their contents."""
    parts = [pq.read_table(path, partitioning=None) for path in (root / "work/distinct_images").glob("*.parquet")]
    table = pa.concat_tables(parts).sort_by("content")
    return [table.filter(table["rule"].is_null())[name].to_pylist() for name in names]


def test_a_damaged_corpus_is_no_input(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "damaged")
    path = next((tmp_path / "damaged" / "work" / "pages").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BuildError, match=r"the pages of .*damaged are damaged"):
        build_here([tmp_path / "damaged"], tmp_path / "corpus")


def test_an_unfinished_corpus_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "half" / "work").mkdir(parents=True)
    (tmp_path / "half" / "recipe.toml").write_text("")
    with pytest.raises(BuildError, match=r"the build of .*half has not finished"):
        build_here([tmp_path / "half"], tmp_path / "corpus")
    (tmp_path / "half" / "warc").mkdir()
    assert not is_corpus(tmp_path / "half")


def test_a_corpus_is_the_only_input(undisturbed: Path, web_warc: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="give it as the only input"):
        build_here([undisturbed, web_warc], tmp_path / "corpus")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a?b=1#c", True),
        ("http://example.org/a/?b=1", True),
        ("https://example.org/a", False),
        ("https://www.example.net/any", True),
        ("https://notexample.net/any", False),
        ("https://xn--bcher-kva.example/a", True),
        ("https://www.xn--bcher-kva.example/", True),
        ("https://a.example/%C3%A4%20b", True),
        ("https://a.example/ä b#c", True),
        ("https://user:password@a.example:443/%C3%A4%20b", True),
        ("https://a.example:8080/%C3%A4%20b", False),
        ("http://192.0.2.1./", True),
        ("https://www.example.net./any", True),
        ("https://example.org./a?b=1", True),
        ("https://[broken", False),
        ("", False),
    ],
)
def test_entries_of_a_takedown_list(tmp_path: Path, url: str, expected: bool) -> None:
    entries = ("https://Example.org/a?b=1 # page", "*.example.net", "Bücher.example.", "a.example/ä b", "192.0.2.1")
    (tmp_path / "list").write_text("\n".join([*entries, "0f" * 32]))
    known = read(str(tmp_path / "list"))
    assert listed(url, known) == expected and known.contents == {bytes.fromhex("0f" * 16)}


@pytest.mark.parametrize(
    "entry", ["not a host", "0f" * 31, "0f" * 20, "sha256:" + "0f" * 32, "example.org:80", "https://[broken/", "a@b.c"]
)
def test_what_is_no_entry_of_a_takedown_list_is_refused(undisturbed: Path, tmp_path: Path, entry: str) -> None:
    (tmp_path / "list").write_text(f"example.org\nintranet\nhttps://x.org/a b\nbücher.example\n{entry}\n")
    with pytest.raises(BuildError, match="is neither a URL, a host nor a sha256 sum") as raised:
        build_here([undisturbed], tmp_path / "corpus", [f"page.takedown={tmp_path / 'list'}"])
    assert repr(entry) in str(raised.value)


def test_a_list_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WordListError, match="No such file"):
        read(str(tmp_path / "missing"))
