"""The public interface of openm3w: everything in `__all__`. All else may change.

    document = openm3w.extract(html, "https://example.org/page")     # text and images in reading order
    corpus = openm3w.open_corpus("corpus")
    for window in corpus.windows("train"): ...                       # as stored
    windows = openm3w.Windows("corpus", split="train")               # as samples to train on, a dataset for torch

The import is fast: a name's module is imported when the name is first used.
"""

from importlib import import_module

TYPE_CHECKING = False  # not from typing: during python -m openm3w the current folder is still first on the path
if TYPE_CHECKING:
    from openm3w.corpus import Corpus, open_corpus
    from openm3w.drawn import DrawnWindows
    from openm3w.windows import Windows, collate, pixels
    from pipeline.errors import BuildError
    from pipeline.extract import ExtractOptions, PageDropped, extract
    from pipeline.extract.explain import Explanation, explain
    from shards.records import Document, Image, Text

    __version__: str

__all__ = [
    "BuildError",
    "Corpus",
    "Document",
    "DrawnWindows",
    "Explanation",
    "ExtractOptions",
    "Image",
    "PageDropped",
    "Text",
    "Windows",
    "__version__",
    "collate",
    "explain",
    "extract",
    "open_corpus",
    "pixels",
]

_HOMES = {
    **dict.fromkeys(("Corpus", "open_corpus"), "openm3w.corpus"),
    "DrawnWindows": "openm3w.drawn",
    **dict.fromkeys(("Windows", "collate", "pixels"), "openm3w.windows"),
    "BuildError": "pipeline.errors",
    **dict.fromkeys(("ExtractOptions", "PageDropped", "extract"), "pipeline.extract"),
    **dict.fromkeys(("Explanation", "explain"), "pipeline.extract.explain"),
    **dict.fromkeys(("Document", "Image", "Text"), "shards.records"),
}


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("openm3w")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'openm3w' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
