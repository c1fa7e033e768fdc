"""`python -m pipeline.miniweb -o DIR`: write a small web and its truth, or serve it on loopback addresses."""

import argparse
import sys
import threading
from pathlib import Path

from pipeline.miniweb import (
    folder_base,
    generate,
    write_cards,
    write_folder,
    write_questions,
    write_task,
    write_truth,
    write_warc,
)
from pipeline.miniweb.serve import Addresses, Server, answer_from
from pipeline.miniweb.web import example_base


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.miniweb", description="Write a small web with known truth."
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="directory for miniweb.warc.gz and truth.jsonl"
    )
    parser.add_argument("--pages", type=int, default=800)
    parser.add_argument("--names", type=int, default=0, help="more pages: text whose names are new on every page")
    parser.add_argument("--cards", type=int, default=0, help="more pages: pictures with names dealt anew on every page")
    parser.add_argument("--clips", type=int, default=0, help="more pages: videos of a shape that moves or grows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--format",
        choices=("warc", "folder", "serve", "task", "cards", "questions"),
        default="warc",
        help="folder: read it with --base-url https://miniweb.example/; serve: answer on 127.1.0.x until stopped, with "
        "truth.jsonl and the home pages' URLs in seeds.txt; task: --pages drawings as COLOUR/*.jpg, for m3w evaluate; "
        "cards: --pages drawings as unseen/COMBINATION/*.jpg and seen/COMBINATION/*.jpg, for m3w evaluate --ways; "
        "questions: --pages questions about two drawings, for m3w evaluate",
    )
    parser.add_argument("--port", type=int, default=8099, help="port for format serve")
    options = parser.parse_args(arguments)
    if not 1 <= options.port <= 65535:
        parser.error(f"--port must be from 1 to 65535, not {options.port}")
    try:
        if options.format == "serve":
            serve(options.pages, options.seed, options.port, options.output)
            return 0
        if options.format == "task":
            write_task(options.output, options.pages, options.seed)
            return 0
        if options.format == "questions":
            write_questions(options.output, options.pages, options.seed)
            return 0
        if options.format == "cards":
            write_cards(options.output, options.pages, options.seed)
            return 0
        base = folder_base if options.format == "folder" else example_base
        web = generate(options.pages, options.seed, base, names=options.names, cards=options.cards, clips=options.clips)
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


def serve(pages: int, seed: int, port: int, output: Path) -> None:
    """Serve a web until stopped. seeds.txt is written once the servers answer."""
    addresses = Addresses(port)
    web = generate(pages, seed, addresses)
    resources = web.resources
    output.mkdir(parents=True, exist_ok=True)
    seeds = output / "seeds.txt"
    seeds.unlink(missing_ok=True)
    write_truth(web.truth, output / "truth.jsonl")
    homes = [f"{addresses(host)}/" for host in addresses.hosts if f"{addresses(host)}/" in resources]
    with Server(list(addresses.hosts.values()), port, answer_from(resources, port)):
        seeds.write_text("".join(f"{url}\n" for url in homes))
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
