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


def of_meta(attributes: Mapping[str, str]) -> str:
    """What a meta element says about crawlers, in the form of `Metadata.robots`; "" where it says nothing of it."""
    name = attributes.get("name") or attributes.get("property") or attributes.get("http-equiv") or ""
    name, content = name.lower().strip(), attributes.get("content", "").strip()
    if content and name == "robots":
        return content.lower()
    return f"{name}={content}" if content and name.startswith("tdm-") else ""


def directives(said: str) -> set[str]:
    """The words of robots meta elements or of an X-Robots-Tag; "none" also as the two words that it stands for."""
    found = set(DIRECTIVE.findall(NO_PREVIEW.sub("", TDM_META.sub("", said.lower()))))
    return found | {"noindex", "nofollow"} if "none" in found else found


def refusal(headers: Mapping[str, str], robots: str) -> str | None:
    """The rule id under which a page opted out, or None.

    `headers` are the response's, names in lower case; `robots` is what extraction found (`Metadata.robots`): the
    contents of the page's robots meta elements and "tdm-reservation=VALUE", joined by ", ". A directive that names a
    single crawler ("googlebot: noindex") counts: it was meant to be obeyed."""
    said = directives(f"{headers.get('x-robots-tag', '')}, {robots}")
    for refused in REFUSALS:
        if refused in said:
            return f"consent.{refused}"
    # the protocol knows 0 and 1; whatever is not 0 reserves the rights
    reservations = [*headers.get("tdm-reservation", "").split(","), *TDM_META.findall(robots.lower())]
    if any(value.strip() not in ("", "0") for value in reservations):
        return "consent.tdm_reservation"
    return None
