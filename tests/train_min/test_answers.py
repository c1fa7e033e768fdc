"""Which tokens of a window its pictures can tell."""

import numpy as np
import pytest

from shards.records import Text
from shards.stream import token_stream
from shards.tokenizer import Tokenizer, train_corpus_tokenizer
from train_min.data.answers import refrains, scattered, with_answers
from train_min.data.windows import WindowArrays, collect, make_batch

PICTURE = object()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_corpus_tokenizer(["This is a tovu. This is a brel. the old kettle stood by a window"] * 3)


def windows_of(tokenizer: Tokenizer, *pages: list[object]) -> WindowArrays:
    rows = []
    for number, nodes in enumerate(pages):
        ids = token_stream(nodes, tokenizer).ids
        hashes = [(bytes([number, place]) * 16, b"") for place, node in enumerate(nodes) if node is PICTURE]
        rows.append(
            {
                "window_id": str(number), "doc_id": str(number), "url": "", "site": "", "language": "",
                "token_start": 0, "input_ids": ids, "hashes": [(stored, stored) for stored, _ in hashes],
            }
        )  # fmt: skip
    return collect(rows, tokenizer)


def cards(*names: str) -> list[object]:
    return [node for name in names for node in (PICTURE, Text(f"This is a {name}."))]


def said(windows: WindowArrays, index: int, tokenizer: Tokenizer) -> str:
    assert windows.answers is not None
    ids, _ = windows.of(index)
    return tokenizer.decode(ids[windows.answers[windows.starts[index] : windows.starts[index + 1]]])


def test_answers_are_names_that_were_said_of_an_earlier_picture(tokenizer: Tokenizer) -> None:
    pages = (
        cards("tovu", "brel", "tovu", "brel", "brel"),
        cards("tovu", "tovu"),
        [Text("tovu"), *cards("brel", "tovu")],
    )
    windows = with_answers(windows_of(tokenizer, *pages), tokenizer)
    assert said(windows, 0, tokenizer) == " tovu brel brel"
    # one class only: nothing to tell apart; a name before the first picture is no example
    assert said(windows, 1, tokenizer) == said(windows, 2, tokenizer) == ""


def test_a_loss_is_taken_at_answers_only(tokenizer: Tokenizer) -> None:
    windows = with_answers(windows_of(tokenizer, cards("tovu", "brel", "tovu")), tokenizer)
    batch = make_batch(windows, [[0]], None if not windows.images.size else lambda rows: np.zeros((len(rows), 1, 1)))
    targets = batch.targets[batch.targets >= 0].numpy()
    assert tokenizer.decode(targets) == " tovu"


def test_chosen_windows_keep_their_pictures(tokenizer: Tokenizer) -> None:
    windows = with_answers(windows_of(tokenizer, cards("tovu", "brel"), cards("brel", "tovu", "brel")), tokenizer)
    kept = windows.only(np.array([False, True]))
    assert len(kept) == 1 and kept.of(0)[0].tolist() == windows.of(1)[0].tolist()
    assert [kept.hashes[row].tobytes() for row in kept.of(0)[1]] == [
        windows.hashes[row].tobytes() for row in windows.of(1)[1]
    ]
    assert len(kept.hashes) == 3 and said(kept, 0, tokenizer) == said(windows, 1, tokenizer)


def test_refrains_are_told_from_prose(tokenizer: Tokenizer) -> None:
    refrain = Text(" ".join(["the old kettle stood by a window"] * 12))
    prose = Text("the kettle by a window stood old and the tovu had a brel that is old as this window is")
    assert refrains(windows_of(tokenizer, [refrain], [prose])).tolist() == [True, False]


def test_scattered_text_keeps_its_tokens_but_not_what_comes_back(tokenizer: Tokenizer) -> None:
    pages = [[Text(" ".join([f"a{number} window stood by kettle {number}"] * 12))] for number in range(30)]
    windows = windows_of(tokenizer, *pages)
    moved = scattered(windows)
    assert sorted(moved.tokens.tolist()) == sorted(windows.tokens.tolist())
    own = [set(windows.of(index)[0].tolist()) for index in range(30)]
    kept = [np.isin(moved.of(index)[0], list(own[index])).mean() for index in range(30)]
    assert np.mean(kept) < 0.95 and moved.starts.tolist() == windows.starts.tolist()
