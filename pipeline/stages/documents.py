"""Stage documents: kept pages become documents, in the OBELICS layout."""

from dataclasses import dataclass
from typing import Any

from pipeline.engine import tables
from pipeline.engine.corpus import Corpus
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.stages.images import contents_of
from pipeline.stages.kept import kept_images, kept_nodes
from shards.records import DOCUMENTS, STORED_FIELDS


@dataclass(eq=False)
class WriteDocuments(EachTask):
    """Input: tasks, one per part. Output: (part, files): documents/P.parquet."""

    corpus: Corpus

    def work(self, task: Task) -> list[FileEntry]:
        corpus, part = self.corpus, task.number
        contents = contents_of(corpus, part)
        kept = kept_images(corpus, part)
        urls = {
            (verdict["row"], verdict["node"]): verdict["url"]
            for verdict in tables.read(corpus.part("decisions", part), ["row", "node", "url"]).to_pylist()
        }
        clusters = tables.read(corpus.part("dedup", part), ["cluster"])["cluster"].to_pylist()
        splits = tables.read(corpus.part("split", part)).to_pylist()
        rows = tables.Rows(DOCUMENTS)
        pages = tables.read(corpus.part("pages", part))
        for row, assigned in enumerate(splits):
            if assigned["rule"] is not None:
                continue
            page = pages.slice(row, 1).to_pylist()[0]
            texts, stored = kept_nodes(page["texts"], page["images"], kept[row])
            places = iter(sorted(kept[row]))
            images = [
                None
                if content is None
                else _image(page["images"][node := next(places)], urls[row, node], contents[content])
                for content in stored
            ]
            rows.add(
                {name: page[name] for name in ("doc_id", "url", "site", "metadata", "language", "capture")}
                | {"texts": texts, "images": images, "cluster": clusters[row]}
                | {"split": assigned["split"], "held_out": assigned["held_out"]}
            )
        return [rows.write(corpus, corpus.part("documents", part))]


def _image(declared: dict[str, Any], fetched_url: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: declared[name] for name in ("url", "alternatives", "alt", "caption")},
        "declared_width": declared["width"],
        "declared_height": declared["height"],
        "fetched_url": fetched_url,
        **{name: content[name] for name in STORED_FIELDS if name != "fetched_url"},
    }
