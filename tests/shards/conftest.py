"""A tokenizer trained on a few sentences, small enough that rare characters fall into bytes."""

import pytest

from shards.tokenizer import Tokenizer, train_corpus_tokenizer

SENTENCES = [
    "The harbour lies quiet in the early morning, and the boats wait for the tide.",
    "A photograph shows the lighthouse that was built in 1854 on the northern rocks.",
    "Das Museum zeigt zwölf Gemälde aus dem Besitz der Familie, darunter zwei Landschaften.",
    "東京の写真です。港に船が並んでいます。",
    "هذه صورة للميناء في الصباح الباكر.",
    "def area(width, height):\n    return width * height\n",
]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_corpus_tokenizer(SENTENCES * 3, vocabulary=600)
