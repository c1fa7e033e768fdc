"""Opt-outs that a page declares for itself. Fail closed: what can be read as a refusal is one.

X-Robots-Tag and `<meta name="robots">` with noai, noimageai, noindex or noml (also "none", which means noindex), and
the TDM Reservation Protocol (W3C community group report, tdm-reservation: 1) as header or meta element.
"""

import re
from collections.abc import Mapping

REFUSALS = ("noai", "noimageai", "noindex", "noml")
RULES = (
    *(f"consent.{refused}" for refused in REFUSALS),
    *("consent.tdm_reservation", "consent.ai_txt", "robots.disallow", "robots.unreachable"),
)
"""Every rule under which a page or a picture may have opted out, by what it says of itself or by what its host says."""
DIRECTIVE = re.compile(r"[a-z][a-z_-]*")
NO_PREVIEW = re.compile(r"max-image-preview\s*[:=]\s*none\b")
"""How large search results may show pictures: its "none" means no noindex."""
TDM_META = re.compile(r"tdm-reservation=([^\s,]*)")


def refusal(headers: Mapping[str, str], robots: str) -> str | None:
    """The rule id under which a page opted out, or None.

    `headers` are the response's, names in lower case; `robots` is what extraction found (`Metadata.robots`): the
    contents of the page's robots meta elements and "tdm-reservation=VALUE", joined by ", ". A directive that names a
    single crawler ("googlebot: noindex") counts: it was meant to be obeyed."""
    robots = robots.lower()
    said = f"{headers.get('x-robots-tag', '').lower()}, {TDM_META.sub('', robots)}"
    directives = set(DIRECTIVE.findall(NO_PREVIEW.sub("", said)))
    if "none" in directives:
        directives.add("noindex")
    for refused in REFUSALS:
        if refused in directives:
            return f"consent.{refused}"
    # the protocol knows 0 and 1; whatever is not 0 reserves the rights
    reservations = [headers.get("tdm-reservation", "").partition(",")[0].strip(), *TDM_META.findall(robots)]
    if any(value not in ("", "0") for value in reservations):
        return "consent.tdm_reservation"
    return None
