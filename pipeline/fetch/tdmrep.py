"""/.well-known/tdmrep.json: the paths of a host whose text and data mining rights are reserved.

TDM Reservation Protocol, final report of the W3C community group, 10 May 2024, section "TDM File on the Origin Server".
"""

import json
from dataclasses import dataclass

from protego import Protego

MOST_RULES = 1000


@dataclass(frozen=True)
class Reservations:
    """The rules of one file, in order: a pattern of paths, and whether its rights are reserved.

    `reserved` applies if no pattern matches."""

    rules: tuple[tuple[Protego, bool], ...] = ()
    reserved: bool = False

    @classmethod
    def parse(cls, text: str | None) -> "Reservations":
        """Parse a file. `text` is None if it could not be fetched: then all rights count as reserved.

        The protocol defines 0 and 1; anything but 0 reserves. A file that is not JSON is a server's "not found" page,
        unless it contains the protocol's property: then its author meant to reserve."""
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
                # patterns are those of robots.txt, with the same matching
                pattern = "".join(location.split()) if isinstance(location, str) else "/"
                allowed = Protego.parse(f"User-agent: *\nDisallow: {pattern or '/'}")
                rules.append((allowed, rule["tdm-reservation"] not in (0, "0")))
        return cls(tuple(rules))

    def reserve(self, url: str) -> bool:
        """Whether the rights of a URL are reserved: the first matching pattern decides."""
        for pattern, reserved in self.rules:
            if not pattern.can_fetch(url, "*"):
                return reserved
        return self.reserved
