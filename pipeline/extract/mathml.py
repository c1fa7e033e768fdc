"""Write a formula as one line of text: its TeX source if the page has it, else MathML in a linear form."""

import re

from lxml import etree

MAX_DEPTH = 100  # elements of a formula inside each other; deeper ones are read as if they were not there
MAX_TEX = 10_000  # characters

_STYLES = re.compile(r"\\(?:display|text|script|scriptscript)style(?![A-Za-z])\s*")
_SPACES = re.compile(r"^(?:\\[,;:!>]|~|\s)+|(?:\\[,;:!>]|~|\s)+$")  # spaces of TeX around a formula
_SIMPLE = re.compile(r"[^\W_]+(?:[.,]\d+)?$|[^\W_][\u0300-\u036f\u20d7]?$")
_SIGNED = re.compile(r"[-+\u2212]?[\w.]+$")
_RELATIONS = frozenset("=<>≤≥≠≈≡∼≃≅∝→←↔⇒⇐⇔↦∈∉⊂⊆⊃⊇∧∨∩∪∣:≔")
_SIGNS = frozenset("+-−±∓×÷⋅·∗*")
_INVISIBLE = re.compile("[\u2061-\u2064\u200b]")
_PRIMES = frozenset("'′″‴*†∗")
_ACCENTS = {"¯": "\u0304", "‾": "\u0304", "^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303"}
_ACCENTS |= {"˙": "\u0307", "¨": "\u0308", "→": "\u20d7", "⃗": "\u20d7"}
_SCRIPTED = frozenset(("msup", "msub", "msubsup", "mover", "munder", "munderover", "mmultiscripts", "mfrac"))
_TOKENS = frozenset(("mi", "mn", "mo", "mtext", "ms"))

Parts = list[tuple[str, str]]  # elements of a row: their tags and their texts


def tex(source: str) -> str:
    """A TeX source without the group and the style that converters put around it."""
    source = " ".join(source[:MAX_TEX].split())
    while source.startswith("{\\displaystyle") and source.endswith("}"):
        source = source[1:-1]
    return _SPACES.sub("", _STYLES.sub("", source)).strip()


def _grouped(text: str) -> str:
    return text if _SIMPLE.match(text) else f"({text})"


def _raised(text: str) -> str:
    return text if _SIGNED.match(text) else f"({text})"


def _row(parts: Parts) -> str:
    """The texts of a row; relations and signs between two operands have a space on both sides."""
    row = before = ""
    for tag, text in parts:
        if tag == "mo" and (text in _RELATIONS or (text in _SIGNS and row and row[-1] not in "([{ ")):
            row = f"{row.rstrip()} {text} " if row else f"{text} "
        elif tag in ("mtext", "mspace"):
            row += text
        elif (tag == "mfrac" or before in _SCRIPTED) and row[-1:].isalnum() and text[:1] not in (*")]},.;:!|", ""):
            row += f" {text}"
        else:
            row += text
        before = tag
    return row.strip()


def _scripts(base: str, below: str, above: str) -> str:
    base = base if _SIMPLE.match(base) or len(base) < 2 or base.endswith(")") else f"({base})"
    if above and all(character in _PRIMES for character in above):
        return base + above + (f"_{_raised(below)}" if below else "")
    return base + (f"_{_raised(below)}" if below else "") + (f"^{_raised(above)}" if above else "")


def _fenced(texts: list[str], attributes: dict[str, str]) -> str:
    separators = attributes.get("separators", ",").replace(" ", "") or ","
    inner = texts[0] if texts else ""
    for index, text in enumerate(texts[1:]):
        inner += f"{separators[min(index, len(separators) - 1)]} {text}"
    return f"{attributes.get('open', '(')}{inner}{attributes.get('close', ')')}"


