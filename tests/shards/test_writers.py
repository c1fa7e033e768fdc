"""Shards of windows, read back by the libraries people use to read them."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image as Picture

from shards import writers
from shards.files import atomic, write_table
from shards.readers import read_windows
from shards.records import DOCUMENTS, WINDOWS, Image, StoredImage, Text
from shards.tokenizer import Tokenizer
from shards.windows import Window, WindowOptions, document_windows
from shards.writers import write_windows

COLOURS = ["red", "green", "blue", "yellow", "black", "white", "purple"]


def encoded(colour: str, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Picture.new("RGB", (24, 16), colour).save(buffer, kind)
    return buffer.getvalue()


PICTURES = {f"https://example.org/{colour}.jpg": encoded(colour) for colour in COLOURS}


def load(image: StoredImage) -> bytes:
    return PICTURES[image.image.url]


def write_parquet(path, windows, load):
    return write_windows(path.with_suffix(""), ["parquet"], windows, load)[1]["parquet"]


def write_tar(path, windows, load):
    return write_windows(path.with_suffix(""), ["tar"], windows, load)[1]["tar"]


def stored(colour: str) -> StoredImage:
    url = f"https://example.org/{colour}.jpg"
    digest = hashlib.sha256(PICTURES[url]).digest()
    image = Image(url, (), f"a {colour} square", f"Caption in {colour}")
    return StoredImage(image, url, digest, digest, 7, 24, 16, 24, 16, "JPEG", "00000.tar", 512, len(PICTURES[url]))


def document(number: int) -> dict:
    nodes = []
    for colour in COLOURS:
        nodes += [stored(colour), Text(f"This square of document {number} is {colour}, as anyone can see who looks.")]
    return {
        "doc_id": f"{number:032x}",
        "url": f"https://example.org/{number}",
        "site": "example.org",
        "texts": [node.text if isinstance(node, Text) else None for node in nodes],
        "images": [None if isinstance(node, Text) else node.row() for node in nodes],
        "language": "en",
        "split": "train",
        "held_out": [],
    }


@pytest.fixture(scope="module")
def windows(tokenizer: Tokenizer) -> list[Window]:
    options = WindowOptions(policy="tile", tokens=160)
    return [
        window
        for number in range(12)
        for cut in document_windows(document(number), tokenizer, options, seed=3, recipe="ab" * 32)
        for window in cut.windows
    ]


def test_datasets_gives_decoded_pictures(tmp_path, windows):
    write_parquet(tmp_path / "train-00000.parquet", windows, load)
    rows = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "train-00000.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(rows) == len(windows) > 12
    for row, window in zip(rows, windows, strict=True):
        assert row["window_id"] == window.window_id
        assert row["input_ids"] == window.input_ids.tolist()
        assert len(row["images"]) == len(row["image_positions"]) == len(row["image_metadata"]) == len(window.images)
        for picture, told, image in zip(row["images"], row["image_metadata"], window.images, strict=True):
            assert picture.size == (24, 16)
            assert picture.tobytes() == Picture.open(io.BytesIO(load(image))).tobytes()
            assert told["url"] == image.image.url
            assert bytes(told["sha256"]) == image.sha256


def test_webdataset_reads_the_tar(tmp_path, windows):
    write_tar(tmp_path / "train-00000.tar", windows, load)
    samples = list(webdataset.WebDataset(str(tmp_path / "train-00000.tar"), shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == [window.window_id for window in windows]
    for sample, window in zip(samples, windows, strict=True):
        assert sample["json"]["input_ids"] == window.input_ids.tolist()
        assert sample["json"]["text"] == window.text
        pictures = [sample[f"{index}.jpg"] for index in range(len(window.images))]
        assert [picture.getpixel((3, 3)) for picture in pictures] == [
            Picture.open(io.BytesIO(load(image))).getpixel((3, 3)) for image in window.images
        ]
        assert f"{len(window.images)}.jpg" not in sample


def test_both_forms_hold_the_same(tmp_path, windows):
    write_parquet(tmp_path / "a.parquet", windows, load)
    write_tar(tmp_path / "a.tar", windows, load)
    for left, right in zip(read_windows([tmp_path / "a.parquet"]), read_windows([tmp_path / "a.tar"]), strict=True):
        assert left.keys() == right.keys() == set(WINDOWS.names)
        for name, value in left.items():
            assert np.array_equal(value, right[name]) if isinstance(value, np.ndarray) else value == right[name], name
        assert all(
            data == PICTURES[told["url"]] for data, told in zip(left["images"], left["image_metadata"], strict=True)
        )


def test_columns_are_read_alone(tmp_path, windows):
    write_parquet(tmp_path / "a.parquet", windows, load)
    write_tar(tmp_path / "a.tar", windows, load)
    for name in ("a.parquet", "a.tar"):
        rows = list(read_windows([tmp_path / name], columns=["window_id", "input_ids"]))
        assert {tuple(row) for row in rows} == {("window_id", "input_ids")}
        assert len(rows) == len(windows)


def test_the_same_windows_give_the_same_bytes_whichever_formats_are_written(tmp_path, windows):
    count, both = write_windows(tmp_path / "a", ["parquet", "tar"], iter(windows), load)
    assert count == len(windows)
    for name in ("parquet", "tar"):
        _, alone = write_windows(tmp_path / "b", [name], windows, load)
        data = (tmp_path / f"a.{name}").read_bytes()
        assert data == (tmp_path / f"b.{name}").read_bytes()
        assert alone[name].sha256 == both[name].sha256 == hashlib.sha256(data).hexdigest()
        assert both[name].size == len(data)


def test_an_image_is_read_once_for_all_formats(tmp_path, windows):
    read = []

    def counted(image: StoredImage) -> bytes:
        read.append(image)
        return load(image)

    write_windows(tmp_path / "a", ["parquet", "tar"], windows, counted)
    assert len(read) == sum(len(window.images) for window in windows)


def test_columns_of_lists_alone_and_a_list_that_is_missing(tmp_path, windows):
    write_parquet(tmp_path / "a.parquet", windows, load)
    rows = list(read_windows([tmp_path / "a.parquet"], columns=["input_ids"]))
    assert [row["input_ids"].tolist() for row in rows] == [window.input_ids.tolist() for window in windows]
    table = pq.read_table(tmp_path / "a.parquet").slice(0, 2)
    missing = pa.array([None, [1]], WINDOWS.field("input_ids").type)
    place = table.schema.get_field_index("input_ids")
    pq.write_table(table.set_column(place, table.schema.field(place), missing), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="a value is null"):
        list(read_windows([tmp_path / "a.parquet"]))


@pytest.mark.parametrize("name", ["parquet", "tar"])
def test_no_windows_make_an_empty_shard(tmp_path, name):
    write_windows(tmp_path / "a", [name], [], load)
    assert list(read_windows([tmp_path / f"a.{name}"])) == []


def group_sizes(path: Path) -> list[int]:
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def test_row_groups_are_full_but_within_their_limits(tmp_path, windows, monkeypatch):
    sizes = [sum(len(load(image)) for image in window.images) for window in windows]
    limit = sum(sizes[:4])
    monkeypatch.setattr(writers, "ROW_GROUP_BYTES", limit)
    write_parquet(tmp_path / "a.parquet", windows, load)
    groups = group_sizes(tmp_path / "a.parquet")
    assert groups[0] == 4 and sum(groups) == len(windows)
    for start, count in zip(np.cumsum([0, *groups]), groups[:-1], strict=False):
        assert sum(sizes[start : start + count]) <= limit < sum(sizes[start : start + count + 1])
    monkeypatch.setattr(writers, "ROW_GROUP_ROWS", 5)
    monkeypatch.setattr(writers, "ROW_GROUP_BYTES", sum(sizes))
    write_parquet(tmp_path / "a.parquet", windows, load)
    whole, rest = divmod(len(windows), 5)
    assert group_sizes(tmp_path / "a.parquet") == [5] * whole + [rest] * (rest > 0)


def test_images_are_stored_as_they_are_and_the_rest_compressed_with_statistics(tmp_path, windows):
    write_parquet(tmp_path / "a.parquet", windows, load)
    columns = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).to_dict()["columns"]
    for column in columns:
        is_image = column["path_in_schema"] == "images.list.element.bytes"
        assert column["compression"] == ("UNCOMPRESSED" if is_image else "ZSTD")
        assert (column["statistics"] is None) == (not column["has_dictionary_page"]) == is_image


def test_datasets_knows_the_type_of_every_column():
    """Not all its versions have binary values of a fixed length inside of lists."""
    told = json.loads(writers.window_schema().metadata[b"huggingface"])["info"]["features"]
    found = datasets.Features.from_dict(told).arrow_schema
    of_image, expected = (schema.field("image_metadata").type.value_type for schema in (found, WINDOWS))
    pairs = [(found.field(name), WINDOWS.field(name)) for name in WINDOWS.names if not name.startswith("image")]
    for ours, recorded in [*pairs, *((of_image.field(field.name), field) for field in expected)]:
        plain = pa.binary() if recorded.type == pa.binary(32) else recorded.type
        assert ours.type == plain, ours.name
    assert found.field("images").type == datasets.Features({"images": [datasets.Image()]}).arrow_schema.field(0).type


def test_schema_is_the_recorded_one(tmp_path, windows):
    write_parquet(tmp_path / "a.parquet", windows, load)
    assert pq.read_schema(tmp_path / "a.parquet").remove_metadata() == WINDOWS


def test_originals_keep_their_ending(tmp_path, windows):
    window = next(window for window in windows if window.images)
    write_tar(tmp_path / "a.tar", [window], lambda image: encoded("red", "PNG"))
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getnames()[1:] == [f"{window.window_id}.{i}.png" for i in range(len(window.images))]
    assert [writers.image_extension(encoded("red", kind)) for kind in ("JPEG", "WEBP", "GIF")] == ["jpg", "webp", "gif"]
    assert [writers.image_extension(data) for data in (b"RIFF\0\0\0\0WAVE", b"\xff\xd8\xff\xe0....WEBP")] == ["jpg"] * 2


def test_json_of_the_tar_is_sorted_and_whole(tmp_path, windows):
    write_tar(tmp_path / "a.tar", windows[:1], load)
    with tarfile.open(tmp_path / "a.tar") as archive:
        told = json.load(archive.extractfile(archive.getmembers()[0]))
    assert list(told) == sorted(set(WINDOWS.names) - {"images"})


@pytest.mark.parametrize("name", ["a.parquet", "a.tar"])
@pytest.mark.parametrize("share", [0, 1, 50, 90, 99])
def test_a_clipped_shard_is_refused_by_name(tmp_path, windows, name, share):
    path = tmp_path / name
    (write_parquet if name == "a.parquet" else write_tar)(path, windows, load)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * share // 100])
    with pytest.raises(ValueError, match=f"{name} is not a complete shard of windows"):
        list(read_windows([path]))


def test_a_tar_that_lost_a_picture_is_refused(tmp_path, windows):
    window = next(window for window in windows if len(window.images) > 2)
    write_tar(tmp_path / "a.tar", [window], load)
    from shards.tar import TarWriter, members

    for lost in (1, 2, len(window.images)):
        with (tmp_path / "a.tar").open("rb") as whole, (tmp_path / "b.tar").open("wb") as file:
            writer = TarWriter(file)
            for index, member in enumerate(list(members(whole))):
                whole.seek(member.offset)
                if index != lost:
                    writer.add(member.name, whole.read(member.length))
            writer.close()
        with pytest.raises(ValueError, match=r"b\.tar is not a complete shard"):
            list(read_windows([tmp_path / "b.tar"]))


def test_a_tar_whose_pictures_are_out_of_order_is_refused(tmp_path, windows):
    from shards.tar import TarWriter, members

    one, other = [window for window in windows if len(window.images) > 1][:2]
    write_tar(tmp_path / "a.tar", [one, other], load)
    with (tmp_path / "a.tar").open("rb") as whole:
        found = [(member.name, whole.seek(member.offset) and whole.read(member.length)) for member in members(whole)]
    second = next(place for place, (name, _) in enumerate(found) if name == f"{other.window_id}.json")
    swapped = [*found[:1], found[2], found[1], *found[3:]]
    exchanged = [*found]
    exchanged[1], exchanged[second + 1] = found[second + 1], found[1]
    for members_ in (swapped, exchanged):
        with (tmp_path / "b.tar").open("wb") as file:
            writer = TarWriter(file)
            for name, data in members_:
                writer.add(name, data)
            writer.close()
        with pytest.raises(ValueError, match="is out of order"):
            list(read_windows([tmp_path / "b.tar"]))


def test_a_failed_write_leaves_nothing(tmp_path, windows):
    def lost(image: StoredImage) -> bytes:
        raise ValueError("the image store has no such picture")

    for name in ("a.parquet", "a.tar"):
        (tmp_path / name).write_bytes(b"what was there")
    with pytest.raises(ValueError, match="no such picture"):
        write_windows(tmp_path / "a", ["parquet", "tar"], windows, lost)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "a.tar"]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"what was there"}


def test_a_full_disk_names_the_file(tmp_path):
    full = tmp_path / "a"
    with (
        Path("/dev/full").open("wb", buffering=0) as device,
        pytest.raises(OSError, match="No space left") as caught,
        atomic(full) as output,
    ):
        output._file.raw.close()
        output._file = device
        output.write(b"x")
    assert caught.value.filename == str(full)
    assert not list(tmp_path.iterdir())


def test_a_table_gives_the_same_bytes_however_it_was_made(tmp_path):
    rows = [
        {"doc_id": f"{n:032x}", "url": "u", "texts": ["a", None], "images": [None, stored("red").row()]}
        for n in range(5000)
    ]
    table = pa.Table.from_pylist(rows, DOCUMENTS)
    pieces = pa.concat_tables([table.slice(0, 17), table.slice(17, 1000), table.slice(1017)])
    batches = pa.Table.from_batches(table.to_batches(max_chunksize=333))
    expected = write_table(tmp_path / "a", table).sha256
    assert write_table(tmp_path / "b", pieces).sha256 == expected
    assert write_table(tmp_path / "c", batches).sha256 == expected
    longer = pa.concat_tables([table, table]).slice(5000)
    assert write_table(tmp_path / "d", longer).sha256 == expected
    assert pq.read_table(tmp_path / "a").equals(table)
