"""Opt-outs that a page declares for itself. Fail closed: what can be read as a refusal is one.

X-Robots-Tag and `<meta name="robots">` with noai, noimageai, noindex or noml (also "none", which means noindex), and the TDM
Reservation Protocol (W3C community group report, tdm-reservation: 1) as header or meta element.
"""

import re
from collections.abc import Mapping

REFUSALS = ("noai", "noimageai", "noindex", "noml")
DIRECTIVE = re.compile(r"[a-z][a-z_-]*")


def refusal(headers: Mapping[str, str], robots_meta: str, tdm_meta: str = "") -> str | None:
    """The rule id under which a page opted out, or None.

    `headers` are the response's, names in lower case; `robots_meta` and `tdm_meta` the contents of the page's meta elements,
    several joined by ", ". A directive that names a single crawler ("googlebot: noindex") counts: it was meant to be obeyed."""
    directives = set(DIRECTIVE.findall(f"{headers.get('x-robots-tag', '')}, {robots_meta}".lower()))
    if "none" in directives:
        directives.add("noindex")
    for refused in REFUSALS:
        if refused in directives:
            return f"consent.{refused}"
    for value in (headers.get("tdm-reservation", ""), tdm_meta):
        # the protocol knows 0 and 1; whatever is not 0 reserves the rights
        if value.strip() and value.strip().split(",")[0].strip() != "0":
            return "consent.tdm_reservation"
    return None
