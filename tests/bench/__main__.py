"""`make bench`: our figures and those of comparable tools, each comparison in one run. --record writes them to
results/."""

import runpy
import sys

recording = sys.argv[1:]
BENCHMARKS = (
    ["extraction"],
    ["rules"],
    ["build"],
    ["chain"],
    ["crawl", "hosts"],
    ["crawl", "images"],
    ["flamingo_step"],
)
for arguments in BENCHMARKS:
    print(f"\n== {' '.join(arguments)}", flush=True)
    sys.argv = [*arguments, *recording]
    runpy.run_module(f"tests.bench.{arguments[0]}", run_name="__main__")
