"""The commands inspect, view and verify."""

import io
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from filters import paragraph
from filters.rules import LEAK_WORDS
from filters.scorers import named
from pipeline.errors import BuildError
from pipeline.inspect.beside import write_beside
from pipeline.inspect.figures import figures
from pipeline.inspect.finished import Finished, open_corpus
from pipeline.inspect.funnel import funnel, write_funnel
from pipeline.inspect.report import write_report
from pipeline.inspect.samples import sample_windows, visible
from pipeline.inspect.terminal import print_corpus, print_what_if
from pipeline.inspect.whatif import what_if
from pipeline.judged import MEASURED
from pipeline.recipe import hashes
from shards.verify import file_problem
from shards.verify import verify as check


def inspect(corpus: Path, as_json: bool, html: Path | None, settings: list[str]) -> None:
    """Print funnel and figures; write funnel.json and the report into the corpus, or only the report to `html`.

    With settings, only report what they would change. Raises BuildError without a finished corpus."""
    opened = open_corpus(corpus)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal with ASCII only shows bars as question marks
    console = Console(width=None if sys.stdout.isatty() else 120, emoji=False, markup=False, highlight=False)
    if settings:
        told = what_if(opened, settings)
        if as_json:
            _print_json(told)
        else:
            print_what_if(console, told)
        return
    counted, measured = funnel(opened), figures(opened)
    if as_json:
        _print_json({"funnel": counted, "figures": measured})
        return
    report = html or opened.root / "report.html"
    try:
        if html is None:
            write_funnel(opened, counted)
        write_report(opened, report, counted, measured)
    except OSError as error:
        raise BuildError(f"{error.filename or report}: {error.strerror}: choose another place with --html") from None
    windows = [window for split in ("train", "validation") for window in sample_windows(opened, split, 1)]
    print_corpus(console, opened.root.resolve().name, counted, measured, windows)
    console.print(f"report: {report}")


def compare(corpus: Path, beside: Path, html: Path | None) -> None:
    """Write two corpora side by side to `html`, or to beside.html in the first. Raises BuildError without two finished
    corpora."""
    report = html or corpus / "beside.html"
    try:
        write_beside(open_corpus(corpus), open_corpus(beside), report)
    except OSError as error:
        raise BuildError(f"{error.filename or report}: {error.strerror}: choose another place with --html") from None
    print(f"report: {report}")


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True) + "\n")


def view(corpus: Path, port: int, inputs: Sequence[str] = ()) -> None:
    """Serve the viewer on this machine until interrupted. Raises BuildError if the corpus cannot be served, or without
    DuckDB."""
    from pipeline.inspect.viewer.server import server  # needs the extra `view`

    serving = server(open_corpus(corpus), port, inputs)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print(f"{corpus}: http://127.0.0.1:{serving.server_address[1]}/ (Ctrl-C ends)", flush=True)
        serving.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        serving.server_close()


def verify(corpus: Path) -> None:
    """Check every file, hash, count and reference. Prints the problems and raises BuildError if there are any."""
    opened = open_corpus(corpus)
    report = check(opened.root, opened.manifest)
    problems = [*report.problems, *work_problems(opened)]
    if opened.manifest["recipe"] not in hashes(opened.root / "recipe.toml"):
        problems.append("recipe.toml: does not match the manifest: it was edited, or built by another version of m3w")
    for problem in problems:
        print(visible(problem), file=sys.stderr)
    if problems:
        counted = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise BuildError(f"{corpus} is damaged: {counted}, listed above")
    print(
        f"{corpus} is whole: {report.files:,} files, {report.bytes:,} bytes, {report.documents:,} documents, "
        f"{report.pictures:,} images, {report.windows:,} windows"
    )


WORK = (
    "records",
    "links",
    "pages",
    "verdicts",
    "dedup",
    "references",
    "missing",
    "distinct_images",
    "decisions",
    "site_counts",
    "split",
    "windows",
    "coverage",
    "runs",
)
"""Folders of work/ that every build writes."""


def work_problems(corpus: Finished) -> list[str]:
    """List problems below work/, unless it was deleted: damaged files of a stage, or a funnel that does not add up."""
    if not corpus.has_work:
        return []
    problems = []
    try:
        values = corpus.recipe.values()
        asked = {
            "repeats": paragraph.active(values, paragraph.COPIES),
            "paragraphs": values["split.leak"] and values[LEAK_WORDS.name],
            "scores": named(values),
            **{stage: values[key] for stage, (key, _) in MEASURED.items()},
            "similarities": corpus.recipe.image.clip_model,
            "counts": "counts" in corpus.manifest["stages"],  # not in a corpus of an older version
        }
        for folder in (*WORK, *(name for name, runs in asked.items() if runs)):
            for entry in corpus.work(folder):
                problem = file_problem(corpus.root, entry._asdict())
                problems += [f"{entry.path}: {problem}"] if problem else []
        if not problems:
            funnel(corpus)
    except BuildError as error:
        problems.append(str(error))
    return problems
