"""Write superscripts, subscripts and fractions as plain text, and close the gaps where elements were left out.

While a block is read, characters that no text contains mark where a sup or sub element begins and ends; `resolved`
replaces them."""

import re

SUPER, NOTE, SUB, END, GAP = "\x0e", "\x0f", "\x10", "\x11", "\x12"
"""The begin of a superscript, of the mark of a note, and of a subscript; the end of each; something left out."""
MARKS = SUPER + NOTE + SUB + END + GAP
MAX_NESTED = 8
BASE = 16  # characters before a script that are looked at
LONGEST = 24  # characters; what is longer is small print and no script

_MARK = re.compile(f"([{SUPER}{NOTE}{SUB}{END}])")
_GAP = re.compile(f"[ \t]*{GAP}+(?:(?=[.,;:!?)\\]\u2026\u3002\u3001])|(?= ))")
_NUMBER = re.compile(r"[-+\u2212\u2013]?\d{1,4}(?:[.,]\d{1,4})?$")
_CHARGE = re.compile(r"\d{0,2}[-+\u2212\u2013]$")
_EXPRESSION = re.compile(r"(?=.*[^\W_])[-\w.,+\u2212\u2013*/()^ ]*[-+\u2212\u2013*/^][-\w.,+\u2212\u2013*/()^ ]*$")
_VARIABLES = frozenset("nmkijpqxyzNTβαγμνx")
_LETTERS = re.compile(r"[^\W\d_]+$")
# What a number above is a power of, beside single letters
_UNITS = frozenset(
    (
        *("km", "cm", "mm", "dm", "hm", "nm", "µm", "μm", "ft", "yd", "mi", "in", "kg", "sec", "min", "px"),
        *("км", "см", "мм", "дм", "sin", "cos", "tan", "cot", "log", "exp", "ln", "dx", "dy", "dz", "dt", "ds"),
    )
)
_SLASH = re.compile(r"\s{0,3}[/\u2044]\s{0,3}$")


def resolved(text: str) -> str:
    """The text with `^`, `_` and the spaces that the marks in it stand for."""
    parts = _MARK.split(text)
    done: list[str] = []
    opened: list[tuple[str, int]] = []
    for index, part in enumerate(parts):
        if index % 2 == 0:
            done.append(part)
        elif part != END:
            opened.append((part, len(done)))
            del opened[: max(0, len(opened) - MAX_NESTED)]
        elif opened:
            mark, start = opened.pop()
            content = "".join(done[start:])
            del done[start:]
            base = "".join(done[-3:])[-BASE:]
            if mark == SUB:
                done.append(_below(base, content))
            elif mark == NOTE:
                done.append(_note(base, content))
            else:
                slash = index + 2 < len(parts) and parts[index + 2] == SUB and _SLASH.match(parts[index + 1])
                if slash and content.strip().isdigit():
                    parts[index + 1] = "/"
                    done.append(f" {content.strip()}" if base[-1:].isdigit() else content.strip())
                else:
                    done.append(_above(base, content))
    return _GAP.sub("", "".join(done)).replace(GAP, "")


def _above(base: str, content: str) -> str:
    """A superscript after `base`."""
    script = content.strip()
    last = base[-1:]
    if not script or len(script) > LONGEST or not last or last.isspace() or content[0].isspace():
        return content
    word = found[0] if (found := _LETTERS.search(base)) else ""
    power = last.isdigit() or last in ")]}|" or len(word) == 1 or word.lower() in _UNITS
    if _NUMBER.match(script):
        return f"^{content}" if power else _note(base, content)
    if _CHARGE.match(script):
        return f"^{content}" if word or last in ")]" else content
    if len(script) == 1:
        return f"^{content}" if power and script in _VARIABLES else content
    return f"^({script})" if power and _EXPRESSION.match(script) else content


def _below(base: str, content: str) -> str:
    """A subscript after `base`. Numbers join letters as in H2O; after a number they would be read as part of it."""
    script = content.strip()
    last = base[-1:]
    if not script or len(script) > LONGEST or " " in content or not last.isalnum():
        return content
    if script[0].isdigit() and (last.isdigit() or base.endswith(("log", "lim"))):
        return f"_{script}"
    if len(_LETTERS.findall(base)[0] if _LETTERS.search(base) else "") == 1 and not script.isdigit():
        if script.isalnum():
            return f"_{script}"
        return f"_({script})" if _EXPRESSION.match(script) else content
    return content


def _note(base: str, content: str) -> str:
    """The number of a note, in brackets so that it is no part of the word before it."""
    script = content.strip()
    if base[-1:].strip() and len(script) <= 3 and script.isalnum() and (script.isdigit() or len(script) == 1):
        return f"[{script}]"
    return content
