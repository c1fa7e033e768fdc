"""Near-duplicate text: recall and precision against exact Jaccard on a corpus, and speed beside datatrove; search of
perceptual hashes.

python -m tests.bench.dedup [CORPUS] [--record]    speed on generated texts, quality on a built corpus (work/pages)
python -m tests.bench.dedup --pages 1000000        time and memory of the build's join for so many pages
python -m tests.bench.dedup --repeats 1000000      memory of counting paragraphs, one of them on each of so many pages
"""

import argparse
import itertools
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse

from dedup import hamming, near
from dedup.shingles import shingles
from pipeline.engine import joins
from pipeline.engine.corpus import CorpusDirectory
from pipeline.stages.dedup import KEPT, FindNearCopies, Texts, Verdicts
from pipeline.stages.repeats import CountRepeats
from pipeline.stages.schemas import VERDICTS
from tests.bench.results import Figure, record

COMMAND = "python -m tests.bench.dedup"
BINS = (0.3, 0.5, 0.7, 0.75, 0.8, 0.85, 0.9, 1.01)
WORDS = 500
DOCUMENTS = 20_000
"""Documents of the comparison with datatrove."""
HASHES = 1_000_000
PART = 2_000
"""Pages of a generated part."""


def pairs(texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of texts that have a shingle in common, and its exact Jaccard similarity."""
    sets = [shingles(text) for text in texts]
    _, columns = np.unique(np.concatenate(sets), return_inverse=True)
    lengths = np.array([len(found) for found in sets])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    held = scipy.sparse.csr_matrix((np.ones(len(columns), np.int32), columns, bounds))
    common = scipy.sparse.triu(held @ held.T, 1).tocoo()
    return common.row, common.col, common.data / (lengths[common.row] + lengths[common.col] - common.data)


def quality(root: Path) -> list[Figure]:
    """Pairs of the corpus' pages that belong to one cluster, beside their exact similarity."""
    texts, clusters = [], []
    for path in sorted((root / "work/pages").glob("*.parquet")):
        pages = pq.read_table(path, columns=["texts"])["texts"].to_pylist()
        found = pq.read_table(root / "work/dedup" / path.name)["cluster"].to_pylist()
        for page, cluster in zip(pages, found, strict=True):
            if page and cluster:
                texts.append(" ".join("\n\n".join(text for text in page if text).lower().split()))
                clusters.append(cluster)
    one, other, exact = pairs(texts)
    names = np.array(clusters)
    same = names[one] == names[other]
    print(f"{len(texts):,} pages of {root}")
    for low, high in itertools.pairwise(BINS):
        within = (exact >= low) & (exact < high)
        print(f"  J {low:.2f} to {min(high, 1):.2f}: {within.sum():6,} pairs, {same[within].mean():.3f} in one cluster")
    recall, precision = same[exact >= 0.8].mean(), (exact[same] >= 0.75).mean()
    return [
        Figure("near-duplicate text: recall over pairs of J >= 0.8", round(float(recall), 4), goal=">= 0.95"),
        Figure("near-duplicate text: share of found pairs of J >= 0.75", round(float(precision), 4), goal=">= 0.99"),
    ]


def documents(count: int, seed: int = 0) -> Iterator[str]:
    """Texts of 500 words; every tenth is a copy of the one before it in which 5 words differ."""
    random = np.random.default_rng(seed)
    # datatrove counts all numbers as one
    letters = map("".join, itertools.product("aeioulnrst", repeat=4))
    vocabulary = np.array(list(letters))
    words = vocabulary[:WORDS]
    for number in range(count):
        if number % 10 == 9:
            words = words.copy()
            words[random.integers(0, WORDS, 5)] = "changed"
        else:
            words = vocabulary[random.zipf(1.3, WORDS) % len(vocabulary)]
        yield " ".join(words)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_parts(root: Path, count: int) -> int:
    """Signatures of `count` documents as work/pages and work/verdicts have them, and the number of parts."""
    texts, parts = documents(count), -(-count // PART)
    for part in range(parts):
        write_part(root, part, itertools.islice(texts, PART))
    return parts


def write_part(root: Path, part: int, texts: Iterable[str]) -> None:
    corpus, signatures = CorpusDirectory(root), [near.signature(text) for text in texts]
    ids = [f"{part * PART + row:032x}" for row in range(len(signatures))]
    for stage in ("pages", "verdicts"):
        corpus.part(stage, part).parent.mkdir(parents=True, exist_ok=True)
    urls, hashes = [f"https://example.org/{id}" for id in ids], [bytes.fromhex(id) for id in ids]
    pages = pa.table({"doc_id": ids, "url": urls, "url_hash": hashes, "minhash": signatures})
    pq.write_table(pages, corpus.part("pages", part))
    nothing = pa.table({name: pa.nulls(len(ids), VERDICTS.field(name).type) for name in VERDICTS.names})
    pq.write_table(nothing.cast(VERDICTS), corpus.part("verdicts", part))


def write_generated(root: Path, part: int) -> None:
    """A part of PART generated documents of its own."""
    write_part(root, part, documents(PART, part))


def join(root: Path, parts: int, workers: int) -> int:
    """Run the build's join over written parts, in this process (0) or on workers; the number of copies."""
    from pipeline.engine.runner import Runner

    corpus = CorpusDirectory(root)

    def state(part: int) -> tuple[int, Verdicts]:
        rows = pq.read_metadata(corpus.part("pages", part)).num_rows
        return part, Verdicts(np.full(rows, KEPT, np.uint8), np.zeros(rows, near.EDGE))

    output = root / "copies"
    with (
        Runner.from_options(["--direct_num_workers=2"], root / "log", 2, "pipeline.stages.preload") as runner,
        tempfile.TemporaryDirectory(dir=root) as spill,
        runner.pipeline(workers, "") as pipeline,
        joins.spilling(Path(spill)),
    ):
        (
            pipeline
            | beam.Create(range(parts))
            | beam.Map(state)
            | FindNearCopies(Texts(corpus, parts, []), 0.8, joins.PARTITIONS)
            | beam.MapTuple(lambda part, copies: len(copies))
            | beam.CombineGlobally(sum)
            | beam.Map(lambda total: output.write_text(str(total)))
        )
    return int(output.read_text())


def count_repeats(root: Path, pages: int, shared: bool) -> int:
    """Count the paragraphs of generated pages, two a page; if `shared`, all pages have one of them. Returns the
    highest number of pages."""
    from pipeline.engine.runner import Runner

    corpus, parts = CorpusDirectory(root), -(-pages // HOT_PART)
    for part in range(parts):
        numbers = range(part * HOT_PART, min((part + 1) * HOT_PART, pages))
        hashes = [number.to_bytes(16, "little") for number in numbers]
        texts = [[f"Page {number}.\n\n{'Share this' if shared else number}"] for number in numbers]
        columns = {"texts": texts, "url_hash": hashes, "text_hash": hashes, "site": ["example.org"] * len(texts)}
        corpus.part("pages", part).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"rule": pa.nulls(len(texts), pa.string()), **columns}), corpus.part("pages", part))
        corpus.part("repeats", part).parent.mkdir(parents=True, exist_ok=True)
    with (
        Runner.from_options(["--direct_num_workers=2"], root / "log", 2, "pipeline.stages.preload") as runner,
        tempfile.TemporaryDirectory(dir=root) as spill,
        runner.pipeline(2, "copies") as pipeline,
        joins.spilling(Path(spill)),
    ):
        _ = pipeline | beam.Create(range(parts)) | CountRepeats(corpus, joins.PARTITIONS)
    found = pq.read_table(corpus.part("repeats", 0))["repeats"].combine_chunks().flatten()
    return int(max(found.field("paragraph_site_pages").to_pylist()))


