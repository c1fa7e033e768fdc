"""`python -m openm3w` is `m3w`."""

import sys

if not sys.flags.safe_path:
    # Python put the current folder first, which may contain a file typing.py or dedup.py
    sys.path.append(sys.path.pop(0))

from pipeline.cli import main

main()
