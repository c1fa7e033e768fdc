"""A corpus on the terminal: funnel, figures as small bars, a few windows. Plain text without a terminal."""

from typing import Any

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pipeline.inspect.report import RANKINGS, TILES, TITLES, headline, shown_level, summary
from pipeline.inspect.samples import SampleWindow, harmless, visible
from shards.tokenizer import EOC_MARKER

BAR = 24
SHADES = " ▁▂▃▄▅▆▇█"


def print_corpus(
    console: Console, name: str, funnel: dict[str, Any], figures: dict[str, Any], windows: list[SampleWindow]
) -> None:
    """Print the output of `m3w inspect`."""
    counts = "   ".join(f"{value:,} {label}" for label, value in headline(funnel, figures))
    console.print(Text(name, style="bold"), Text(counts), "", sep="\n")
    for level in funnel["levels"]:
        console.print(_level(shown_level(level)), "")
    if not funnel["work"]:
        console.print("work/ was deleted, so the funnel is not available. The corpus itself is complete.\n")
    if funnel["not_applied"]:
        console.print("not applied (no model): " + ", ".join(funnel["not_applied"]) + "\n")
    console.print(_figures(figures), "")
    console.print(_rankings(figures), "")
    for window in windows:
        console.print(_window(window), "")


def _level(level: dict[str, Any]) -> RenderableType:
    table = Table(title=Text(level["title"], style="bold"), title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("", min_width=26, no_wrap=True)
    table.add_column("dropped", justify="right")
    table.add_column("left", justify="right")
    table.add_column("", min_width=BAR)
    table.add_row(level["came_in"], "", f"{level['in']:,}", _bar(100))
    for row in level["rows"]:
        dropped = Text(f"-{row['count']:,}", style="red")
        table.add_row(Text(row["rule"]), dropped, f"{row['left']:,}", _bar(row["left_share"]))
    lost = Text(f"-{level['lost']:,}" if level["lost"] else "", style="red")
    table.add_row(Text(level["stayed"], style="bold"), lost, f"{level['left']:,}", Text(level["parts"], style="dim"))
    return table


def _bar(share: float) -> Bar:
    return Bar(100, 0, share, width=BAR, color="blue")


def print_what_if(console: Console, told: dict[str, Any]) -> None:
    """Print how many pages and images each rule drops, and would drop."""
    console.print(Text("; ".join(told["settings"]) or "nothing would change", style="bold"), "")
    for level in told["levels"]:
        title, came_in, stayed = TITLES[level["level"]]
        table = Table(title=Text(title, style="bold"), title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("", min_width=26, no_wrap=True)
        for column in ("now", "then", "change"):
            table.add_column(column, justify="right")
        rows = [(row["rule"], row["now"], row["then"]) for row in level["rules"]]
        for name, now, then in [(came_in, *level["in"]), *rows, (stayed, *level["out"])]:
            change = Text(f"{then - now:+,}" if then != now else "", style="bold")
            table.add_row(Text(name), f"{now:,}", f"{then:,}", change)
        console.print(table, "")


def _figures(figures: dict[str, Any]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), title=Text("Figures", style="bold"), title_justify="left")
    for column in ("", "", ""):
        table.add_column(column)
    for name, title in TILES.items():
        table.add_row(
            title, Text(sparkline(figures[name]["bins"]), style="blue"), Text(summary(figures[name]), style="dim")
        )
    seeing, tokens = figures["text_tokens_that_see_an_image"], figures["text_tokens"]
    share = f"{100 * seeing / tokens:.1f} %" if tokens else "none"
    table.add_row("Text tokens that see an image", share, Text(f"{seeing:,} of {tokens:,}", style="dim"))
    return table


def sparkline(bins: list[dict[str, Any]]) -> str:
    """One character of height 0 to 8 per bin; non-empty bins are always visible."""
    highest = max((row["count"] for row in bins), default=0) or 1
    return "".join(SHADES[-(-8 * row["count"] // highest)] for row in bins)


def _rankings(figures: dict[str, Any]) -> RenderableType:
    lines = []
    for name, title in RANKINGS.items():
        ranking = figures[name]
        shown = ", ".join(f"{visible(row['name'])} {row['count']:,}" for row in ranking["rows"])
        others = (
            f", {ranking['distinct'] - len(ranking['rows']):,} others {ranking['others']:,}"
            if ranking["others"]
            else ""
        )
        lines.append(Text.assemble((f"{title}: ", "bold"), shown + others))
    return Group(*lines)


def _window(window: SampleWindow) -> RenderableType:
    title = f"{window.split} window, {window.tokens} tokens, images at token {', '.join(map(str, window.positions))}"
    body = Text()
    for number, text in enumerate(window.text):
        body.append(harmless(text).replace(EOC_MARKER, "¶"))
        if number < len(window.images):
            image = window.images[number]
            alt = f" {visible(image['alt'])}" if image["alt"] else ""
            body.append(f"\n[image {image['width']}×{image['height']}{alt}]\n", style="bold magenta")
    url = Text(visible(window.url), style="dim")
    return Group(Rule(title, align="left", style="dim"), Padding(Group(url, body), (0, 0, 0, 2)))
