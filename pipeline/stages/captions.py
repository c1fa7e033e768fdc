"""What is said in clips: the captions of video elements become text after the clip."""

from dataclasses import dataclass, field, replace

from pipeline.extract import webvtt
from pipeline.sources.record import Record
from pipeline.urls import key_of
from shards.records import Document, Image, Node, Text


def has_captions(document: Document) -> bool:
    return any(isinstance(node, Image) and node.captions for node in document.nodes)


@dataclass
class Captions:
    """The captions in a part, by URL; of several captures the first. `bytes_left` bounds the memory they take."""

    bytes_left: int
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, record: Record) -> bool:
        """Whether there was room for it."""
        if len(record.body) > self.bytes_left:
            return False
        key = key_of(record.url)
        if key not in self.files:
            self.bytes_left -= len(record.body)
            self.files[key] = record.body
        return True

    def said(self, document: Document) -> Document:
        """A document with what is said in each clip as a paragraph after it. One file is read once a page: several
        clips of one video do not repeat it."""
        nodes: list[Node] = []
        read = set[str]()
        for node in document.nodes:
            last = nodes[-1] if nodes else None
            if isinstance(node, Text) and isinstance(last, Text):
                nodes[-1] = Text(f"{last.text}\n\n{node.text}")
                continue
            nodes.append(node)
            if isinstance(node, Image) and node.captions and (key := key_of(node.captions)) not in read:
                read.add(key)
                if text := webvtt.spoken(self.files.get(key, b"")):
                    nodes[-1] = replace(node, within=None)  # the line around the clip ends here
                    nodes.append(Text(text))
        return replace(document, nodes=tuple(nodes))
