"""Speed of the text rules in CPU time: those of m3w beside datatrove 0.10.1 on the same documents, and OBELICS'.

python -m tests.bench.rules [--record]"""

import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

from filters import rules
from filters.rule import judge
from filters.text import gopher, obelics
from filters.words import words_of
from pipeline.recipe import load
from tests.bench.annotated import SHARED
from tests.bench.results import Figure, record

LISTS = dict.fromkeys(("text.stop_words", "text.flagged_words", "text.common_words"), "packaged")
PUBLISHED = 138
"""Documents per second of the published functions of OBELICS on these texts."""


def documents() -> list[str]:
    """The texts of 296 pages of wcxb."""
    pages = sorted((SHARED / "data/extract/wcxb/ground-truth").glob("*.json"))
    texts = (json.loads(page.read_text("utf8"))["ground_truth"].get("main_content") for page in pages)
    return [text for text in texts if text]


def rate(run: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Documents per second of CPU time; the best of three."""
    best = 0.0
    for _ in range(3):
        begun = time.process_time()
        run(texts)
        best = max(best, len(texts) / (time.process_time() - begun))
    return best


def main() -> None:
    texts = documents()
    quality, repetition = GopherQualityFilter(), GopherRepetitionFilter()
    values = load("m3w").values()
    known = gopher(texts[0], words_of(texts[0])).keys()
    judged = [rule for rule in rules.PAGES_JUDGED if known >= {*rule.metrics}]

    def theirs(texts: Sequence[str]) -> None:
        for text in texts:
            document = Document(text=text, id="")
            quality.filter(document)
            repetition.filter(document)

    def ours(texts: Sequence[str]) -> None:
        """Pages are judged by columns, as the stage verdicts does."""
        rows = [gopher(text, words_of(text)) for text in texts]
        columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        judge(judged, columns, values, np.full(len(rows), None))

    words = [words_of(text) for text in texts]  # measured with the Gopher rules

    def pages(texts: Sequence[str]) -> None:
        for text, found in zip(texts, words, strict=True):
            obelics(text, found, "en", LISTS)

    measured = [rate(run, texts) for run in (theirs, ours, pages)]
    figures = [
        Figure("Gopher rules, datatrove 0.10.1", round(measured[0], 1), "documents/s"),
        Figure("Gopher rules of m3w, judged", round(measured[1], 1), "documents/s"),
        Figure("Gopher rules, ratio to datatrove", round(measured[1] / measured[0], 1), goal=">= 10"),
        Figure("OBELICS' measures of a page", round(measured[2]), "documents/s", goal=f">= {10 * PUBLISHED}"),
    ]
    for figure in figures:
        print(figure.figure, figure.value, figure.unit, figure.goal)
    if "--record" in sys.argv:
        record("recipes", figures, "python -m tests.bench.rules", "296 pages of wcxb, 10,013 characters each")


if __name__ == "__main__":
    main()
