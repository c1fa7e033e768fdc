"""What an origin (scheme, host, port) allows, by the three files that say so for a whole server."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.fetch.response import FetchFailed, Response
from pipeline.fetch.robots import Rules, text_of
from pipeline.fetch.tdmrep import Reservations

ROBOTS, AI, TDMREP = FILES = ("robots.txt", "ai.txt", ".well-known/tdmrep.json")


@dataclass
class Rights:
    """The files that were asked for: `texts` by name, None for one that could not be reached.

    Fails closed: what could not be reached forbids everything."""

    texts: dict[str, str | None] = field(default_factory=dict)
    _read: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> str | None:
        """The file to ask for next. Where robots.txt forbids to ask, nothing is."""
        if self.unreachable:
            return None
        return next((name for name in FILES if name not in self.texts), None)

    @property
    def unreachable(self) -> bool:
        """Whether the server was asked for robots.txt in vain."""
        return self.texts.get(ROBOTS, "") is None

    @property
    def lasting(self) -> bool:
        """Whether all files were reached: what is known then may be kept for later."""
        return self.missing is None and None not in self.texts.values()

    def learn(self, name: str, answer: Response | FetchFailed) -> None:
        """Takes the answer to the request for a file as final."""
        self.texts[name] = text_of(answer)
        self._read.pop(name, None)

    @property
    def robots(self) -> Rules:
        return self._parsed(ROBOTS, Rules)

    def refusal(self, url: str) -> str | None:
        """The rule under which a URL must not be asked for, or None."""
        if self.unreachable:
            return "robots.unreachable"
        if not self.robots.allows(url):
            return "robots.disallow"
        if not self._parsed(AI, Rules).allows(url):
            return "consent.ai_txt"
        if self._parsed(TDMREP, Reservations).reserve(url):
            return "consent.tdm_reservation"
        return None

    def _parsed(self, name: str, kind: Any) -> Any:
        if name not in self._read:
            self._read[name] = kind.parse(self.texts.get(name))
        return self._read[name]
