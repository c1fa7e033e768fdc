"""The reader's text and images beside those of a browser-grade parser (Lexbor, by resiliparse), on generated pages."""

import html
import re
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import DOMNode, HTMLTree, NodeType

from pipeline.extract.page import HIDDEN
from pipeline.extract.reader import read

# letters, which neither numbers of lists nor signs of scripts and quotations are taken for
WORDS = st.text("abcdeéßлам灯ملا&<> \n\u200b\u00ad\u202e\x07", min_size=1, max_size=12)
LEFT_OUT = frozenset(("del", "s", "strike", "script", "style", "template", "title"))


def _element(tags: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(tags)


INLINE = st.recursive(
    st.one_of(
        WORDS.map(html.escape),
        st.sampled_from(
            ["<br>", "<wbr>", "<!-- note -->", "<script>if (a<b) c()</script>", "</u>", "&shy;", "&#8203;"]
        ),
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>",
            _element(["b", "i", "span", "q", "sup", "sub", "del", "s", "strike", "ins", "code", "time", "font"]),
            st.lists(inner, max_size=3),
        ),
        st.builds(lambda parts: f'<span style="display:none">{"".join(parts)}</span>', st.lists(inner, max_size=2)),
    ),
    max_leaves=8,
)
LINE = st.lists(INLINE, max_size=4).map("".join)
BLOCK = st.recursive(
    st.one_of(
        st.builds(lambda tag, line: f"<{tag}>{line}</{tag}>", _element(["p", "h2", "pre", "div", "blockquote"]), LINE),
        LINE.map(lambda line: f"<p>{line}"),  # end tags that may be left out are
        LINE.map(lambda line: f"<div hidden>{line}</div>"),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"<section>{''.join(parts)}</section>"),
        st.lists(inner, max_size=3).map(lambda parts: f"<ol start=3>{''.join(f'<li>{part}' for part in parts)}</ol>"),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda parts: f"<table><tr>{''.join(f'<td>{part}' for part in parts)}</table>"
        ),
        st.lists(inner, max_size=2).map(
            lambda parts: f"<dl>{''.join(f'<dt>a<dd>{part}' for part in parts)}</dl><details>{''.join(parts)}</details>"
        ),
    ),
    max_leaves=6,
)


# @ becomes a number, so that no two elements show the same image
SHOWN_BY = {"img": ("data-src", "src"), "video": ("poster",), "object": ("data",), "image": ("href",)}
IMAGE = st.sampled_from(
    [
        "<img src=/@.png>",
        "<img alt='a lamp' src='/@.jpg' width=300>",
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' data-src=/@.png>",
        "<img class=lazy data-src=/@.png><noscript><img src=/@.png></noscript>",
        "<picture><source srcset='/@.png 2x' media=print><img src=/@.png></picture>",
        "<a href=/page@><img src=/@.gif></a>",
        "<svg viewBox='0 0 9 9'><g><image href=/@.png /></g><text>a</text></svg>",
        "<video poster=/@.png>no video</video>",
        "<object type=image/png data=/@.png>no object</object>",
        "<template><img src=/@.png></template>",
        "<!-- <img src=/@.png> -->",
        "<script>document.write('<img src=/@.png>')</script>",
        "<textarea><img src=/@.png></textarea>",
        "<del><img src=/@.png></del>",
    ]
)
# what stands in a heading, a cell or a paragraph beside text
PICTURED = st.recursive(
    st.one_of(WORDS.map(html.escape), IMAGE),
    lambda inner: st.one_of(
        st.builds(
            lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>",
            _element(["p", "div", "span", "b", "figure", "section", "ul", "blockquote", "h3", "a href=/x"]),
            st.lists(inner, max_size=4),
        ).map(lambda text: text.replace("</a href=/x>", "</a>").replace("<ul>", "<ul><li>")),
        st.lists(inner, max_size=2).map(lambda parts: f"<div style='display: none'>{''.join(parts)}</div>"),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda parts: f"<table><tr>{''.join(f'<td>{part}</td>' for part in parts)}</tr></table>"
        ),
    ),
    max_leaves=12,
)


def shown(node: DOMNode, images: bool = False) -> str:
    """What a reader sees of a node of the browser's tree; with `images`, their URLs in brackets at their places."""
    if node.type == NodeType.TEXT:
        return node.text
    if node.type != NodeType.ELEMENT or node.tag in LEFT_OUT or node.hasattr("hidden"):
        return ""
    if (node.getattr("style") or "").replace(" ", "").startswith("display:none"):
        return ""
    if images and (names := SHOWN_BY.get(node.tag)):
        return f"[{next(filter(None, map(node.getattr, names)))}]"
    if images and node.tag in ("noscript", "textarea"):
        return ""
    if images and node.tag == "svg":  # its text is part of a drawing
        return "".join(f"[{image.getattr('href')}]" for image in node.get_elements_by_tag_name("image"))
    return "".join(shown(child, images) for child in node.child_nodes)


def letters(text: str) -> str:
    return "".join(character for character in text if character.isalpha())


def numbered(source: str) -> str:
    """The same with another number for each image; both elements of a twin get the same one."""
    numbers = count()
    twins = re.sub(r"@(\.png><noscript>.*?)@", lambda found: f"{(n := next(numbers))}twin{found[1]}{n}twin", source)
    return re.sub("@", lambda _: f"{next(numbers)}one", twins)


@settings(max_examples=80, deadline=None)
@given(st.lists(BLOCK, min_size=1, max_size=4).map("".join))
def test_readers_see_the_same_text_as_in_a_browser(body):
    source = f"<!DOCTYPE html><html><body>{body}</body></html>"
    page = read(source, max_depth=1000, max_elements=10_000, max_image_width=1024)
    ours = "".join(block.text for block in page.blocks if not block.state & HIDDEN)
    tree = HTMLTree.parse(source)
    assert tree.body is not None
    assert letters(ours) == letters(shown(tree.body))
    assert not set("\u200b\u00ad\u202e\x07") & set(ours)


@settings(max_examples=150, deadline=None)
@given(st.lists(PICTURED, min_size=1, max_size=5).map("".join))
def test_images_stand_where_they_stand_in_a_browser(body):
    source = numbered(f"<!DOCTYPE html><html><body><p>a</p>{body}</body></html>")
    page = read(source, max_depth=1000, max_elements=10_000, max_image_width=1024)
    ours = []
    for block in page.blocks:
        for piece in block.pieces:
            if isinstance(piece, str):
                ours.append("" if block.state & HIDDEN else letters(piece))
            elif not page.pictures[piece].hidden:
                ours.append(f"[{page.pictures[piece].urls[0]}]")
    tree = HTMLTree.parse(source)
    assert tree.body is not None
    theirs = re.split(r"(\[[^]]*\])", shown(tree.body, images=True))
    assert "".join(ours) == "".join(part if part.startswith("[") else letters(part) for part in theirs)
