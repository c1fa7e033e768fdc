"""Growth: pages that an earlier corpus holds are left out of a new one."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.cli.commands import run
from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.recipe import load
from pipeline.stages.known import reads
from tests.corpora import SMALL, build_here
from tests.records import record
from tests.stages.test_folders import page, picture, shown

SITE = "http://e.org/"
SETTINGS = ["image.max_documents=100", "windows.validation=0"]


def text(seed: int) -> bytes:
    return page(seed, *(f"/{seed}.png" for _ in range(2)))


def warc(path: Path, pages: Sequence[tuple[str, bytes, str, str]], images: Sequence[int] = range(8)) -> Path:
    """A WARC file of pages (name, body, year, headers) and images."""
    captures = [record(SITE + n, body, date=f"{year}-01-01T00:00:00Z", headers=h) for n, body, year, h in pages]
    shots = [record(f"{SITE}{seed}.png", picture(seed), "image/png") for seed in images]
    path.write_bytes(b"".join([*captures, *shots]))
    return path


def rules(root: Path) -> dict[tuple[str, str | None], str | None]:
    """The rule of each capture."""
    found = {}
    for pages in sorted((root / "work/pages").glob("*.parquet")):
        told = pq.read_table(pages, columns=["url", "capture"]).to_pylist()
        verdicts = pq.read_table(root / "work/dedup" / pages.name)["rule"].to_pylist()
        for row, rule in zip(told, verdicts, strict=True):
            date = row["capture"]["date"] if row["capture"] else None  # of a page that opted out
            found[row["url"].removeprefix(SITE), date and date[:4]] = rule
    return found


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two earlier crawls and a later one."""
    folder = tmp_path_factory.mktemp("crawls")
    near = text(2).replace(b"</h1><p>", b"</h1><p>more ")
    later = [
        ("page0", text(7), "2024", ""),  # a newer capture, and another text
        ("x", text(1), "2024", ""),  # a shorter URL
        ("page2/print", near, "2024", ""),
        ("page3", text(3), "2024", "X-Robots-Tag: noai\r\n"),
        ("page5", text(5), "2024", ""),
        ("page5/print", text(5), "2024", ""),
        ("page6", text(6), "2024", ""),
    ]
    return [
        warc(folder / "a.warc.gz", [(f"page{seed}", text(seed), "2023", "") for seed in (0, 1, 2)]),
        warc(folder / "b.warc.gz", [(f"page{seed}", text(seed), "2023", "") for seed in (3, 4)]),
        warc(folder / "c.warc.gz", later),
    ]


@pytest.fixture(scope="module")
def earlier(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The corpora of the earlier crawls, without work/."""
    folder = tmp_path_factory.mktemp("earlier")
    roots = [build_here([path], folder / path.name[0], SETTINGS) for path in inputs[:2]]
    for root in roots:
        shutil.rmtree(root / "work")
    return roots


def test_a_new_crawl_adds_only_what_is_new(inputs: list[Path], earlier: list[Path], tmp_path: Path) -> None:
    first, second = earlier
    options = [part for setting in (*SMALL, *SETTINGS) for part in ("--set", setting)]
    known = ["--known", str(first), "--known", str(second)]
    with pytest.raises(SystemExit, match="0"):  # with a worker for each core
        run(["build", *map(str, inputs), "-o", str(tmp_path / "new"), *known, *options])
    setting = f"dedup.known={json.dumps([str(second), str(first)])}"
    again = build_here(inputs[::-1], tmp_path / "again", [*SETTINGS, setting])

    new = tmp_path / "new"
    assert len(list((new / "work/pages").glob("*.parquet"))) > 1, "files of earlier corpora are shared among parts"
    assert {*shown(new)} == {SITE + "page5", SITE + "page6"}
    assert shown(again) == shown(new) and rules(again) == rules(new)
    dropped = {capture: rule for capture, rule in rules(new).items() if rule}
    assert dropped == {
        **{(f"page{seed}", "2023"): "dedup.known" for seed in (0, 1, 2, 4)},
        **{(name, "2024"): "dedup.known" for name in ("page0", "x", "page2/print")},
        **{("page3", year): "consent.noai" for year in ("2023", None)},
        ("page5/print", "2024"): "dedup.text",
    }
    levels = {level["level"]: level for level in funnel(open_corpus(new))["levels"]}
    assert {"rule": "dedup.known", "count": 7} in levels["pages"]["rules"]


def test_only_what_the_recipe_compares_is_compared_with_earlier_corpora(
    inputs: list[Path], earlier: list[Path], tmp_path: Path
) -> None:
    """A takedown list acts on the new pages; one that is taken down is not called known."""
    off = [f"dedup.{name}=false" for name in ("url", "near_text")]
    (tmp_path / "list.txt").write_text(f"{SITE}page5\n{SITE}x\n")
    settings = [*off, f"dedup.known={json.dumps([str(earlier[0])])}", f"page.takedown={tmp_path / 'list.txt'}"]
    root = build_here([inputs[2]], tmp_path / "new", [*SETTINGS, *settings])
    found = {url: rule for (url, _), rule in rules(root).items()}
    assert {url for url, rule in found.items() if rule == "dedup.known"} == {"page0"}
    assert found["page5"] == found["x"] == "page.takedown" and found["page5/print"] is None


def test_a_dry_run_takes_earlier_corpora(inputs: list[Path], earlier: list[Path], tmp_path: Path) -> None:
    command = ["build", str(inputs[2]), "-o", str(tmp_path / "new"), "--dry-run", "--known"]
    with pytest.raises(SystemExit, match="0"):
        run([*command, str(earlier[0])])
    with pytest.raises(SystemExit, match="1"):
        run([*command, str(tmp_path / "missing")])
    assert not (tmp_path / "new").exists()


def test_what_is_no_finished_corpus_of_this_format_is_refused_before_any_work(
    inputs: list[Path], earlier: list[Path], tmp_path: Path
) -> None:
    def refused(root: Path, match: str) -> None:
        with pytest.raises(BuildError, match=match):
            build_here([inputs[0]], tmp_path / "new", [f"dedup.known={json.dumps([str(root)])}"])
        assert not (tmp_path / "new").exists()

    refused(tmp_path / "missing", "missing is not a corpus: directory not found")
    copy = shutil.copytree(earlier[0], tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    refused(copy, "has corpus format 2")
    (copy / "manifest.json").unlink()
    refused(copy, "the build of .*copy has not finished")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "documents/00000.parquet").unlink()
    refused(copy, "documents/00000.parquet is missing: run m3w verify")


def test_the_stage_depends_on_the_contents_of_earlier_corpora_not_on_their_order(
    earlier: list[Path], tmp_path: Path
) -> None:
    def read(*roots: Path) -> object:
        return reads(load("web", [f"dedup.known={json.dumps([str(root) for root in roots])}"]).dedup)

    copy = shutil.copytree(earlier[0], tmp_path / "copy")
    assert read(*earlier) == read(earlier[1], copy) != read(earlier[1])
    with (copy / "manifest.json").open("a") as file:
        file.write(" ")
    assert read(*earlier) != read(earlier[1], copy)