def _multiscripts(parts: Parts) -> str:
    tags = [tag for tag, _ in parts]
    split = tags.index("mprescripts") if "mprescripts" in tags else len(parts)
    base = parts[0][1] if parts else ""
    after, before = [text for _, text in parts[1:split]], [text for _, text in parts[split + 1 :]]
    front = "".join(_scripts("", low, high) for low, high in zip(before[::2], before[1::2], strict=False))
    for low, high in zip(after[::2], after[1::2], strict=False):
        base = _scripts(base, low, high)
    return front + base


def linear(tag: str, parts: Parts, attributes: dict[str, str]) -> str:
    """The line that an element of MathML makes of its parts."""
    texts = [text for _, text in parts]
    one, two, three = (*texts[:3], *[""] * (3 - len(texts[:3])))
    if tag in _TOKENS:
        text = _INVISIBLE.sub("", "".join(texts))
        return text if tag == "mtext" else " ".join(text.split())
    if tag == "mfrac":
        if attributes.get("linethickness", "").startswith("0"):
            return f"({one} choose {two})"
        return f"{_grouped(one)}/{_grouped(two)}"
    if tag == "msqrt":
        return f"√{_grouped(_row(parts))}"
    if tag == "mroot":
        return f"{_grouped(one)}^(1/{_grouped(two)})"
    if tag in ("msup", "msub", "munder"):
        return _scripts(one, *("", two) if tag == "msup" else (two, ""))
    if tag == "mover":
        return one + _ACCENTS[two] if two in _ACCENTS and len(one) == 1 else _scripts(one, "", two)
    if tag in ("msubsup", "munderover"):
        return _scripts(one, two, three)
    if tag == "mmultiscripts":
        return _multiscripts(parts)
    if tag == "mfenced":
        return _fenced(texts, attributes)
    if tag in ("mtr", "mlabeledtr"):
        return ", ".join(texts)
    if tag == "mtable":
        return "; ".join(texts)
    if tag in ("mphantom", "annotation", "annotation-xml", "none", "mprescripts"):
        return ""
    return " " if tag == "mspace" else _row(parts)


class Formula:
    """A math element while it is read: each element becomes a line when it ends, so nothing recurses."""

    def __init__(self, attributes: dict[str, str]) -> None:
        self.display = attributes.get("display") == "block"
        self.given = attributes.get("alttext", "")
        self.source = ""
        self.open: list[tuple[str, dict[str, str], Parts]] = [("math", {}, [])]

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) < MAX_DEPTH:
            self.open.append((tag, dict(attributes), []))

    def data(self, text: str) -> None:
        tag, _, parts = self.open[-1]
        if tag in _TOKENS or tag.startswith("annotation") or not text.isspace():
            parts.append(("", text))

    def end(self, tag: str) -> None:
        if len(self.open) == 1 or self.open[-1][0] != tag:
            return
        _, attributes, parts = self.open.pop()
        if tag == "annotation" and "tex" in attributes.get("encoding", "").lower():
            self.source = "".join(text for _, text in parts)
        self.open[-1][2].append((tag, linear(tag, parts, attributes)))

    def close(self) -> str:
        while len(self.open) > 1:
            self.end(self.open[-1][0])
        line = tex(self.source) or tex(self.given) or " ".join(_row(self.open[0][2]).split())
        return f" {line} " if self.display and line else line


class _Source:
    def __init__(self) -> None:
        self.formula = Formula({})

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "math":
            self.formula = Formula(dict(attributes))
        elif tag not in ("html", "body"):
            self.formula.start(tag, dict(attributes))

    def end(self, tag: str) -> None:
        self.formula.end(tag)

    def data(self, text: str) -> None:
        self.formula.data(text)

    def close(self) -> str:
        return self.formula.close()


def of_source(markup: str) -> str:
    """The line of a formula that is given as MathML source."""
    try:
        line: str = etree.fromstring(
            markup[:100_000].encode("utf-8", "replace"), etree.HTMLParser(target=_Source(), encoding="utf-8")
        )
    except etree.XMLSyntaxError:
        return ""
    return line
