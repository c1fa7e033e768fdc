"""The truth of the generated web against the result of a build."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.inspect import command
from pipeline.inspect.finished import open_corpus
from pipeline.miniweb import PageTruth, Web


def rows(root: Path, folder: str) -> list[dict[str, Any]]:
    files = sorted((root / folder).glob("*.parquet"))
    return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]


def paragraphs(texts: list[str | None], images: list[str | None]) -> list[tuple[str, str]]:
    """Nodes as one entry a paragraph and one an image, white space folded."""
    found = []
    for text, image in zip(texts, images, strict=True):
        if text is None:
            found.append(("image", str(image)))
        else:
            found += [("text", " ".join(paragraph.split())) for paragraph in text.split("\n\n")]
    return found


@pytest.fixture(scope="module")
def documents(undisturbed: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["url"], row["capture"]["date"]): row for row in rows(undisturbed, "documents")}


def page_rules(undisturbed: Path) -> Counter[tuple[str, str | None]]:
    """(URL, rule) of every page record; the rules of records that never became pages too."""
    found: Counter[tuple[str, str | None]] = Counter()
    for pages, split in zip(
        sorted((undisturbed / "work/pages").glob("*.parquet")),
        sorted((undisturbed / "work/split").glob("*.parquet")),
        strict=True,
    ):
        urls = pq.read_table(pages, columns=["url"])["url"].to_pylist()
        rules = pq.read_table(split, columns=["rule"])["rule"].to_pylist()
        found.update(zip(urls, rules, strict=True))
    for record in rows(undisturbed, "work/records"):
        if record["kind"] == "response" and record["rule"] is not None:
            found[record["url"], record["rule"]] += 1
        elif record["use"] == "link" and record["kind"] == "response":
            found[record["url"], "record.redirect"] += 1
    return found


def test_every_page_is_kept_or_dropped_under_its_rule(web: Web, undisturbed: Path) -> None:
    expected = Counter((truth.url, truth.rule) for truth in web.truth)
    found = page_rules(undisturbed)
    # pictures are not in the truth's list of pages
    pages = {truth.url for truth in web.truth}
    found = Counter({key: count for key, count in found.items() if key[0] in pages})
    assert found == expected
    assert len({rule for _, rule in expected}) > 15


def test_nodes_stand_in_order_with_images_at_their_positions(web: Web, documents: dict[Any, dict[str, Any]]) -> None:
    kept = [truth for truth in web.truth if truth.rule is None]
    assert len(kept) == len(documents)
    for truth in kept:
        assert_nodes(truth, documents[truth.url, truth.date])


def assert_nodes(truth: PageTruth, document: dict[str, Any]) -> None:
    first = {url: name for name, urls in truth.alternatives.items() for url in urls}
    urls = [image and image["url"] for image in document["images"]]
    got = paragraphs(document["texts"], [url and first.get(url, url) for url in urls])
    want = paragraphs(
        [value if kind == "text" else None for kind, value in truth.nodes],
        [value if kind == "image" else None for kind, value in truth.nodes],
    )
    # a page's title may stand in its metadata instead of its text
    if got[0] != want[0] and want[0][0] == "text" and want[0][1] in document["metadata"]["title"]:
        del want[0]
    # and the author of the first post beside it
    if got[0] != want[0] and "/forum/" in truth.url:
        del want[0]
    assert got == want, f"{truth.url} ({truth.case})"


def test_every_picture_that_goes_goes_under_its_rule(web: Web, undisturbed: Path) -> None:
    # extraction may see that a tracking pixel is no picture of the page, or leave that to the rules
    pixel = "tracking-pixel"
    expected = Counter(rule for truth in web.truth for url, rule in truth.dropped if pixel not in url)
    survivors = {
        (part, row)
        for part, path in enumerate(sorted((undisturbed / "work/dedup").glob("*.parquet")))
        for row, rule in enumerate(pq.read_table(path)["rule"].to_pylist())
        if rule is None
    }
    found: Counter[str] = Counter()
    for part, path in enumerate(sorted((undisturbed / "work/decisions").glob("*.parquet"))):
        for verdict in pq.read_table(path).to_pylist():
            assert (part, verdict["row"]) in survivors
            if verdict["rule"] is not None and pixel not in verdict["url"]:
                found[verdict["rule"]] += 1
    # extraction may also see that the badge of a web ring is no image of the page
    badges = "image.too_common"
    assert found.pop(badges) in range(expected[badges] // 2, expected.pop(badges) + 1)
    assert found == expected


def test_a_page_that_opted_out_leaves_its_url_and_rule_alone(undisturbed: Path) -> None:
    refused = [row for row in rows(undisturbed, "work/pages") if (row["rule"] or "").startswith("consent.")]
    assert refused
    for row in refused:
        assert {name for name, value in row.items() if value} == {"url", "url_hash", "rule"}


def test_validation_shows_nothing_that_training_shows(documents: dict[Any, dict[str, Any]]) -> None:
    shown: dict[str, set[bytes]] = {}
    sites: dict[str, set[str]] = {}
    for row in documents.values():
        shown.setdefault(row["split"], set()).update(image["sha256"] for image in row["images"] if image)
        sites.setdefault(row["split"], set()).add(row["site"])
    assert set(shown) >= {"train", "validation"}
    assert not shown["train"] & shown["validation"]


def test_verify_reads_every_table_of_work(undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(command, "file_problem", lambda root, entry: read.append(entry["path"]))
    assert not command.work_problems(open_corpus(undisturbed))
    written = {path.relative_to(undisturbed).as_posix() for path in (undisturbed / "work").glob("*/*.parquet")}
    assert written and written <= set(read)


def test_verify_takes_a_corpus_from_before_the_stage_counts(undisturbed: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(undisturbed, root)
    shutil.rmtree(root / "work/counts")
    (problem,) = command.work_problems(open_corpus(root))
    assert "counts" in problem
    manifest = json.loads((root / "manifest.json").read_text())
    del manifest["stages"]["counts"]
    (root / "manifest.json").write_text(json.dumps(manifest))
    assert not command.work_problems(open_corpus(root))
