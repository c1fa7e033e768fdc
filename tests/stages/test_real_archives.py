"""A build of every real archive: nothing of it is lost between two levels of the funnel."""

from collections import Counter
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from filters import rules
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from tests.corpora import build_here


def counted(path: Path) -> int | None:
    """The number of records as warcio counts them; None where it gives up."""
    try:
        with path.open("rb") as file:
            return sum(1 for _ in ArchiveIterator(file, arc2warc=True))
    except (ArchiveLoadFailed, OSError):
        return None


@pytest.mark.slow
def test_the_funnel_of_every_archive_adds_up(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/warc"
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".cdx")
    corpus = open_corpus(build_here(paths, tmp_path / "corpus", workers=2))
    told = funnel(corpus)
    assert told["levels"], "work/ is there"
    levels = {level["level"]: level for level in told["levels"]}
    for level in told["levels"]:
        assert level["in"] == sum(level["out"].values()) + sum(row["count"] for row in level["rules"]), level["level"]
        assert {row["rule"] for row in level["rules"]} <= set(rules.EXPLAINED)

    # the records are those that warcio counts, and no others
    sources = [source["name"] for source in corpus.manifest["input"]]
    assert sources == [path.relative_to(folder).as_posix() for path in paths]
    rows: Counter[str] = Counter()
    uses: Counter[str | None] = Counter()
    for records in corpus.work("records"):
        table = corpus.table(records).to_pylist()
        uses.update(row["use"] for row in table)
        rows["gaps"] += sum(row["kind"] == "gap" for row in table)
        rows["records"] += sum(row["kind"] != "gap" for row in table)
    known = {path: counted(path) for path in paths}
    assert sum(count is None for count in known.values()) == 5
    assert rows["records"] - sum(count or 0 for count in known.values()) == 3 + 6 + 6 + 6 + 2
    assert levels["records"]["in"] == rows.total() and rows["gaps"] == 2

    # each level takes over what the one before left
    assert levels["records"]["out"] == {use: count for use, count in uses.items() if use is not None}
    assert levels["pages"]["in"] == uses["page"] > 500
    assert levels["pages"]["out"] == told["kept"]["documents"]
    assert sum(levels["images"]["out"].values()) == told["kept"]["images"] == levels["document_images"]["in"] > 900
    assert levels["windows"]["out"] == told["kept"]["windows"]
    for crawl in ("hugin", "skimage", "freedombox-en"):
        listed = (folder / f"{crawl}.cdx").read_text().splitlines()[1:]
        assert known[folder / f"{crawl}.warc.gz"] == 2 * len(listed) + 4  # requests, and the records of wget itself
