"""The options of a crawl, and those of its first run."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import BuildError
from pipeline.fetch import DEFAULT_LIMITS, Limits, Networks
from pipeline.fetch.client import user_agent

SCOPES = ("host", "domain", "any")


@dataclass(frozen=True)
class CrawlOptions:
    """depth: links followed from a seed. scope: which links count: to the `host` of their page, to its registrable
    `domain`, or `any`; images may come from anywhere. include, exclude: regular expressions that link URLs must, or
    must not, match (anywhere in the URL); seeds are always requested. delay: seconds between the starts of requests to
    a host, unless its robots.txt says otherwise. seconds: maximum duration of one run."""

    depth: int = 3
    scope: str = "host"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    delay: float = 1.0
    images: bool = True
    sitemaps: bool = True
    pages_per_host: int = 10_000
    pages: int = 1_000_000
    bytes: int = 100_000_000_000
    seconds: float | None = None
    contact: str | None = None
    allow_private: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS

    def check(self) -> None:
        """Raises BuildError for invalid values."""
        if self.scope not in SCOPES:
            raise BuildError(f"--scope {self.scope}: one of {', '.join(SCOPES)}")
        for pattern in (*self.include, *self.exclude):
            try:
                re.compile(pattern)
            except re.error as error:
                raise BuildError(f"{pattern!r} is not a regular expression: {error}") from None
        for name in ("depth", "delay", "pages_per_host", "pages", "bytes"):
            if getattr(self, name) < 0:
                raise BuildError(f"--{name.replace('_', '-')}: must not be negative")
        Networks.parse(self.allow_private)
        user_agent(self.contact)
        if self.contact is None and not self.allow_private:
            raise BuildError(
                "a crawler must identify its operator: set --contact to a URL or mail address "
                "(or --allow-private CIDR to crawl servers of your own)"
            )

    def lasting(self) -> dict[str, Any]:
        """What must stay the same when a crawl resumes: everything that decides which URLs belong to it."""
        kept = ("depth", "scope", "include", "exclude", "images", "sitemaps", "pages_per_host")
        asked = asdict(self)
        return {name: list(asked[name]) if isinstance(asked[name], tuple) else asked[name] for name in kept}
