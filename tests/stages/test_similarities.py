"""A CLIP model compares images with sentences: a rule on the similarity, and mmc4's placement. The model is small, its
weights are random."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from filters import scorers
from filters.image import CLIP_MODEL
from filters.models import Clip, ModelError, check_clip, clip_digest
from pipeline.inspect.command import work_problems
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.whatif import what_if
from pipeline.placement import assigned, sentences
from pipeline.recipe import load
from tests.corpora import build_here
from tests.stages.test_folders import picture

WORDS = ("boat", "lighthouse", "gull", "rope", "anchor", "storm", "harbour", "sail", "net", "crab", "shell", "tide")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from open_clip.model import CLIP

    torch.manual_seed(3)
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    folder = tmp_path_factory.mktemp("clip")
    torch.save(CLIP(**config).state_dict(), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return folder


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pages of 12 sentences with 4 images each, the last with 8 and 3."""
    folder = tmp_path_factory.mktemp("web")
    rng = np.random.default_rng(0)
    for number in range(3):
        parts = [f"The {' '.join(rng.choice(WORDS, 7))} of day {number} and hour {hour}." for hour in range(12)]
        wide = number == 2
        shown = [
            f"<p>{' '.join(parts[start : start + (4 if wide else 3)])}</p>" for start in range(0, 12, 4 if wide else 3)
        ]
        images = [f"<img src={4 * number + place}.png>" for place in range(4)]
        html = "".join(a + b for a, b in zip([*shown, ""], images, strict=False))
        (folder / f"{number}.html").write_text(
            f"<html><body><article><h1>Day {number}</h1>{html}</article></body></html>"
        )
    for number in range(12):
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder


def head(path: Path, size: int) -> Path:
    """An ONNX model of embeddings: their product with 1, 2, ..., size."""
    taken = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", size])
    given = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [size, 1], list(range(1, size + 1)))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["embedding", "weights"], ["score"])], "head", [taken], [given], [weights]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def documents(root: Path) -> dict[str, dict[str, Any]]:
    rows = [row for path in sorted((root / "documents").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["url"]: row for row in rows}


def counts(told: dict[str, Any], key: str) -> dict[str, int]:
    (level,) = (level for level in told["levels"] if level["level"] == "images")
    return {row["rule"]: row[key] for row in level["rules"] if row[key]}


def test_images_stand_before_the_sentences_they_fit(clip: Path, web: Path, tmp_path: Path) -> None:
    named = [f"{CLIP_MODEL.name}={clip}", "image.placement=clip"]
    plain = documents(build_here([web], tmp_path / "plain"))
    root = build_here([tmp_path / "plain"], tmp_path / "clip", named)
    model, moved = Clip(str(clip)), 0
    found = documents(root)
    assert found.keys() == plain.keys() and len(found) == 3
    stored = {row["url"]: row for path in (root / "images").glob("*.parquet")
              for row in pq.read_table(path, partitioning=None).to_pylist()}  # fmt: skip
    for url, row in found.items():
        whole = "\n\n".join(text for text in plain[url]["texts"] if text is not None)
        urls = [image["url"] for image in plain[url]["images"] if image is not None]
        pictures = [member(root, stored[name]) for name in urls]
        matrix = np.round(model.images(pictures) @ model.texts(sentences(whole)).T, 3)
        expected = sorted(zip(assigned(matrix).tolist(), range(len(urls)), strict=True))
        assert [image["url"] for image in row["images"] if image] == [urls[place] for _, place in expected]
        after = [text for text in row["texts"] if text is not None]
        assert "".join("".join(after).split()) == "".join(whole.split())
        for place, image in enumerate(row["images"]):
            if image is not None and row["texts"][place + 1] is not None:
                sentence = sentences(whole)[assigned(matrix)[urls.index(image["url"])]]
                assert row["texts"][place + 1].startswith(sentence)
        moved += row["texts"] != plain[url]["texts"]
    assert moved
    assert not work_problems(open_corpus(root))


def member(root: Path, row: dict[str, Any]) -> bytes:
    return (root / "images" / row["tar"]).read_bytes()[row["offset"] : row["offset"] + row["length"]]


@pytest.mark.slow
def test_the_rule_on_similarity(clip: Path, web: Path, tmp_path: Path) -> None:
    named = [f"{CLIP_MODEL.name}={clip}"]
    root = build_here([web], tmp_path / "all", named)
    table = pq.read_table(root / "work/similarities/00000.parquet", partitioning=None)
    values = np.array(table["similarity"].to_pylist())
    assert len(values) == 12 and -1 < values.min() < values.max() < 1 and table["sentences"].null_count == 12
    limit = f"image.min_similarity={np.median(values)}"
    told = what_if(open_corpus(root), [limit])
    strict = build_here([root], tmp_path / "some", [*named, limit])
    assert counts(told, "then") == counts(funnel(open_corpus(strict)), "count")
    assert counts(told, "then")["image.similarity"] == 6


@pytest.mark.parametrize(("name", "message"), [
    ("ViT-Q-99/laion", "is neither a folder of an open_clip model nor MODEL/WEIGHTS of open_clip"),
    ("ViT-B-32/nothing", "'nothing' is neither a file nor published weights of open_clip's ViT-B-32"),
    (".", "is no open_clip model"),
])  # fmt: skip
def test_what_is_no_clip_model(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message) as raised:
        check_clip(CLIP_MODEL.name, name)
    assert "\n" not in str(raised.value)
    assert name == "." or clip_digest(name) == name


def test_an_onnx_head_scores_the_embeddings_of_the_clip_model(clip: Path, web: Path, tmp_path: Path) -> None:
    model = Clip(str(clip))
    path = str(head(tmp_path / "head.onnx", 16))
    values = load("web", [f"{CLIP_MODEL.name}={clip}", f"image.quality_model={path}"]).values()
    scorers.check(values)
    root = build_here([web], tmp_path / "corpus", [f"{CLIP_MODEL.name}={clip}", f"image.quality_model={path}"])
    expected = model.images([(web / f"{n}.png").read_bytes() for n in range(12)]) @ np.arange(1, 17)
    files = sorted((root / "work/scores").glob("*.parquet"))
    found = [score for file in files for score in pq.read_table(file)["quality"].to_pylist()]
    # images are stored as JPEG
    assert len(found) == 12 and sorted(found) == pytest.approx(sorted(expected), abs=0.5)
    assert np.std(found) > 0.01
    assert scorers.digests(values)[1] == clip_digest(str(clip))
    with pytest.raises(ModelError, match=rf"head.onnx takes embeddings: name .* as {CLIP_MODEL.name}$"):
        scorers.check(values | {CLIP_MODEL.name: ""})
    wider = str(head(tmp_path / "wider.onnx", 17))
    with pytest.raises(ModelError, match=r"wider\.onnx takes embeddings of 17 numbers; those of .* have 16$"):
        scorers.check(values | {"image.quality_model": wider})
