"""Masked personal data in a corpus: documents, windows, counts, and what a rebuild from the corpus may change."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from tests.corpora import build_here
from tests.stages.test_folders import picture

SENTENCE = "The old boat of the fisherman lies at the quay, and the {0} gulls sit on it until the evening comes. "
SECRETS = ("jane@doe.org", "(212) 736-5000", "193.0.14.129", "GB29 NWBK 6016 1331 9268 19")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages with an e-mail address in the title, in a paragraph and in an alt text, and other numbers in a listing."""
    folder = tmp_path_factory.mktemp("personal") / "site"
    folder.mkdir()
    for number, word in enumerate(("white", "grey", "young")):
        text = "".join(SENTENCE.format(f"{word} {other}") for other in ("loud", "tired", "hungry", "old"))
        (folder / f"{number}.html").write_text(
            f"<title>Boat of {SECRETS[0]}</title><article><p>{text}</p><p>Write to {SECRETS[0]}, call {SECRETS[1]}."
            f"</p><img src={number}.png alt='photo: {SECRETS[0]}'><pre>ping {SECRETS[2]}\npay {SECRETS[3]}\n</pre>"
            f"<p>{text[::-1]}</p></article>"
        )
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder


def levels(root: Path) -> dict[str, Any]:
    return {level["level"]: level for level in funnel(root)["levels"]}


def written(root: Path) -> str:
    """Everything in documents/ and the text of windows/."""
    documents = [pq.read_table(path).to_pylist() for path in sorted((root / "documents").glob("*.parquet"))]
    windows = [
        pq.read_table(path, columns=["text"]).to_pylist() for path in sorted((root / "windows").glob("*.parquet"))
    ]
    assert documents and windows
    return repr((documents, windows))


def test_masked_in_all_that_is_written_and_counted(site: Path) -> None:
    corpus = build_here([site], site.parent / "corpus")
    text = written(corpus)
    assert not any(secret in text for secret in SECRETS)
    assert {"<email>", "<phone>", "<ip>", "<iban>"} <= {
        f"<{name}>" for name in ("email", "phone", "ip", "iban") if f"<{name}>" in text
    }
    assert "photo: <email>" in text and "Boat of <email>" in text
    for path in (corpus / "work").rglob("*.parquet"):
        assert not any(secret in repr(pq.read_table(path).to_pylist()) for secret in SECRETS), path
    found = levels(corpus)["personal"]
    assert found["rules"] == [
        {"rule": "personal.iban", "count": 3},
        {"rule": "personal.email", "count": 9},
        {"rule": "personal.ip", "count": 3},
        {"rule": "personal.phone", "count": 3},
    ]
    assert found["in"] == 18
    with pytest.raises(BuildError, match=r"personal\.mask differ"):
        build_here([corpus], site.parent / "other", ["personal.mask=false"])


def test_not_masked_without_the_rule(site: Path) -> None:
    corpus = build_here([site], site.parent / "plain", ["personal.mask=false"])
    assert all(secret in written(corpus) for secret in SECRETS)
    assert "personal" not in levels(corpus)
    assert open_corpus(corpus).pages(0, ["masked"])["masked"].to_pylist() == [[]] * 3
