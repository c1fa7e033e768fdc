"""`make bench`: our figures and those of comparable tools, each comparison in one run, and all of them as one table.

    python -m tests.bench [NAME...] [--record]

NAME is that of a benchmark; without one all run. --record writes the figures to results/. Tools that are not among the
requirements are installed into an environment of their own, .venv/peers.
"""

import importlib
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from tests.bench import results
from tests.bench.annotated import SHARED
from tests.bench.chain import NAMES

PEERS = ("imagehash==4.3.2", "imagededup==0.3.3.post2", "datasketch==2.0.0")
RUNS = (
    ("extraction",),
    ("rules",),
    ("build",),
    ("chain",),
    ("dedup",),
    ("dedup", "--pages", "1000000"),
    ("copies", "CORPUS", "--peers", "PEERS"),
    ("reading", "CORPUS"),
    ("writing", "CORPUS"),
    ("crawl", "hosts"),
    ("crawl", "images"),
    ("flamingo_step",),
)
"""Names of benchmarks and their arguments: CORPUS is a corpus of three sites, PEERS a Python that has the peers."""


def corpus(folder: Path) -> Path:
    """A corpus of the sites in shared/data/warc, built in a folder."""
    root = folder / "corpus"
    files = [str(SHARED / f"data/warc/{name}.warc.gz") for name in NAMES]
    m3w = str(Path(sys.executable).with_name("m3w"))
    subprocess.run([m3w, "build", *files, "-o", root, "--no-fetch"], check=True)
    return root


def peers() -> Path:
    """The Python of an environment with PEERS."""
    folder = Path(sys.prefix) / "peers"
    python = folder / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS], check=True)
    return python


def main() -> int:
    names = [name for name in sys.argv[1:] if name != "--record"]
    if unknown := [name for name in names if name not in {run[0] for run in RUNS}]:
        sys.exit(f"{unknown[0]} is no benchmark of this command")
    recording = "--record" in sys.argv
    measured: list[results.Figure] = []
    failed = 0

    def gather(topic: str, figures: Sequence[results.Figure], command: str, data: str) -> None:
        measured.extend(figures)
        if recording:
            results.record(topic, figures, command, data)

    with tempfile.TemporaryDirectory() as folder:
        runs = [run for run in RUNS if not names or run[0] in names]
        made = {
            name: str(make()) if any(name in run for run in runs) else ""
            for name, make in (("CORPUS", lambda: corpus(Path(folder))), ("PEERS", peers))
        }
        for name, *arguments in runs:
            print(f"\n== {name} {' '.join(arguments)}", flush=True)
            sys.argv = [name, *(made.get(argument, argument) for argument in arguments), "--record"]
            try:
                # imported, not run as __main__: some give their functions to processes, by name
                module = importlib.import_module(f"tests.bench.{name}")
                with patch.object(module, "record", gather):
                    module.main()
            except (Exception, SystemExit) as error:
                if isinstance(error, SystemExit) and not error.code:
                    continue
                failed += 1
                traceback.print_exc()
    print("\n== all")
    for figure in measured:
        reached = {None: "", True: "reached", False: "missed"}[figure.reached()]
        print(f"{figure.figure:70} {figure.value:>12,} {figure.unit:10} {figure.goal:10} {reached}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
