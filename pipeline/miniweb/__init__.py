"""A small generated web with known truth: pages on several hosts whose text names what their images show.

Input of the demo and oracle of end-to-end tests. The content of a drawing cannot be guessed from text, so the words
that name it carry a known number of bits about it."""

from pipeline.miniweb.generate import generate
from pipeline.miniweb.web import Drawing, Mention, PageTruth, Resource, Web
from pipeline.miniweb.write import (
    folder_base,
    write_cards,
    write_folder,
    write_questions,
    write_task,
    write_truth,
    write_warc,
)

__all__ = [
    "Drawing",
    "Mention",
    "PageTruth",
    "Resource",
    "Web",
    "folder_base",
    "generate",
    "write_cards",
    "write_folder",
    "write_questions",
    "write_task",
    "write_truth",
    "write_warc",
]
