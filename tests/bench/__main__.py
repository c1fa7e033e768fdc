"""`make bench`: ours beside the peers', each comparison in one run."""

import runpy
import sys

for arguments in (["extraction"], ["build"], ["crawl", "hosts"], ["crawl", "images"], ["flamingo_step"]):
    print(f"\n== {' '.join(arguments)}", flush=True)
    sys.argv = arguments
    runpy.run_module(f"tests.bench.{arguments[0]}", run_name="__main__")
