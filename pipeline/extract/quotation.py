"""The quotation marks that browsers put around q elements."""

# By language: outer opening and closing, inner opening and closing. Source: CLDR, "delimiters", which the HTML standard
# refers to (15.3.11, "Quotes").
_ENGLISH = "“”‘’"
_MARKS = {
    **dict.fromkeys(("cs", "de", "hr", "is", "mk", "sk", "sl"), "„“‚‘"),
    **dict.fromkeys(("bg", "lt"), "„“„“"),
    **dict.fromkeys(("et", "ka"), "„“«»"),
    **dict.fromkeys(("pl", "ro"), "„”«»"),
    **dict.fromkeys(("be", "ru", "uk"), "«»„“"),
    **dict.fromkeys(("ca", "el", "es", "eu", "it", "sq"), "«»“”"),
    **dict.fromkeys(("fr", "hy"), "«»«»"),
    **dict.fromkeys(("nb", "nn", "no"), "«»‘’"),
    **dict.fromkeys(("de-ch", "fa"), "«»‹›"),
    **dict.fromkeys(("fi", "he", "sv"), "””’’"),
    **dict.fromkeys(("ja", "zh-hant", "zh-hk", "zh-tw"), "「」『』"),
    "ar": "”“’‘",
    "hu": "„”»«",
    "nl": "‘’“”",
    "sr": "„”’’",
}
OPENING = frozenset('"“”„«»‚‘’‹›「『')
"""Characters before a quotation that the page itself has put in quotation marks."""


def marks(language: str, depth: int) -> tuple[str, str]:
    """The opening and the closing mark of a quotation inside `depth` others; `language` is a BCP 47 tag."""
    tag = language.lower().replace("_", "-")
    found = _MARKS.get(tag) or _MARKS.get("-".join(tag.split("-")[:2])) or _MARKS.get(tag.split("-")[0], _ENGLISH)
    return (found[2], found[3]) if depth % 2 else (found[0], found[1])
