"""`python -m pipeline.miniweb -o DIR`: writes a small web and the truth about it."""

import argparse
import sys
from pathlib import Path

from pipeline.miniweb import folder_base, generate, write_folder, write_truth, write_warc
from pipeline.miniweb.web import example_base


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.miniweb", description="Write a small web with known truth."
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="directory for miniweb.warc.gz and truth.jsonl"
    )
    parser.add_argument("--pages", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--format",
        choices=("warc", "folder"),
        default="warc",
        help="folder: read it with --base-url https://miniweb.example/",
    )
    options = parser.parse_args(arguments)
    try:
        web = generate(options.pages, options.seed, folder_base if options.format == "folder" else example_base)
        options.output.mkdir(parents=True, exist_ok=True)
        if options.format == "folder":
            write_folder(web, options.output)
        else:
            write_warc(web, options.output / "miniweb.warc.gz")
            write_truth(web.truth, options.output / "truth.jsonl")
    except (ValueError, OSError) as error:
        print(f"miniweb: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
