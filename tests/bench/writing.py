"""Rates of writing and verifying a corpus, beside cp and sha256 of the same files in the same run.

    python -m tests.bench.writing CORPUS [--record]

Shards are written from work/ as the build does, one after another in this process, to a file system in memory where
there is one, so that the disk of the machine is not what is measured. Processor seconds, those of the system included:
other work on the machine disturbs them little. The best of several passes taken in turn counts.
"""

import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.engine.corpus import CorpusDirectory
from pipeline.inspect.finished import open_corpus
from pipeline.stages.shards import WriteShards, assign_shards
from shards.verify import verify
from tests.bench.results import Figure, record

PASSES = 5
MEMORY = Path("/dev/shm")


def timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    folder = Path(next(argument for argument in sys.argv[1:] if not argument.startswith("-")))
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as here:
        root = Path(here, "corpus")
        shutil.copytree(folder, root)
        rates = measure(root, Path(here, "copy"))
    for name, rate in rates.items():
        print(f"{rate:8,.0f} MB/s  {name}")
    if "--record" in sys.argv:
        figures = [
            Figure("shards, tar and Parquet, rate of writing", round(rates["write"]), "MB/s"),
            Figure("shards, rate of writing over that of cp", round(rates["write"] / rates["cp"], 2), "x", ">= 0.8"),
            Figure("shards, tar alone, rate of writing over cp", round(rates["write tar"] / rates["cp"], 2), "x"),
            Figure(
                "shards, Parquet alone, rate of writing over cp", round(rates["write parquet"] / rates["cp"], 2), "x"
            ),
            Figure("shards, rate of writing over sha256", round(rates["write"] / rates["sha256"], 2), "x"),
            Figure(
                "verify, rate over sha256 of the same files", round(rates["verify"] / rates["sha256"], 2), "x", ">= 1"
            ),
        ]
        record("windows", figures, "python -m tests.bench.writing CORPUS --record", "corpus of 3 WARC files")


def measure(root: Path, copy: Path) -> dict[str, float]:
    """MB/s of each kind of work: the best of PASSES."""
    corpus, opened = CorpusDirectory(root), open_corpus(root)
    recipe = opened.recipe
    parts = len(opened.work("pages"))
    tasks = assign_shards(corpus, parts, recipe.seed, recipe.windows.shard_bytes, recipe.windows.min_shards)
    shards = sorted((root / "windows").iterdir())
    listed = [root / entry["path"] for entry in opened.manifest["files"]]
    size = {path: path.stat().st_size for path in {*shards, *listed}}

    def write(*formats: str) -> None:
        stage = WriteShards(corpus, formats)
        for task in tasks:
            stage.work(task)

    def copied() -> None:
        for path in shards:
            shutil.copyfile(path, copy)

    def hashed() -> None:
        for path in listed:
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")

    kinds: dict[str, tuple[Callable[[], object], list[Path]]] = {
        "write": (lambda: write("parquet", "tar"), shards),
        "write parquet": (lambda: write("parquet"), [path for path in shards if path.suffix == ".parquet"]),
        "write tar": (lambda: write("tar"), [path for path in shards if path.suffix == ".tar"]),
        "cp": (copied, shards),
        "sha256": (hashed, listed),
        "verify": (lambda: verify(root, opened.manifest), listed),
    }
    seconds = dict.fromkeys(kinds, float("inf"))
    for _ in range(PASSES):
        for name, (work, _) in kinds.items():
            seconds[name] = min(seconds[name], timed(work))
    return {name: sum(size[path] for path in kinds[name][1]) / 1e6 / taken for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
