"""/.well-known/tdmrep.json: which paths of a host reserve the rights of text and data mining.

TDM Reservation Protocol, final report of the W3C community group, 10 May 2024, section "TDM File on the Origin Server".
"""

import json
from dataclasses import dataclass

from protego import Protego

MOST_RULES = 1000


@dataclass(frozen=True)
class Reservations:
    """The rules of one file, in its order: a pattern of paths, and whether its rights are reserved.

    `reserved` holds where no pattern matches."""

    rules: tuple[tuple[Protego, bool], ...] = ()
    reserved: bool = False

    @classmethod
    def parse(cls, text: str | None) -> "Reservations":
        """`text` is None where the file could not be reached: then all rights count as reserved.

        The protocol knows the values 0 and 1; whatever is not 0 reserves. A file that is no JSON is a server's page for
        what it does not have, unless it names the protocol's property: then its author meant to reserve."""
        if text is None:
            return cls(reserved=True)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return cls(reserved="tdm-reservation" in text)
        rules = []
        for rule in (found if isinstance(found, list) else [found])[:MOST_RULES]:
            if isinstance(rule, dict) and "tdm-reservation" in rule:
                location = rule.get("location", "/")
                # the patterns are those of robots.txt, and so is their matching
                pattern = "".join(location.split()) if isinstance(location, str) else "/"
                allowed = Protego.parse(f"User-agent: *\nDisallow: {pattern or '/'}")
                rules.append((allowed, rule["tdm-reservation"] not in (0, "0")))
        return cls(tuple(rules))

    def reserve(self, url: str) -> bool:
        """Whether the rights in what lies at a URL are reserved: the first pattern that matches decides."""
        for pattern, reserved in self.rules:
            if not pattern.can_fetch(url, "*"):
                return reserved
        return self.reserved
