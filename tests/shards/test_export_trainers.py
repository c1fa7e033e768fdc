"""Exports read by the trainers they are for: open_flamingo, Idefics2 and Idefics3 of transformers, megatron-energon.

open_flamingo and megatron-energon pin versions that this project cannot use: they are installed without their
dependencies into a temporary folder, which only a process of their own has on its path."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image as Picture
from tokenizers import Tokenizer as Tokens
from tokenizers import models, pre_tokenizers, trainers
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2ImageProcessor,
    Idefics2Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)

from shards.exports.chat import write_chat
from shards.exports.energon import write_energon
from shards.exports.mmc4 import write_mmc4
from shards.exports.openflamingo import write_openflamingo
from shards.records import Image, StoredImage, Text
from shards.tokenizer import Tokenizer
from shards.windows import WindowOptions, document_windows
from shards.writers import window_columns
from tests.shards.test_exports import whole

pytestmark = pytest.mark.slow
COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "black": (0, 0, 0)}
OPEN_FLAMINGO = ("open-flamingo==2.0.1", "webdataset==0.2.48", "einops==0.8.2", "einops-exts==0.0.4")
ENERGON = (
    *("megatron-energon==7.4.1", "multi-storage-client==1.3.1", "mfusepy==3.1.1", "rapidyaml==0.15.2"),
    *("s3fs==2026.9.0", "aiobotocore==3.10.0", "aioitertools", "botocore==1.43.117", "jmespath==1.1.0"),
    *("wrapt==2.5.2", "wcmatch==10.2.1", "bracex==3.2.3", "lark==1.3.1", "jsonschema==4.26.0", "filetype==1.2.0"),
    *(
        "jsonschema-specifications==2025.9.1",
        "referencing",
        "rpds-py",
        "xattr==1.3.0",
        "prettytable==3.18.0",
        "deprecation",
    ),
)


def noisy(colour: str, side: int) -> bytes:
    """A picture of a colour with enough noise for a side of 96 pixels to have over 10 KB."""
    rng = np.random.default_rng(side)
    noise = rng.integers(-60, 60, (side, side, 3))
    pixels = np.clip(np.array(COLOURS[colour]) * 0.6 + 50 + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


BYTES = {(colour, side): noisy(colour, side) for colour in COLOURS for side in (40, 120)}


def stored(colour: str, side: int) -> StoredImage:
    image = Image(f"https://example.org/{colour}-{side}.jpg", (), "", f"A {colour} square")
    return StoredImage(image, image.url, b"1" * 32, b"1" * 32, 7, side, side, side, side, "JPEG", colour, side, 0)


def load(image: StoredImage) -> bytes:
    return BYTES[image.tar, image.offset]


def document(number: int, small: bool = False) -> dict[str, Any]:
    """A document whose text behind each picture names its colour; pictures begin it and stand side by side. `small`:
    one of them has less than 10 KB."""
    first, second, third, last = (list(COLOURS)[(number + step) % 5] for step in range(4))
    nodes = [stored(first, 120), Text(f"a {first} square ."), stored(second, 40 if small else 120)]
    nodes += [
        Text(f"a {second} square .\n\na square ."),
        stored(third, 120),
        stored(last, 120),
        Text(f"a {last} square ."),
    ]
    return whole(number) | {
        "texts": [node.text if isinstance(node, Text) else None for node in nodes],
        "images": [None if isinstance(node, Text) else node.row() for node in nodes],
    }


def install(target: Path, packages: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), *packages]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(target: Path, arguments: list[str], *paths: str) -> str:
    """The output of a Python program with the packages of a folder on its path."""
    path = os.pathsep.join([str(target), *(str(target / name) for name in paths), str(Path(__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def steps(target: Path, shards: Path) -> dict[str, Any]:
    program = str(Path(__file__).with_name("open_flamingo_steps.py"))
    return json.loads(run(target, [program, str(shards)], "open_flamingo/train").splitlines()[-1])


def test_stock_open_flamingo_pairs_tags_and_pictures(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_mmc4([document(number) for number in range(6)], load, tmp_path / "mmc4")
    options = WindowOptions(policy="tile", tied_text=1)
    windows = [
        window_columns(window) | {"images": [load(image) for image in window.images]}
        for number in range(6)
        for cut in document_windows(document(number), tokenizer, options, seed=1)
        for window in cut.windows
    ]
    write_openflamingo(windows, load, tmp_path / "gpt")
    write_mmc4([document(number, small=True) for number in range(6)], load, tmp_path / "small")
    install(tmp_path / "packages", OPEN_FLAMINGO)
    assert len(BYTES["red", 40]) <= 10_999 < len(BYTES["red", 120])
    for name, pictures in (("mmc4", 4), ("gpt", 4), ("small", 3)):
        told = steps(tmp_path / "packages", tmp_path / name / "00000.tar")
        assert len(told["losses"]) == 2 and np.isfinite(told["losses"]).all()
        assert told["images"] == [pictures] * 4, name
        assert len(told["pairs"]) >= 8 and all(text == image for text, image in told["pairs"]), (name, told["pairs"])


TEMPLATE = (
    "{% for message in messages %}{% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{ line['text'] }}{% else %}{{ '<image>' }}{% endif %}{% endfor %}{% endfor %}"
)


def words(special: list[str]) -> PreTrainedTokenizerFast:
    made = Tokens(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator([f"a {' '.join(COLOURS)} square ."], trainers.WordLevelTrainer(special_tokens=["<unk>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", pad_token="<pad>")
    tokenizer.add_tokens(special, special_tokens=True)
    return tokenizer


def idefics2() -> tuple[Any, Any]:
    tokenizer = words(["<image>", "<fake_token_around_image>", "<end_of_utterance>"])
    image = tokenizer.convert_tokens_to_ids("<image>")
    sizes = {"shortest_edge": 56, "longest_edge": 56}
    processor = Idefics2Processor(
        Idefics2ImageProcessor(size=sizes, do_image_splitting=False), tokenizer, image_seq_len=4, chat_template=TEMPLATE
    )
    config = Idefics2Config(
        image_token_id=image,
        vision_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        | {"image_size": 56, "patch_size": 14},
        perceiver_config={"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2}
        | {"resampler_head_dim": 16, "num_key_value_heads": 1, "hidden_size": 32},
        text_config={"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": len(tokenizer), "pad_token_id": 0},
    )
    return processor, Idefics2ForConditionalGeneration(config)


def idefics3() -> tuple[Any, Any]:
    tokenizer = words(["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"])
    image = tokenizer.convert_tokens_to_ids("<image>")
    images = Idefics3ImageProcessor(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 56}, do_image_splitting=False
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=TEMPLATE)
    config = Idefics3Config(
        image_token_id=image,
        scale_factor=2,
        vision_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        | {"image_size": 56, "patch_size": 14},
        text_config={"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": len(tokenizer), "pad_token_id": 0},
    )
    return processor, Idefics3ForConditionalGeneration(config)


@pytest.mark.parametrize("make", [idefics2, idefics3])
def test_idefics_learns_from_chat(make: Any, tmp_path: Path) -> None:
    """Every image has its place in the prompt, and the loss of a few steps on the documents falls."""
    write_chat([document(number) for number in range(4)], load, tmp_path)
    rows = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    torch.manual_seed(0)
    processor, model = make()
    batches = []
    for row in rows:
        prompt = processor.apply_chat_template(row["messages"])
        assert prompt.count("<image>") == len(row["images"]) == 4
        assert prompt.replace(" ", "").startswith("<image>a")
        batches.append(processor(text=prompt, images=row["images"], return_tensors="pt"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        for batch in batches:
            loss = model(**batch, labels=batch["input_ids"]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.isfinite(losses).all() and np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4]), losses


READ = """
import json, sys
from megatron.energon import WorkerConfig, get_savable_loader, get_train_dataset
config = WorkerConfig(rank=0, world_size=1, num_workers=0)
dataset = get_train_dataset(
    sys.argv[1], worker_config=config, batch_size=1, shuffle_buffer_size=None, max_samples_per_sequence=None,
    repeat=False,
)
for batch in get_savable_loader(dataset):
    print(json.dumps([node if isinstance(node, str) else list(node.shape) for node in batch.sequence[0]]))
"""


def test_energon_reads_texts_and_pictures_in_reading_order(tmp_path: Path) -> None:
    write_energon([document(number) for number in range(3)], load, tmp_path / "set")
    prepare = "import sys; from megatron.energon.cli.main import main; main()"
    folder = str(tmp_path / "set")
    options = ["prepare", folder, "--non-interactive", "--split-ratio", "1,0,0"]
    install(tmp_path / "packages", ENERGON)
    run(tmp_path / "packages", ["-c", prepare, *options])
    lines = run(tmp_path / "packages", ["-c", READ, folder]).splitlines()
    found = sorted(json.loads(line)[1] for line in lines if line.startswith("["))
    assert found == sorted(document(number)["texts"][1] for number in range(3))
    for line in lines:
        sequence = json.loads(line)
        assert [isinstance(node, str) for node in sequence] == [False, True, False, True, False, False, True]
        assert sequence[0][-2:] == [120, 120]
