"""SVG plots that inherit colours and fonts from the page around them; deterministic."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 150
LEFT, TOP, BOTTOM = 2, 14, 20
LETTER = 5.6
"""Approximate width of a letter in axis labels."""
STEPS = (1, 2, 2.5, 5, 10)


def bar(share: float) -> Markup:
    """A horizontal bar that fills `share` percent of its place."""
    return Markup(
        '<svg class="rail" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="back" width="100" height="1"/><rect class="bar" width="{:.3f}" height="1"/></svg>'
    ).format(share)


def histogram(bins: Sequence[dict[str, Any]], description: str) -> Markup:
    """Bars for rows {name, count}, without empty ones at both ends. A row may have `href`, where its bar leads, and
    `dropped`, how many of its count are drawn as dropped."""
    bins = _trimmed(bins)
    if not bins:
        return Markup("")
    highest = max(row["count"] for row in bins) or 1
    step = (WIDTH - 2 * LEFT) / len(bins)
    tall = HEIGHT - TOP - BOTTOM
    every = max(1, -(-round(max(len(row["name"]) for row in bins) * LETTER + 6) // max(1, round(step))))
    parts = []
    for index, row in enumerate(bins):
        high = tall * row["count"] / highest
        x = LEFT + index * step
        lost = tall * row.get("dropped", 0) / highest
        href = f'<a href="{escape(row["href"])}">' if row.get("href") else ""
        of_them = f", {row['dropped']:,} of them dropped" if row.get("dropped") else ""
        parts.append(
            f"<g>{href}<title>{escape(row['name'])}: {row['count']:,}{of_them}</title>"
            f'<rect class="back" x="{x:.1f}" y="{TOP}" width="{step:.1f}" height="{tall}"/>'
            f'<rect class="bar" x="{x + 1:.1f}" y="{TOP + tall - high:.1f}" width="{max(1.0, step - 2):.1f}"'
            f' height="{high:.1f}"/>'
        )
        if lost:
            parts.append(
                f'<rect class="bar lost" x="{x + 1:.1f}" y="{TOP + tall - high:.1f}" width="{max(1.0, step - 2):.1f}"'
                f' height="{lost:.1f}"/>'
            )
        parts.append("</a></g>" if href else "</g>")
        if index % every == 0:
            half = LETTER * len(row["name"]) / 2
            at = min(max(x + step / 2, half), WIDTH - half)
            parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(row["name"])}</text>')
        if row["count"] == highest:
            anchor = "start" if index < len(bins) / 3 else "end" if index > 2 * len(bins) / 3 else "middle"
            at = {"start": x + 1, "middle": x + step / 2, "end": x + step - 1}[anchor]
            parts.append(f'<text class="top" x="{at:.1f}" y="{TOP - 4}" text-anchor="{anchor}">{highest:,}</text>')
    base = TOP + tall
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - LEFT}" y1="{base}" y2="{base}"/>')
    return _svg("".join(parts), WIDTH, HEIGHT, description)


def _trimmed(bins: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    filled = [index for index, row in enumerate(bins) if row["count"]]
    return bins[max(0, filled[0] - 1) : filled[-1] + 2] if filled else []


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], description: str, unit: str = "", span: Sequence[float] = ()
) -> Markup:
    """One line per series of (x, y) points, on common axes; the y axis always includes `span`."""
    points = [point for values in series.values() for point in values]
    if not points:
        return Markup("")
    wide, high, left = 520, 220, 46
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    heights = [*span, *(y for _, y in points)]
    y_ticks = ticks(min(heights), max(heights))
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low or 1)
        up = (y - y_low) / (y_high - y_low or 1)
        return left + across * (wide - left - 8), high - 26 - up * (high - 40)

    parts = []
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{wide - 8}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(x_low, x_high):
        x, _ = place(tick, y_low)
        if x_low <= tick <= x_high and (not unit or x < wide - 16 - LETTER * (len(unit) + len(f"{tick:g}") / 2)):
            parts.append(f'<text x="{x:.1f}" y="{high - 8}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{wide - 8}" y="{high - 8}" text-anchor="end">{escape(unit)}</text>')
    # thin over wide, and dashes over both: a line that covers others leaves them visible
    for number, (name, values) in sorted(enumerate(series.items()), key=lambda item: item[0] % 2):
        places = [place(x, y) for x, y in values]
        if len(places) == 1:  # a line of one point would be invisible
            places += [(places[0][0] + 8, places[0][1])]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        stroke = (
            'stroke-width="2.6" stroke-dasharray="6 8"' if number % 2 else f'stroke-width="{2.6 if number else 3.6}"'
        )
        parts.append(
            f'<g><title>{escape(name)}</title><polyline class="line s{number % 6}" {stroke} points="{path}"/></g>'
        )
    drawing = _svg("".join(parts), wide, high, description)
    keys = Markup("").join(
        Markup('<span class="key k{}">{}</span>').format(number % 6, name) for number, name in enumerate(series)
    )
    return drawing + Markup('<p class="keys">{}</p>').format(keys)


def intervals(rows: Sequence[dict[str, Any]], description: str) -> Markup:
    """Rows {name, mean, low, high} as points with whiskers on an axis that includes zero."""
    if not rows:
        return Markup("")
    wide, left, row_high = 520, 205, 26
    marks = ticks(min(0.0, *(row["low"] for row in rows)), max(0.0, *(row["high"] for row in rows)))
    low, high = marks[0], marks[-1]
    tall = row_high * len(rows) + 26

    def place(value: float) -> float:
        return left + (value - low) / (high - low or 1) * (wide - left - 70)

    parts = []
    for mark in marks:
        kind = "zero" if mark == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{place(mark):.1f}" x2="{place(mark):.1f}" y1="4" y2="{tall - 22}"/>')
        parts.append(f'<text x="{place(mark):.1f}" y="{tall - 8}" text-anchor="middle">{mark:g}</text>')
    for number, row in enumerate(rows):
        y = 18 + number * row_high
        parts.append(
            f'<text class="name" x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(_short(row["name"]))}'
            f"<title>{escape(row['name'])}</title></text>"
            f'<line class="whisker" x1="{place(row["low"]):.1f}" x2="{place(row["high"]):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="point" cx="{place(row["mean"]):.1f}" cy="{y}" r="4"/>'
            f'<text class="top" x="{wide - 4}" y="{y + 4}" text-anchor="end">{signed(row["mean"])}</text>'
        )
    return _svg("".join(parts), wide, tall, description)


def _short(name: str) -> str:
    return name if len(name) <= 29 else f"{name[:28]}…"


def signed(number: float) -> str:
    """Three decimals with a proper minus sign, and never "−0"."""
    text = f"{number:.3f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`. A range below what ten decimals resolve counts as
    empty."""
    if high - low <= max(1e-9, 1e-9 * abs(low)):
        high = low + (abs(low) if abs(low) > 1e-9 else 1)
    size = 10.0 ** len(str(int((high - low) / about))) / 10 if high - low >= about else 1.0
    while size > (high - low) / about:
        size /= 10
    step = next(size * factor for factor in STEPS if size * factor * about >= high - low)
    first = int(low // step)
    found = [first * step]
    while found[-1] < high - step * 1e-9:
        found.append((first + len(found)) * step)
    return [round(tick, 10) for tick in found]


def _svg(content: str, width: int, height: int, description: str) -> Markup:
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, description, Markup(content)
    )
