"""What an origin (scheme, host, port) allows, according to its three server-wide files."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.fetch.response import FetchFailed, Response
from pipeline.fetch.robots import Rules, text_of
from pipeline.fetch.tdmrep import Reservations

ROBOTS, AI, TDMREP = FILES = ("robots.txt", "ai.txt", ".well-known/tdmrep.json")


@dataclass
class Rights:
    """The files requested so far: `texts` by name, None for one that could not be fetched.

    Fails closed: a file that could not be fetched forbids everything."""

    texts: dict[str, str | None] = field(default_factory=dict)
    _read: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> str | None:
        """The next file to request; none if robots.txt forbids it."""
        if self.unreachable:
            return None
        return next((name for name in FILES if name not in self.texts), None)

    @property
    def unreachable(self) -> bool:
        """Whether a request for robots.txt failed."""
        return self.texts.get(ROBOTS, "") is None

    @property
    def lasting(self) -> bool:
        """Whether all files were fetched, so that the result may be cached."""
        return self.missing is None and None not in self.texts.values()

    def learn(self, name: str, answer: Response | FetchFailed) -> None:
        """Accept the response to the request for a file as final."""
        self.texts[name] = text_of(answer)
        self._read.pop(name, None)

    @property
    def robots(self) -> Rules:
        return self._parsed(ROBOTS, Rules)

    def refusal(self, url: str) -> str | None:
        """The rule that forbids a URL, or None."""
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