HOT_PART = 20_000
"""Pages of a part whose paragraphs are counted."""


def hot_paragraph(pages: int) -> None:
    """Memory of counting with and without a paragraph that all pages have, each in its own process."""
    for shared in (False, True):
        child = os.fork()
        if not child:
            with tempfile.TemporaryDirectory() as folder:
                found = count_repeats(Path(folder), pages, shared)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{pages:,} pages, a paragraph on at most {found:,}: {peak:,.0f} MiB at most", flush=True)
            os._exit(0)
        os.waitpid(child, 0)


def datatrove(root: Path, texts: Callable[[], Iterable[str]]) -> int:
    """Texts through datatrove's MinHash pipeline, in one process; the number of documents it keeps."""
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from loguru import logger

    logger.disable("datatrove")

    class Texts(PipelineStep):
        name = "texts"

        def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
            yield from (Document(text=text, id=str(number)) for number, text in enumerate(texts()))

    kept = 0

    class Count(PipelineStep):
        name = "count"

        def run(self, data: Iterator[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
            nonlocal kept
            for document in data:
                kept += 1
                yield document

    config = MinhashConfig(num_buckets=near.BANDS, hashes_per_bucket=near.ROWS, n_grams=5)
    names = [str(root / name) for name in ("signatures", "buckets", "clusters")]
    steps = (
        ([Texts(), MinhashDedupSignature(names[0], config=config)], 1),
        ([MinhashDedupBuckets(names[0], names[1], config=config)], near.BANDS),
        ([MinhashDedupCluster(names[1], names[2], config=config)], 1),
        ([Texts(), MinhashDedupFilter(names[2]), Count()], 1),
    )
    for number, (step, tasks) in enumerate(steps):
        log = str(root / f"log{number}")
        LocalPipelineExecutor(pipeline=step, tasks=tasks, workers=1, logging_dir=log).run()
    return kept


def speed() -> list[Figure]:
    """Our signatures and join beside datatrove's pipeline, on the same documents, each in one process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ours = timed(lambda: join(root / "ours", write_parts(root / "ours", DOCUMENTS), 0))
        generated = timed(lambda: sum(map(len, documents(DOCUMENTS))))
        copies = int((root / "ours/copies").read_text())
        kept = 0

        def peer() -> None:
            nonlocal kept
            kept = datatrove(root / "peer", lambda: documents(DOCUMENTS))

        theirs = timed(peer)
    ratio = (theirs - 2 * generated) / (ours - generated)
    print(f"{DOCUMENTS:,} documents: ours {ours - generated:.1f} s, {DOCUMENTS - copies:,} kept; "
          f"datatrove {theirs - 2 * generated:.1f} s, {kept:,} kept; {ratio:.1f} times as fast")  # fmt: skip
    return [Figure("near-duplicate text: times datatrove's speed, end to end", round(ratio, 1), goal=">= 10")]


def search() -> list[Figure]:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, HASHES, np.uint64)
    seconds = timed(lambda: hamming.nearest(hashes, hashes[::-1] ^ np.uint64(3), 4))
    print(f"search of {HASHES:,} hashes among as many, within 4 bits: {seconds:.0f} s")
    return [Figure("images: 1 M hashes searched among 1 M", round(seconds), "s", "<= 300")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--pages", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if options.repeats:
        hot_paragraph(options.repeats)
        return
    found: list[Figure] = []
    if options.corpus:
        found += quality(options.corpus)
    if options.corpus or not options.pages:
        found += [*speed(), *search()]
    if options.pages:
        with tempfile.TemporaryDirectory() as folder:
            root, parts = Path(folder), -(-options.pages // PART)
            with multiprocessing.Pool(2) as pool:
                signed = timed(lambda: pool.map(partial(write_generated, root), range(parts)))
            joined = timed(lambda: join(root, parts, 2))
        processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        peak = max(resource.getrusage(each).ru_maxrss for each in processes) / 2**20  # of the largest
        print(
            f"{options.pages:,} pages: signatures {signed:.0f} s in two processes, join {joined:.0f} s on two workers, "
            f"{peak:.1f} GiB in the largest process"
        )
        size = f"{options.pages / 1e6:g} M pages"
        goal = "<= 2" if options.pages == 1_000_000 else ""
        found += [
            Figure(f"near-duplicate text: signatures of {size}, two processes", round(signed), "s"),
            Figure(f"near-duplicate text: join of {size}", round(joined), "s"),
            Figure(f"near-duplicate text: memory for {size}", round(peak, 1), "GiB", goal),
        ]
    if options.record:
        arguments = " CORPUS" * bool(options.corpus) + f" --pages {options.pages}" * bool(options.pages)
        record("dedup", found, COMMAND + arguments, options.corpus.name if options.corpus else "generated documents")


if __name__ == "__main__":
    main()
