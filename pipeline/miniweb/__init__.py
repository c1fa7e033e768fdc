"""A small web with known truth, written by us: pages on several hosts whose text names what their pictures show.

Input of the demo and oracle of end-to-end tests. What is drawn in a picture cannot be guessed from text, so the words
that name it carry a known number of bits about it."""

from pipeline.miniweb.generate import generate
from pipeline.miniweb.web import Mention, PageTruth, Picture, Resource, Web
from pipeline.miniweb.write import folder_base, write_folder, write_task, write_truth, write_warc

__all__ = [
    "Mention",
    "PageTruth",
    "Picture",
    "Resource",
    "Web",
    "folder_base",
    "generate",
    "write_folder",
    "write_task",
    "write_truth",
    "write_warc",
]
