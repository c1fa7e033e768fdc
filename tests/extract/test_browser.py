"""The reader's text beside that of a browser-grade parser (Lexbor, by resiliparse), on generated pages."""

import html

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


def shown(node: DOMNode) -> str:
    """What a reader sees of a node of the browser's tree."""
    if node.type == NodeType.TEXT:
        return node.text
    if node.type != NodeType.ELEMENT or node.tag in LEFT_OUT or node.hasattr("hidden"):
        return ""
    if "display:none" in (node.getattr("style") or ""):
        return ""
    return "".join(shown(child) for child in node.child_nodes)


def letters(text: str) -> str:
    return "".join(character for character in text if character.isalpha())


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
