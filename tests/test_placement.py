"""Images placed before the sentences they fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.placement import assigned, placed, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three", ["One.", "Two?", "Three"]),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("A heading\n\nIts text, 3.5 m long. End.", ["A heading", "Its text, 3.5 m long.", "End."]),
        ("これは文です。次の文です。", ["これは文です。", "次の文です。"]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_each_sentence_gets_one_image_and_the_rest_their_best() -> None:
    """Both images are most like sentence 0; the sum is greatest if the second gets sentence 1."""
    assert assigned(np.array([[0.9, 0.1], [0.8, 0.7]])).tolist() == [0, 1]
    surplus = np.array([[0.9, 0.1], [0.8, 0.7], [0.3, 0.2]])
    assert assigned(surplus).tolist() == [0, 1, 0]
    assert assigned(np.array([[0.1, 0.5, 0.2]])).tolist() == [1]


def test_images_stand_before_their_sentences() -> None:
    text = "One. Two.\n\nThree."
    assert placed(text, {5: 2, 7: 0, 3: 2}) == (
        [None, "One. Two.", None, None, "Three."],
        [7, None, 3, 5, None],
    )


@given(st.text(alphabet="ab.?。 \n", max_size=60), st.data())
def test_no_text_and_no_image_is_lost(text: str, data: st.DataObject) -> None:
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    if found:
        places = data.draw(st.dictionaries(st.integers(0, 9), st.integers(0, len(found) - 1), max_size=5))
        texts, nodes = placed(text, places)
        assert [node for node in nodes if node is not None] == sorted(places, key=lambda node: (places[node], node))
        assert "".join("".join(t for t in texts if t is not None).split()) == "".join(text.split())
