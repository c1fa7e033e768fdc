"""Builds blocks: text and images accumulate in a run until a block element interrupts them."""

from pipeline.extract.page import IN_LINK, IN_LOCAL_LINK, LOCAL_LINK, NOSCRIPT, PREFORMATTED, Block, Page, Picture
from pipeline.extract.runs import pieces_of, trimmed

CONTROL = 4  # characters; a link that shows so few symbols and no word is a control


class BlockBuilder:
    """Adds blocks to a page. `run` holds strings and indices of images; `link_chars` counts its characters in links,
    `link_start` is where the innermost link starts in the run."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.run: list[str | int] = []
        self.pictured = False
        self.link_chars = 0.0
        self.link_start = 0

    def add_picture(self, picture: Picture) -> None:
        self.run.append(len(self.page.pictures))
        self.pictured = True
        self.page.pictures.append(picture)

    def last_picture(self) -> Picture | None:
        """The image before this place, if there is no word between."""
        for piece in reversed(self.run):
            if isinstance(piece, int):
                return self.page.pictures[piece]
            if piece.strip():
                return None
        blocks = self.page.blocks
        if blocks and blocks[-1].pieces and isinstance(piece := blocks[-1].pieces[-1], int):
            return self.page.pictures[piece]
        return None

    def end_link(self, state: int) -> None:
        """Remove the text of a link that shows a symbol and no word: it is a control, not text."""
        pieces = self.run[self.link_start :]
        text = "".join(piece for piece in pieces if isinstance(piece, str)).strip()
        if 0 < len(text) <= CONTROL and not any(character.isalnum() for character in text):
            self.run[self.link_start :] = [piece for piece in pieces if not isinstance(piece, str)]
            if state & IN_LINK:
                self.link_chars -= len(text) * (LOCAL_LINK if state & IN_LOCAL_LINK else 1)

    def flush(self, element: int, state: int) -> None:
        """End the block of `element`; `state` is that of its last text."""
        run = self.run
        if not run:
            return
        link_chars, self.link_chars = self.link_chars, 0.0
        preformatted = bool(state & PREFORMATTED)
        pieces: list[str | int]
        if self.pictured:
            self.pictured = False
            pieces, text = pieces_of(run, preformatted)
            run.clear()
        else:
            text = trimmed("".join(run), preformatted)  # type: ignore[arg-type]
            run.clear()
            if not text:
                return
            pieces = [text]
        page = self.page
        if len(pieces) > 1 or isinstance(pieces[0], int):
            for piece in pieces:
                if isinstance(piece, int):
                    page.pictures[piece].block = len(page.blocks)
        block_state = (page.states[element] if page.states else 0) | state & NOSCRIPT
        page.blocks.append(Block(element, pieces, len(text), min(int(link_chars), len(text)), block_state, text))
