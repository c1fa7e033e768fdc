"""The markers of list items: a bullet, or in ordered lists the number that a browser shows."""

import re

from pipeline.extract.page import Page

BULLET = "- "
MAX_NUMBER = 1_000_000
_LETTERED, _ROMAN = 26**3, 3999
_DIGITS = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl")),
    *((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_STYLE = re.compile(r"list-style(?:-type)?\s*:\s*([^;]{1,100})", re.I)
_UNNUMBERED = re.compile(r"\b(?:none|disc|circle|square)\b", re.I)
_TYPES = {"lower-alpha": "a", "lower-latin": "a", "upper-alpha": "A", "upper-latin": "A"}
_TYPES |= {"lower-roman": "i", "upper-roman": "I"}


def marker(page: Page, item: int, known: dict[int, str]) -> str:
    """The marker of the list item `item`; `known` keeps those of the lists that were counted."""
    if item not in known:
        above = page.parents[item]
        if above >= 0 and page.tags[above] == "ol":
            known.update(_markers(page, above))
        else:
            known[item] = BULLET
    return known[item]


def _markers(page: Page, ordered: int) -> dict[int, str]:
    """The markers of the items of an ordered list (HTML standard, 4.4.8, "ordinal value")."""
    says = page.numbering.get(ordered, {})
    items = []
    element = ordered + 1
    while element < page.ends[ordered]:
        if page.tags[element] == "li":
            items.append(element)
        element = page.ends[element]
    style = _STYLE.search(says.get("style", "")[:2000])
    kind = says.get("type", "1")
    if style:
        if _UNNUMBERED.search(style[1]):
            return dict.fromkeys(items, BULLET)
        kind = _TYPES.get(style[1].strip().lower(), kind)
    step = -1 if "reversed" in says else 1
    start = _integer(says.get("start"))
    number = start if start is not None else len(items) if step < 0 else 1
    found = {}
    for item in items:
        value = _integer(page.numbering.get(item, {}).get("value"))
        number = number if value is None else value
        found[item] = f"{_written(number, kind)}. "
        number += step
    return found


def _integer(text: str | None) -> int | None:
    match = re.match(r"\s*([-+]?\d{1,7})", text or "")
    return max(-MAX_NUMBER, min(MAX_NUMBER, int(match[1]))) if match else None


def _written(number: int, kind: str) -> str:
    if kind in ("a", "A") and 0 < number <= _LETTERED:
        letters = ""
        while number:
            number, rest = divmod(number - 1, 26)
            letters = chr(ord(kind) + rest) + letters
        return letters
    if kind in ("i", "I") and 0 < number <= _ROMAN:
        digits = ""
        for value, digit in _DIGITS:
            count, number = divmod(number, value)
            digits += digit * count
        return digits.upper() if kind == "I" else digits
    return str(number)
