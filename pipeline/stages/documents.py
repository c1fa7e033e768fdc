"""Stage documents: kept pages become documents, in the OBELICS layout."""

from dataclasses import dataclass
from typing import Any

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.stages.images import contents_of
from pipeline.stages.kept import kept_images, kept_pages
from shards.records import DOCUMENTS, STORED_FIELDS

COPIED = ("doc_id", "url", "site", "metadata", "language", "capture")
"""Columns that a document has from its page as they are."""


@dataclass(eq=False)
class WriteDocuments(EachTask):
    """Input: tasks, one per part. Output: (part, files): documents/P.parquet."""

    corpus: CorpusDirectory

    def work(self, task: Task) -> list[FileEntry]:
        corpus, part = self.corpus, task.number
        contents = contents_of(corpus, part)
        clusters = tables.read(corpus.part("dedup", part), ["cluster"])["cluster"].to_pylist()
        splits = tables.read(corpus.part("split", part))
        rules, kept = splits["rule"].to_pylist(), kept_images(corpus, part)
        rows = tables.Rows(DOCUMENTS)
        for page in kept_pages(corpus, part, rules, kept, [*COPIED, "texts", "images"]):
            texts, nodes = page.nodes()
            images = [
                None
                if node is None
                else _image(page.columns["images"][node], page.images[node].url, contents[page.images[node].content])
                for node in nodes
            ]
            assigned = splits.slice(page.row, 1).to_pylist()[0]
            rows.add(
                {name: page.columns[name] for name in COPIED}
                | {"texts": texts, "images": images, "cluster": clusters[page.row]}
                | {"split": assigned["split"], "held_out": assigned["held_out"]}
            )
        return [rows.write(corpus, corpus.part("documents", part))]


def _image(declared: dict[str, Any], fetched_url: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: declared[name] for name in ("url", "alternatives", "alt", "caption")},
        **{name: declared.get(name) or "" for name in ("licence", "author")},
        "declared_width": declared["width"],
        "declared_height": declared["height"],
        "fetched_url": fetched_url,
        **{name: content[name] for name in STORED_FIELDS if name != "fetched_url"},
    }
