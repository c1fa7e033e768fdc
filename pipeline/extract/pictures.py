"""The pictures of a page as they are met: what an element offers, its sources, and its twin for browsers without
scripts."""

from pipeline.extract import images
from pipeline.extract.blocks import BlockBuilder
from pipeline.extract.hints import bits
from pipeline.extract.page import HIDDEN, IN_LINK, NOSCRIPT, Picture


class PictureReader:
    """Adds pictures to the block being built."""

    def __init__(self, building: BlockBuilder, max_width: int) -> None:
        self.building, self.page, self.max_width = building, building.page, max_width
        self.sources: list[tuple[str, float, str]] | None = None  # of the open picture element
        self.link = ""  # the target of the innermost link

    def source(self, attributes: dict[str, str]) -> None:
        """A source of the open picture element."""
        if self.sources is not None and len(self.sources) < images.MAX_SOURCES:
            for name in ("srcset", *images.LAZY_SETS, "data-src", "src"):
                if value := attributes.get(name):
                    self.sources += images.srcset(value[:100_000])
            del self.sources[images.MAX_SOURCES :]

    def read(self, attributes: dict[str, str], element: int, state: int) -> str:
        """Adds the picture that an element inside `element` shows. Returns the text that it stands for, if any: then no
        picture is added."""
        alt = " ".join(attributes.get("alt", "")[:10_000].split())
        label = f"{attributes.get('class', '')} {attributes.get('id', '')}"
        if alt and images.stands_for_text(alt, label):
            return alt
        picture = Picture(
            element,
            images.offered(attributes, self.sources or [], self.max_width),
            alt,
            images.dimension(attributes, "width"),
            images.dimension(attributes, "height"),
            noscript=bool(state & NOSCRIPT),
            hidden=bool(state & HIDDEN),
            link=self.link if state & IN_LINK and images.is_picture_file(self.link) else "",
            hints=bits(label) if label != " " else 0,
        )
        self.sources = None  # a picture element shows its first img
        previous = self.building.last_picture()
        if previous is not None and self.twins(previous, picture):
            previous.merge(picture)
        else:
            self.building.add_picture(picture)
        return ""

    def twins(self, one: Picture, other: Picture) -> bool:
        """Whether two pictures in a row are one, given once more for browsers without scripts."""
        if one.noscript == other.noscript:
            return False
        if not one.urls or not other.urls or set(one.urls) & set(other.urls):
            return True
        inside, beside = (one, other) if one.noscript else (other, one)
        tags, parents = self.page.tags, self.page.parents
        element = inside.element
        while element >= 0 and tags[element] != "noscript":
            element = parents[element]
        return element >= 0 and parents[element] == beside.element
