"""Read the images of a page: the URLs an element offers, its sources, and duplicates (noscript twins, other sizes)."""

from pipeline.extract import images
from pipeline.extract.blocks import BlockBuilder
from pipeline.extract.hints import bits
from pipeline.extract.mathml import tex
from pipeline.extract.page import HIDDEN, IN_LINK, NOSCRIPT, UNSEEN, Picture, scope_bits
from pipeline.extract.runs import one_line

_LISTS = scope_bits("ol", "ul")


class PictureReader(images.PictureElements):
    """Adds images to the block being built."""

    def __init__(self, building: BlockBuilder, max_width: int, videos: bool) -> None:
        super().__init__(max_width, videos)
        self.building, self.page = building, building.page
        self.link = ""  # the target of the innermost link
        self.row: dict[str, Picture] = {}  # images with no word between them, by their first URL

    def read(self, attributes: dict[str, str], element: int, state: int) -> str:
        """Add the image of an element inside `element`. Returns the text it stands for, if any: then no image is
        added."""
        alt = one_line(attributes.get("alt", "")[:10_000])
        label = f"{attributes.get('class', '')} {attributes.get('id', '')}".lower()
        if alt and images.stands_for_text(alt, label):
            return alt
        if alt and images.is_formula(alt, label, attributes.get("src", "")):
            return tex(alt)
        picture = Picture(
            element,
            self.offered(attributes),
            images.alternative(attributes),
            images.dimension(attributes, "width"),
            images.dimension(attributes, "height"),
            noscript=bool(state & NOSCRIPT),
            hidden=bool(state & UNSEEN or (state & HIDDEN and self.teaser(element, state))),
            link=self.link if state & IN_LINK and images.is_picture_file(self.link) else "",
            target=self.link[:2000] if state & IN_LINK else "",
            label=label[:200],
            hints=bits(label) if label != " " else 0,
            captions=self.captions(),
        )
        self.add(picture)
        return ""

    def add(self, picture: Picture) -> None:
        """Add an image, or merge it into one of the same row: its twin for browsers without scripts, another size of
        it, or the same image again, such as the copy of a slide that a carousel ends with."""
        previous = self.building.last_picture()
        if previous is None:
            self.row.clear()
        earlier = next(reversed(self.row.values()), None)
        if previous is not None and previous.urls and self.twins(previous, picture):
            previous.merge(picture)
        elif earlier is not None and picture.urls and images.sizes_of_one(earlier.urls[0], picture.urls[0]):
            earlier.merge_size(picture)
            picture = earlier
        elif picture.urls and (same := self.row.get(picture.urls[0])) is not None:
            same.merge(picture)
        elif previous is not None and self.twins(previous, picture):
            previous.merge(picture)
            picture = previous
        else:
            self.building.add_picture(picture)
        if picture.urls:
            self.row.setdefault(picture.urls[0], picture)

    def teaser(self, element: int, state: int) -> bool:
        """Whether a picture that screen readers pass over repeats a link of a list: it belongs to another page."""
        return bool(state & IN_LINK and self.page.tags and self.page.inherited[element] & _LISTS)

    def twins(self, one: Picture, other: Picture) -> bool:
        """Whether two consecutive images are the same one, repeated for browsers without scripts."""
        if one.noscript == other.noscript or one.is_dot() or other.is_dot():
            return False
        if any(all(map(images.may_stand_in, urls)) for urls in (one.urls, other.urls)) or set(one.urls) & set(
            other.urls
        ):
            return True
        inside, beside = (one, other) if one.noscript else (other, one)
        tags, parents = self.page.tags, self.page.parents
        element = inside.element
        while element >= 0 and tags[element] != "noscript":
            element = parents[element]
        return element >= 0 and parents[element] == beside.element
