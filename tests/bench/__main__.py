"""`make bench`: every benchmark, ours beside the peers' in one run."""

import runpy
import sys
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("*.py")):
    if not path.name.startswith("_"):
        print(f"\n== {path.stem}", flush=True)
        sys.argv = [str(path)]
        runpy.run_module(f"tests.bench.{path.stem}", run_name="__main__")
