"""`make bench`: our figures and those of comparable tools, each comparison in one run. --record writes them to
results/."""

import runpy
import sys

recording = sys.argv[1:]
for arguments in (["extraction"], ["rules"], ["build"], ["crawl", "hosts"], ["crawl", "images"], ["flamingo_step"]):
    print(f"\n== {' '.join(arguments)}", flush=True)
    sys.argv = [*arguments, *recording]
    runpy.run_module(f"tests.bench.{arguments[0]}", run_name="__main__")
