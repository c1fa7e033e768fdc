"""Metadata of a page: meta elements, JSON-LD, microdata, the title and the root element."""

import json
import re
from html import escape
from typing import Any

from filters import consent
from pipeline.extract.licences import Statements
from pipeline.extract.runs import one_line
from shards.records import Metadata

MAX_JSON_LD = 500_000
_FIELDS = {
    "title": (
        "citation_title",
        "og:title",
        "twitter:title",
        "dc.title",
        "dcterms.title",
        "parsely-title",
        "sailthru.title",
    ),
    "author": (
        "citation_author",
        "author",
        "article:author",
        "dc.creator",
        "dcterms.creator",
        "parsely-author",
        "sailthru.author",
        "byl",
        "twitter:creator",
    ),
    "date": (
        "citation_publication_date",
        "article:published_time",
        "og:published_time",
        "datepublished",
        "date",
        "dc.date",
        "dc.date.issued",
        "dcterms.created",
        "dcterms.date",
        "pubdate",
        "publishdate",
        "publish_date",
        "publication_date",
        "parsely-pub-date",
        "sailthru.date",
        "article.published",
    ),
    "language": ("content-language", "dc.language", "language", "og:locale"),
    "licence": ("dc.rights", "dcterms.rights", "dcterms.license", "copyright-license", "license"),
    "site_name": ("og:site_name", "application-name", "dc.publisher"),
    "description": ("description", "og:description", "twitter:description", "dc.description"),
    "canonical_url": ("og:url",),
}
_RANK = {name: (kind, rank) for kind, names in _FIELDS.items() for rank, name in enumerate(names)}
_TYPE = re.compile(r'"@type"\s*:\s*\[?\s*"(?:https?://schema\.org/)?(\w{1,60})"')
MAX_TYPES = 200
_LEADS = frozenset(
    ("og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src", "thumbnail")
)
MAX_LEADS = 20
_BODIES = frozenset(("body", "content", "html", "articlebody", "bodyhtml", "contenthtml", "text"))
MIN_BODY = 200  # characters; shorter texts of an application's data are labels
MAX_DATA, MAX_NODES = 4_000_000, 50_000
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*$")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.\d+)?\s*(Z|[+-]\d{2}:?\d{2})?)?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]{{0,6}}\.?"
_NAMED_DATE = re.compile(rf"\b(?:(\d{{1,2}})\s+{_MONTH},?\s+(\d{{4}})|{_MONTH}\s+(\d{{1,2}}),?\s+(\d{{4}}))\b", re.I)
_URL_DATE = re.compile(r"/((?:19|20)\d\d)[/-](0\d|1[0-2])[/-]([0-3]\d)(?:[/-]|$)")
CREATIVE_COMMONS = re.compile(r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/", re.I)
_ARTICLES = (
    "article",
    "blogposting",
    "newsarticle",
    "webpage",
    "product",
    "recipe",
    "report",
    "book",
    "howto",
    "posting",
    "review",
    "qapage",
    "event",
    "video",
)


class Head:
    """The metadata found so far. Earlier names in `_FIELDS` are trusted more than later ones."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}
        self.robots: list[str] = []
        self.titles: list[str] = []
        self.base: str | None = None
        self.ld: dict[str, str] = {}
        self.items: dict[str, str] = {}
        self.canonical = ""
        self.licence = ""
        self.root_language = ""
        self.first_time = ""
        self.types: list[str] = []
        """Types of schema.org that the page names, in lower case, as often as it names them."""
        self.names = ""
        self.leads: list[str] = []
        """URLs of the images that stand for the page elsewhere: og:image, twitter:image, image_src, JSON-LD `image`."""
        """Words the page's authors and software chose for the whole of it: generator, og:type, classes of the body."""

        self.bodies: list[str] = []
        """HTML of what the page's data say its text is: articleBody of JSON-LD, texts in __NEXT_DATA__, scripts of
        HTML."""

    def root(self, attributes: dict[str, str]) -> None:
        self.root_language = attributes.get("lang") or attributes.get("xml:lang") or self.root_language

    def body(self, attributes: dict[str, str]) -> None:
        self.names += f" {attributes.get('class', '')[:500]} {attributes.get('id', '')[:100]}".lower()

    def schema(self, value: str) -> None:
        """The value of an itemtype attribute."""
        self.types.append(value[:200].rstrip("/").rsplit("/", 1)[-1].lower())

    def title(self, text: str) -> None:
        self.titles.append(one_line(text[:10_000]))

    def element(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "base":
            if self.base is None and attributes.get("href"):
                self.base = attributes["href"]
            return
        if tag == "link":
            rel = attributes.get("rel", "").lower().split()
            href = attributes.get("href", "")
            if "canonical" in rel and not self.canonical:
                self.canonical = href
            if "license" in rel:
                self.licence_link(href)
            if "image_src" in rel:
                self.leads.append(href)
            return
        content = attributes.get("content") or attributes.get("value", "")  # some saved pages say value
        name = (
            (attributes.get("name") or attributes.get("property") or attributes.get("http-equiv") or "").lower().strip()
        )
        if "itemprop" in attributes:
            self.item(tag, attributes)
        if not name or not content:
            return
        if name in _LEADS:
            self.leads.append(content[:2000])
        elif name in ("generator", "og:type"):
            self.names += f" {name}={content[:100].lower()}"
        if said := consent.of_meta(attributes):
            self.robots.append(said)
        elif name in _RANK:
            kind, rank = _RANK[name]
            if kind not in self.found or rank < self.found[kind][0]:
                self.found[kind] = (rank, one_line(content[:10_000]))

    def item(self, tag: str, attributes: dict[str, str]) -> None:
        for name in attributes.get("itemprop", "").lower().split():
            value = attributes.get("content") or attributes.get("datetime")
            if value and name in ("datepublished", "author", "headline", "inlanguage"):
                self.items.setdefault(name, one_line(value[:1000]))

    def time(self, attributes: dict[str, str]) -> None:
        """A time element; the first one with a date counts if the page has no better date."""
        if not self.first_time and "datetime" in attributes:
            self.first_time = iso_date(attributes["datetime"][:40])

    def licence_link(self, href: str) -> None:
        if not self.licence or (CREATIVE_COMMONS.match(href) and not CREATIVE_COMMONS.match(self.licence)):
            self.licence = href.strip()

    def json_ld(self, text: str, stated: Statements) -> None:
        if len(text) > MAX_JSON_LD:
            return
        try:
            data = json.loads(text.strip().removeprefix("<![CDATA[").removesuffix("]]>"), strict=False)
        except (ValueError, RecursionError):
            return
        self.types += (found.lower() for found in _TYPE.findall(text)[:MAX_TYPES])
        queue: list[Any] = [data]
        seen = 0
        while queue and seen < 200:
            node = queue.pop(0)
            seen += 1
            if isinstance(node, list):
                queue[:0] = node[:50]
            elif isinstance(node, dict):
                graph = node.get("@graph")
                if isinstance(graph, list):
                    queue[:0] = graph[:50]
                self.thing(node)
                stated.data(node)

    def application_data(self, text: str) -> None:
        """The JSON from which a script (Next.js) builds the page."""
        if len(text) > MAX_DATA:
            return
        try:
            stack: list[Any] = [json.loads(text, strict=False)]
        except (ValueError, RecursionError):
            return
        for _ in range(MAX_NODES):
            if not stack:
                break
            node = stack.pop()
            if isinstance(node, list):
                stack += reversed(node[:1000])
            elif isinstance(node, dict):
                for key, value in node.items():
                    if key.lower() in _BODIES and isinstance(value, str) and len(value) >= MIN_BODY:
                        self.bodies.append(_as_html(value, _urls(node.get("image"))))
                stack += (value for value in reversed(node.values()) if isinstance(value, dict | list))

    def template(self, text: str) -> None:
        """The HTML in a script element, from which a script builds the page."""
        if MIN_BODY <= len(text) <= MAX_DATA and "<p" in text and "{{" not in text and "<%" not in text:
            self.bodies.append(text)

    def thing(self, node: dict[str, Any]) -> None:
        if len(self.leads) < MAX_LEADS:
            self.leads += _urls(node.get("image")) + _urls(node.get("thumbnailUrl"))
        kinds = node.get("@type", "")
        kind = " ".join(map(str, kinds)) if isinstance(kinds, list) else str(kinds)
        kind = kind.lower()
        if kind in ("organization", "person", "website", "breadcrumblist", "imageobject"):
            if kind == "website" and isinstance(node.get("name"), str):
                self._said("site_name", node["name"])
            return
        if not any(name in kind for name in _ARTICLES):
            return
        if isinstance(body := node.get("articleBody"), str):
            self.bodies.append(_as_html(body, _urls(node.get("image"))))
        for key, target in (
            ("headline", "title"),
            ("name", "title"),
            ("datePublished", "date"),
            ("inLanguage", "language"),
            ("license", "licence"),
            ("description", "description"),
        ):
            value = node.get(key)
            if isinstance(value, list) and value:
                value = value[0]
            if isinstance(value, dict):
                value = value.get("url") or value.get("name") or value.get("@id")
            if isinstance(value, str) and value.strip():
                self._said(target, one_line(value[:10_000]))
        author = node.get("author")
        people = author if isinstance(author, list) else [author]
        names = [person.get("name") if isinstance(person, dict) else person for person in people]
        joined = ", ".join(one_line(name) for name in names[:20] if isinstance(name, str) and name.strip())
        if joined:
            self._said("author", joined[:1000])
        publisher = node.get("publisher")
        if isinstance(publisher, dict) and isinstance(publisher.get("name"), str):
            self._said("site_name", publisher["name"])

    def _said(self, name: str, value: str) -> None:
        """JSON can contain lone surrogates, which are not text."""
        self.ld.setdefault(name, value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))

    def metadata(self, url: str, canonical_url: str) -> Metadata:
        """The metadata of the page at `url`."""
        said = {kind: value for kind, (_, value) in self.found.items()}
        title = (
            said.get("title")
            or self.ld.get("title")
            or self.items.get("headline")
            or next(filter(None, self.titles), "")
        )
        author = said.get("author", "")
        if not author or author.startswith(("http:", "https:", "@")):
            author = (
                self.ld.get("author")
                or (author if not author.startswith("http") else "")
                or self.items.get("author", "")
            )
        language = self.root_language or said.get("language") or self.ld.get("language") or ""
        language = language.strip().split(",")[0]
        return Metadata(
            title=title,
            author=author,
            date=iso_date(self.ld.get("date"))
            or iso_date(said.get("date"))
            or iso_date(self.items.get("datepublished"))
            or self.first_time
            or _url_date(url),
            language=language.replace("_", "-") if _LANGUAGE.match(language) else "",
            licence=self.licence or self.ld.get("licence") or said.get("licence") or "",
            site_name=said.get("site_name") or self.ld.get("site_name") or "",
            description=said.get("description") or self.ld.get("description") or "",
            canonical_url=canonical_url,
            robots=", ".join(dict.fromkeys(self.robots)),
        )


def _urls(value: object) -> list[str]:
    """The URLs of an image in JSON-LD: a string, an ImageObject, or several."""
    several = value[:MAX_LEADS] if isinstance(value, list) else [value]
    named = (one.get("url") or one.get("contentUrl") if isinstance(one, dict) else one for one in several)
    return [url[:2000] for url in named if isinstance(url, str)]


def _as_html(text: str, images: list[str]) -> str:
    """Text or HTML of an article, its images in front unless they stand in it."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "</" not in text:
        text = "".join(f"<p>{escape(part, quote=False)}</p>" for part in re.split(r"\n\s*", text))
    front = (f'<img src="{escape(url)}">' for url in images if url not in text)
    return "".join(front) + text


def iso_date(text: str | None) -> str:
    """The ISO 8601 date or time at the start of `text`, or a day with an English month in it; "" if there is
    neither."""
    if not text:
        return ""
    if not (match := _DATE.match(text.strip())):
        if not (named := _NAMED_DATE.search(text[:100])):
            return ""
        day, month, year = (named[1], named[2], named[3]) if named[1] else (named[5], named[4], named[6])
        return iso_date(f"{year}-{_MONTHS.index(month.lower()) + 1:02}-{int(day):02}")
    year, month, day, time, zone = match.groups()
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return ""
    return f"{year}-{month}-{day}" + (f"T{time}{zone or ''}" if time else "")


def _url_date(url: str) -> str:
    """The day that blogs and newspapers put into their URLs."""
    match = _URL_DATE.search(url)
    return iso_date("-".join(match.groups())) if match else ""
