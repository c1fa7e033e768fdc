"""Fuzz extraction: mutate real pages for a time and report what raises or is slow.

python -m tests.bench.fuzz_extraction [--minutes N] [--seed N]
"""

import argparse
import random
import time

from pipeline.extract import ExtractOptions, PageDropped, extract
from shards.records import Text
from tests.bench.extraction import AnnotatedPage, data_sets
from tests.bench.results import Figure, record

FRAGMENTS = [
    *(
        b"<",
        b">",
        b"</",
        b"<!--",
        b"-->",
        b"<![CDATA[",
        b'"',
        b"'",
        b"&",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\x1b$B",
        b"\n" * 50,
    ),
    *(
        b"<p>",
        b"</p>",
        b"<div hidden>",
        b"<noscript>",
        b"<script>",
        b"<pre>",
        b"<svg>",
        b"<table><tr><td>",
        b"<select>",
    ),
    *(b"<a href=x.jpg>", b"<img srcset='a 1w,,b 2w'>", b"<base href='//['>", b"<picture><source srcset=a>", b"<math>"),
    *(b"<meta charset=utf-16>", b"<meta charset=shift_jis>", b"<html lang=", b"<title>", b"<ruby><rt>", b"<plaintext>"),
]
SECONDS_PER_MEGABYTE = 20.0


def mutated(page: AnnotatedPage, source: random.Random) -> bytes:
    """A page after a few cuts, doublings, insertions and changed bytes."""
    html = bytearray(page.html)
    for _ in range(source.randint(1, 12)):
        at = source.randrange(len(html) + 1)
        span = source.randint(1, 1 << source.randint(0, 12))
        kind = source.randrange(5)
        if kind == 0:
            del html[at : at + span]
        elif kind == 1:
            html[at:at] = source.choice(FRAGMENTS) * source.choice((1, 1, 1, 300))
        elif kind == 2:
            html[at:at] = html[at : at + span]
        elif kind == 3:
            for _ in range(min(span, 40)):
                if html:
                    html[source.randrange(len(html))] = source.randrange(256)
        else:
            del html[at:]
        if not html:
            break
    return bytes(html)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="write the count to results/extraction.json")
    arguments = parser.parse_args()
    source = random.Random(arguments.seed)
    pages = [page for pages in data_sets().values() for page in pages]
    end = time.monotonic() + 60 * arguments.minutes
    runs = failures = 0
    while time.monotonic() < end:
        page = source.choice(pages)
        html = mutated(page, source)
        options = ExtractOptions(comments=source.random() < 0.3, css_backgrounds=source.random() < 0.3)
        start = time.process_time()
        try:
            found = extract(html, page.url, options=options)
            if found is not None:
                for node in found.nodes:
                    assert not isinstance(node, Text) or (node.text.strip() and "\n\n\n" not in node.text)
        except PageDropped:
            pass
        except Exception as error:
            failures += 1
            print(f"run {runs} of seed {arguments.seed}, from {page.name}: {type(error).__name__}: {error}", flush=True)
        taken = time.process_time() - start
        if taken > 2 + SECONDS_PER_MEGABYTE * len(html) / 1e6:
            failures += 1
            print(
                f"run {runs} of seed {arguments.seed}, from {page.name}: {taken:.1f} s for {len(html)} bytes",
                flush=True,
            )
        runs += 1
    print(f"{runs} runs, {failures} failures")
    if arguments.record:
        found = [Figure("fuzzing: failures", failures, "", "<= 0")]
        command = f"python -m tests.bench.fuzz_extraction --minutes {arguments.minutes:g}"
        record("extraction", found, command, f"{runs:,} mutated pages")


if __name__ == "__main__":
    main()
