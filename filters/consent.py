"""Opt-outs declared by a page itself. Whatever can be read as a refusal counts as one.

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
"""All opt-out rules for pages and images, declared by the resource or by its host."""
DIRECTIVE = re.compile(r"[a-z][a-z_-]*")
NO_PREVIEW = re.compile(r"max-image-preview\s*[:=]\s*none\b")
"""Preview size in search results: "none" here does not mean noindex."""
TDM_META = re.compile(r"tdm-reservation=([^\s,]*)")


def of_meta(attributes: Mapping[str, str]) -> str:
    """What a meta element tells crawlers, in the form of `Metadata.robots`; "" if nothing."""
    name = attributes.get("name") or attributes.get("property") or attributes.get("http-equiv") or ""
    name, content = name.lower().strip(), attributes.get("content", "").strip()
    if content and name == "robots":
        return content.lower()
    return f"{name}={content}" if content and name.startswith("tdm-") else ""


def directives(said: str) -> set[str]:
    """The directives of robots meta elements or of an X-Robots-Tag; "none" also adds the two words it stands for."""
    found = set(DIRECTIVE.findall(NO_PREVIEW.sub("", TDM_META.sub("", said.lower()))))
    return found | {"noindex", "nofollow"} if "none" in found else found


def refusal(headers: Mapping[str, str], robots: str) -> str | None:
    """The rule id under which a page opted out, or None.

    `headers` are the response's, names in lower case; `robots` is what extraction found (`Metadata.robots`): the
    contents of the page's robots meta elements and "tdm-reservation=VALUE", joined by ", ". A directive for a single
    crawler ("googlebot: noindex") counts: it was meant to be obeyed."""
    said = directives(f"{headers.get('x-robots-tag', '')}, {robots}")
    for refused in REFUSALS:
        if refused in said:
            return f"consent.{refused}"
    # the protocol defines 0 and 1; anything but 0 reserves the rights
    reservations = [*headers.get("tdm-reservation", "").split(","), *TDM_META.findall(robots.lower())]
    if any(value.strip() not in ("", "0") for value in reservations):
        return "consent.tdm_reservation"
    return None
