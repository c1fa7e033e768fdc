"""Build blocks: text and images accumulate in a run until a block element interrupts them."""

from pipeline.extract.page import IN_LINK, IN_LOCAL_LINK, LOCAL_LINK, NOSCRIPT, PREFORMATTED, Block, Page, Picture
from pipeline.extract.runs import pieces_of, trimmed
from pipeline.extract.scripts import END, GAP, MARKS, NOTE, SUPER, resolved

CONTROL = 4  # characters; a link that shows so few symbols and no word is a control


class BlockBuilder:
    """Adds blocks to a page. `run` holds strings and indices of images; `link_chars` counts its characters in links,
    `link_start` is where the innermost link starts in the run, `links` how many started. `marked`: the run holds marks
    of scripts.py."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.run: list[str | int] = []
        self.pictured = False
        self.link_chars = 0.0
        self.link_start = self.links = 0
        self.marked = False
        self.scripts: list[tuple[int, int]] = []  # the open ones: places in the run, and links before
        self.formula = ""  # the last one, while nothing follows it

    def mark(self, sign: str) -> None:
        self.run.append(sign)
        self.marked = True

    def begin_script(self, sign: str) -> None:
        self.scripts.append((len(self.run), self.links))
        self.mark(sign)

    def end_script(self) -> None:
        """Ends a superscript or a subscript. A superscript that holds a link is the mark of a note."""
        if self.scripts:
            start, links = self.scripts.pop()
            if self.links > links and self.run[start : start + 1] == [SUPER]:
                self.run[start] = NOTE
            self.mark(END)

    def add_formula(self, line: str) -> None:
        """Adds a formula, unless the one just before is the same: pages give them in several forms."""
        if line and not (self.run and self.run[-1] == self.formula == line):
            self.formula = line
            self.run.append(line)

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
        last = self.run[-1]
        if isinstance(last, str) and last[:1].isalnum():
            return
        pieces = self.run[self.link_start :]
        text = "".join(piece for piece in pieces if isinstance(piece, str)).strip().strip(MARKS)
        if 0 < len(text) <= CONTROL and not any(character.isalnum() for character in text):
            self.run[self.link_start :] = [piece for piece in pieces if not isinstance(piece, str)]
            self.mark(GAP)
            if state & IN_LINK:
                self.link_chars -= len(text) * (LOCAL_LINK if state & IN_LOCAL_LINK else 1)

    def flush(self, element: int, state: int) -> None:
        """End the block of `element`; `state` is that of its last text."""
        run = self.run
        if not run:
            return
        self.scripts.clear()
        link_chars, self.link_chars = self.link_chars, 0.0
        preformatted = bool(state & PREFORMATTED)
        pieces: list[str | int]
        if self.pictured:
            self.pictured = False
            pieces, text = pieces_of(run, preformatted, self.marked)
            run.clear()
        else:
            text = "".join(run)  # type: ignore[arg-type]
            run.clear()
            text = trimmed(resolved(text) if self.marked else text, preformatted)
            if not text:
                self.marked = False
                return
            pieces = [text]
        self.marked = False
        page = self.page
        if len(pieces) > 1 or isinstance(pieces[0], int):
            for piece in pieces:
                if isinstance(piece, int):
                    page.pictures[piece].block = len(page.blocks)
        block_state = (page.states[element] if page.states else 0) | state & NOSCRIPT
        page.blocks.append(Block(element, pieces, len(text), min(int(link_chars), len(text)), block_state, text))
