"""The figures of RESULTS.md. Benchmarks record theirs in results/*.json; this module renders the table from them.

python -m tests.bench.build --record     measure, and write results/build.json
python -m tests.bench.results            write the table into RESULTS.md
"""

import datetime
import json
import operator
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TOPICS = (
    "build",
    "cluster",
    "crawl",
    "dedup",
    "extraction",
    "fewshot",
    "gain",
    "recipes",
    "scaling",
    "trainer",
    "tokenizer",
    "view",
    "windows",
)
NOT_RECORDED = "not recorded"
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Figure:
    """One measured number: `goal` is a comparison such as "< 60", or empty; `interval` is at 95 %."""

    figure: str
    value: float
    unit: str = ""
    goal: str = ""
    interval: tuple[float, float] | None = None
    command: str = ""
    input: str = ""
    commit: str = NOT_RECORDED
    machine: str = NOT_RECORDED
    date: str = NOT_RECORDED

    def reached(self) -> bool | None:
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return bool(_COMPARE[sign](self.value, float(bound)))


def load(folder: Path) -> dict[str, list[Figure]]:
    """The figures of each topic, in the order of its file."""
    found = {}
    for topic in TOPICS:
        rows = json.loads((folder / f"{topic}.json").read_text("utf8"))
        found[topic] = [
            Figure(**{**row, "interval": tuple(row["interval"]) if row.get("interval") else None}) for row in rows
        ]
    return found


def save(figures: Sequence[Figure], path: Path) -> None:
    rows = [{name: value for name, value in asdict(figure).items() if value not in ("", None)} for figure in figures]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{lines}\n]\n", "utf8")


def record(topic: str, measured: Sequence[Figure], command: str, data: str, folder: Path = ROOT / "results") -> None:
    """Write measured figures to results/TOPIC.json; a figure of the same name is replaced in place."""
    stamp = {"command": command, "input": data, "commit": _commit(), "machine": _machine()}
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    new = {figure.figure: Figure(**{**asdict(figure), **stamp, "date": date}) for figure in measured}
    path = folder / f"{topic}.json"
    old = load(folder)[topic] if path.exists() else []
    kept = [new.pop(figure.figure, figure) for figure in old]
    save([*kept, *new.values()], path)


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results", ":!RESULTS.md")
    return git("rev-parse", "--short=7", "HEAD") + (" with changes" if changed else "")


def _machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {model}, {memory:.0f} GiB"


def table(found: dict[str, list[Figure]]) -> str:
    """One row per figure; commands, inputs and machines are numbered and listed below, so that rows stay short."""
    figures = [figure for topic in TOPICS for figure in found[topic]]
    commands, inputs, machines = (
        list(dict.fromkeys(getattr(figure, name) for figure in figures)) for name in ("command", "input", "machine")
    )

    def row(figure: Figure) -> str:
        unit = figure.unit and f" {figure.unit}"
        interval = f" [{figure.interval[0]}, {figure.interval[1]}]" if figure.interval else ""
        reached = {None: "", True: "yes", False: "**no**"}[figure.reached()]
        commit = "-" if figure.commit == NOT_RECORDED else figure.commit
        cells = (
            figure.figure,
            f"{figure.value:,}{unit}{interval}",
            figure.goal,
            reached,
            f"c{commands.index(figure.command) + 1}",
            f"i{inputs.index(figure.input) + 1}",
            commit,
            f"m{machines.index(figure.machine) + 1}",
        )
        return f"| {' | '.join(cells)} |"

    lines = ["| figure | value | goal | reached | command | input | commit | machine |", f"|{'---|' * 8}"]
    for topic in TOPICS:
        lines += [f"| **[{topic.capitalize()}](docs/results/{topic}.md)** {'| ' * 7}|", *map(row, found[topic])]
    lines += ["", "`-` in the commit column: not recorded.", ""]
    for title, letter, values, form in (
        ("Commands", "c", commands, "`{}`"),
        ("Inputs", "i", inputs, "{}"),
        ("Machines", "m", machines, "{}"),
    ):
        lines += [f"### {title}", ""]
        for number, value in enumerate(values, 1):
            shown = value if value == NOT_RECORDED else form.format(value)
            lines.append(f"* {letter}{number}: {shown}")
        lines.append("")
    return "\n".join(lines).strip()


def rendered(page: str, found: dict[str, list[Figure]]) -> str:
    """RESULTS.md with the table between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"RESULTS.md has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}"


def main() -> None:
    if len(sys.argv) > 1:
        raise SystemExit(__doc__)
    path = ROOT / "RESULTS.md"
    path.write_text(rendered(path.read_text("utf8"), load(ROOT / "results")), "utf8")


if __name__ == "__main__":
    main()
