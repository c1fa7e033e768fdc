"""What the commands inspect and view do."""

import json
import sys
from pathlib import Path

from rich.console import Console

from pipeline.errors import BuildError
from pipeline.inspect.figures import figures
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel, write_funnel
from pipeline.inspect.report import write_report
from pipeline.inspect.samples import sample_windows
from pipeline.inspect.terminal import print_corpus


def inspect(corpus: Path, as_json: bool, html: Path | None) -> None:
    """Prints funnel and figures; writes funnel.json and the report. Raises BuildError without a finished corpus."""
    opened = open_corpus(corpus)
    counted, measured = funnel(opened), figures(opened)
    if as_json:
        both = {"funnel": counted, "figures": measured}
        sys.stdout.write(json.dumps(both, sort_keys=True, indent=1, ensure_ascii=True) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else 120, emoji=False, markup=False, highlight=False)
    windows = [window for split in ("train", "validation") for window in sample_windows(opened, split, 1)]
    print_corpus(console, opened.root.resolve().name, counted, measured, windows)
    report = html or opened.root / "report.html"
    try:
        write_funnel(opened, counted)
        write_report(opened, report, counted, measured)
    except OSError as error:
        raise BuildError(f"{error.filename or report}: {error.strerror}: choose another place with --html") from None
    console.print(f"report: {report}")
