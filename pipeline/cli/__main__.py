import sys

if not sys.flags.safe_path:
    # Python put the current folder first, where a file typing.py or dedup.py may be
    sys.path.append(sys.path.pop(0))

from pipeline.cli import main

main()
