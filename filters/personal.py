"""Personal data in texts: e-mail addresses, phone numbers, IP addresses and IBANs become placeholders.

Shapes come from regular expressions whose repetitions are all bounded, so that the time is linear in the text; what has
the shape is checked (Public Suffix List, phonenumbers, ipaddress, the IBAN's check digits) before it is masked."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from functools import cache

import phonenumbers
from tldextract import TLDExtract

from filters.rule import Key, Rule

MASK = Key("personal.mask", True, "Replace e-mail addresses, phone numbers, IP addresses and IBANs by placeholders")
FINE_WEB = "FineWeb (Penedo et al. 2024, arXiv 2406.17557), 3.7"
RULES = (
    Rule("personal.iban", "span", "an IBAN, now <iban>", keys=(MASK,), source="ISO 13616; the check is ISO 7064's"),
    Rule("personal.email", "span", "an e-mail address, now <email>", keys=(MASK,), source=FINE_WEB),
    Rule("personal.ip", "span", "a public IP address, now <ip>", keys=(MASK,), source=FINE_WEB),
    Rule("personal.phone", "span", "a phone number, now <phone>", keys=(MASK,), source="our choice"),
)
"""In the order they are applied."""
LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Length of an IBAN by country (SWIFT, IBAN Registry)."""
IBAN = re.compile(r"(?<!\w)[A-Z]{2}[0-9]{2}(?:[ \xa0]?[A-Z0-9]{1,4}){3,8}(?!\w)")
EMAIL = re.compile(
    r"(?<![\w.+%@-])(?<!//)[^\W_](?:[\w.+%-]{0,62}[\w+-])?@"
    r"((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24})(?![\w@-]|:[\w/])"
)
IPV4 = re.compile(r"(?<![\w.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-]|\.[0-9]|/[0-9])")
IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}(?=:)[0-9a-fA-F:]{0,34}(?:[0-9a-fA-F]|::)(?!\w|:[\w:]|/[0-9])")
VERSION = re.compile(r"(?:version|release|firmware|build|driver|kernel)s?:? {0,2}$", re.I)
"""What comes before a number of four parts that is no address."""
NUMBER = r"(?:[ \xa0()./\u2010-\u2013-]{0,3}[0-9])"
INTERNATIONAL = re.compile(rf"(?<![\w+.=*^-])\+[1-9]{NUMBER}{{6,14}}(?![\w+])")
AMERICAN = re.compile(
    r"(?<![\w.+/$-])(?:1[ .-])?(?:\([2-9][0-9]{2}\)[ \xa0-]?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[ .-][0-9]{4}"
    r"(?![\w-]|\.[0-9])"
)
LABELLED = re.compile(
    r"(?<![\w.])(?:(?:tel|fax|tél)(?:\.? ?:|\. )|(?:telephone|phone|mobile|cell|telefon|telefax|handy|téléphone"
    r"|teléfono|telefono|telefone|whatsapp)(?: (?:no\.?|nr\.?|number))?:)[ \xa0]{0,3}"
    rf"(\(?[0-9]{NUMBER}{{6,14}})(?![\w+])",
    re.I,
)
THREE_DIGITS = 100
LAST_GROUP = re.compile(r"[ \xa0()./\u2010-\u2013-]+[^ \xa0()./\u2010-\u2013-]+$")
GROUPS = 8
"""After how many groups fewer a number is given up: what follows a number may look like a part of it."""
Span = tuple[int, int]


def mask(text: str) -> tuple[str, Counter[str]]:
    """A text with placeholders in place of personal data, and how often each rule applied."""
    found = Counter[str]()
    for rule, sign, shape, checked in SHAPES:
        if sign not in text:
            continue
        pieces, done, place = [], 0, 0
        while match := shape.search(text, place):
            place = match.start() + 1  # a match is short: what begins inside one that failed is found in linear time
            if (span := checked(match)) is not None:
                pieces += [text[done : span[0]], f"<{rule.partition('.')[2]}>"]
                done = place = span[1]
        if pieces:
            found[rule] += len(pieces) // 2
            text = "".join((*pieces, text[done:]))
    return text, found


def _longest(text: str, start: int, valid: Callable[[str], bool]) -> Span | None:
    """The span of the most groups from the first one on that are valid together."""
    for _ in range(GROUPS):
        if valid(text):
            return start, start + len(text)
        if (last := LAST_GROUP.search(text)) is None:
            return None
        text = text[: last.start()]
    return None


def _iban(match: re.Match[str]) -> Span | None:
    return _longest(match[0], match.start(), _is_iban)


def _is_iban(text: str) -> bool:
    """Whether the length is the country's, and the remainder by 97 is 1 (ISO 7064)."""
    plain = text.replace(" ", "").replace("\xa0", "")
    if LENGTHS.get(plain[:2]) != len(plain):
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


@cache
def _suffixes() -> TLDExtract:
    return TLDExtract(suffix_list_urls=(), cache_dir=None)  # the list in the package: no network


def _email(match: re.Match[str]) -> Span | None:
    """Not at names reserved for examples (RFC 2606), nor at a file name such as logo@2x.png."""
    name = match[1]
    for _ in range(3):
        host = _suffixes()(name.lower())
        if host.suffix:
            return (match.start(), match.start(1) + len(name)) if host.domain not in ("", "example") else None
        name = name.rpartition(".")[0]  # the next sentence may follow without a space
    return None


def _ip(match: re.Match[str]) -> Span | None:
    """Only public addresses. Small numbers are versions and sections: one part of four has three digits."""
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return None
    small = address.version == 4 and max(address.packed) < THREE_DIGITS
    told = VERSION.search(match.string, max(0, match.start() - 12), match.start())
    return match.span() if address.is_global and not address.is_multicast and not small and not told else None


def _phone(match: re.Match[str]) -> Span | None:
    region = "US" if match.re is AMERICAN else None
    return _longest(match[0], match.start(), lambda text: _is_phone(text, region))


def _is_phone(text: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False


def _after_label(match: re.Match[str]) -> Span | None:
    """The country is not known: a label and the digits are enough."""
    return match.span(1)


SHAPES: tuple[tuple[str, str, re.Pattern[str], Callable[[re.Match[str]], Span | None]], ...] = (
    ("personal.iban", "", IBAN, _iban),
    ("personal.email", "@", EMAIL, _email),
    ("personal.ip", ".", IPV4, _ip),
    ("personal.ip", ":", IPV6, _ip),
    ("personal.phone", "+", INTERNATIONAL, _phone),
    ("personal.phone", "", AMERICAN, _phone),
    ("personal.phone", "", LABELLED, _after_label),
)
"""Rule, a character that every match contains, shape, and the check that gives the span to mask or None."""
