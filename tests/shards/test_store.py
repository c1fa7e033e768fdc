"""What every store does, asked of fsspec's file system in memory; `make s3-test` asks moto's server the same."""

import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Thread
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import store
from shards.files import atomic, remove
from shards.store import (
    JOINED_GAP,
    READ_AHEAD,
    READ_AT_ONCE,
    UPLOADED_AT_ONCE,
    RemotePath,
    absent,
    gathered,
    joined,
    located,
    parquet_source,
    positional,
    put_if_absent,
    read_many,
    read_range,
    read_ranges,
    sizes,
)
from shards.tar import read_member, read_members
from tests.s3 import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "local":
        yield tmp_path
    elif request.param == "memory":
        yield located(f"memory://{tmp_path.name}")
    else:
        yield located(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


def write(path: Path, data: bytes) -> None:
    with atomic(path) as file:
        file.write(data)


def test_an_object_appears_whole_or_not_at_all(folder: Path) -> None:
    write(folder / "a.bin", b"first")
    with pytest.raises(RuntimeError), atomic(folder / "a.bin") as file:
        file.write(b"half of the sec")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic(folder / "b.bin") as file:
        file.write(bytes(UPLOADED_AT_ONCE + 1))
        raise RuntimeError
    assert (folder / "a.bin").read_bytes() == b"first"
    assert not (folder / "b.bin").exists()
    assert [path.name for path in folder.iterdir()] == ["a.bin"]


def test_long_objects_keep_their_bytes(folder: Path) -> None:
    data = bytes(range(256)) * (READ_AHEAD // 128)
    with atomic(folder / "long.bin") as file:
        for start in range(0, len(data), 1 << 20):
            file.write(data[start : start + (1 << 20)])
    path = folder / "long.bin"
    assert path.stat().st_size == file.size == len(data)
    with path.open("rb") as opened:
        assert opened.read(5) == data[:5]
        assert opened.seek(-3, 2) == len(data) - 3
        assert opened.read() == data[-3:]
        assert opened.read() == b""
    read = positional(path)
    for position in (0, READ_AHEAD - 2, READ_AHEAD - 1, 7, len(data) - 4):
        assert read(4, position) == data[position : position + 4]


def test_what_lies_below(folder: Path) -> None:
    for name in ("a.json", "deep/b.json", "deep/er/c.tar", "deeper/d.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, name.encode())
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "deep", "deeper"]
    assert [path.relative_to(folder).as_posix() for path in sorted((folder / "deep").rglob("*.tar"))] == [
        "deep/er/c.tar"
    ]
    assert [path.name for path in folder.glob("*/*.json")] in (["b.json", "d.json"], ["d.json", "b.json"])
    assert (folder / "deep").is_dir() and not (folder / "deep").is_file()
    assert (folder / "a.json").is_file() and not (folder / "a.json").is_dir()
    assert not (folder / "dee").exists()
    assert {path.name: size for path, size in sizes(folder / "deep").items()} == {"b.json": 11, "c.tar": 13}
    if isinstance(folder, RemotePath):
        assert list((folder / "nothing").iterdir()) == []
    missing = folder / "missing"
    assert read_many([folder / "a.json", missing, folder / "deep/b.json"]) == [b"a.json", None, b"deep/b.json"]
    remove(folder / "a.json")
    assert not (folder / "a.json").exists()
    missing.unlink(missing_ok=True)
    for action in (missing.read_bytes, missing.stat, lambda: missing.open("rb")):
        with pytest.raises(FileNotFoundError, match="missing"):
            action()


def test_of_several_writers_one_puts_what_is_absent(folder: Path) -> None:
    assert put_if_absent(folder / "taken", b"0")
    assert not put_if_absent(folder / "taken", b"another")
    barrier, won = Barrier(8), list[int]()

    def contend(number: int) -> None:
        barrier.wait()
        if put_if_absent(folder / "lock", b"%d" % number):
            won.append(number)

    threads = [Thread(target=contend, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not str(folder).startswith("memory:"):  # which looks, then writes
        assert [(folder / "lock").read_bytes()] == [b"%d" % number for number in won]
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "taken"]


def test_ranges_are_read_in_the_order_asked(folder: Path) -> None:
    data = bytes(range(256)) * (3 * JOINED_GAP // 256)
    write(folder / "x.tar", data)
    places = [(2 * JOINED_GAP + 5, 7), (0, 3), (300, 5), (0, 3)]
    assert read_members(folder / "x.tar", places) == [data[start : start + size] for start, size in places]
    with pytest.raises(ValueError, match="only 1 of 2 bytes"):
        read_members(folder / "x.tar", [(len(data) - 1, 2)])
    assert read_member(folder / "x.tar", 256, 2) == b"\0\1"
    assert read_ranges(folder / "x.tar", []) == []


@given(st.lists(st.tuples(st.integers(0, 90 << 20), st.integers(1, 4 << 20))))
def test_joined_ranges_are_all_there_and_near(ranges: list[tuple[int, int]]) -> None:
    groups = joined(sorted(ranges))
    assert [item for group in groups for item in group] == sorted(ranges)
    for group in groups:
        for before, (start, _) in zip(range(1, len(group)), group[1:], strict=False):
            assert start - max(offset + length for offset, length in group[:before]) <= JOINED_GAP
        assert len(group) == 1 or reach(group) <= READ_AT_ONCE
    for group, (item, *_) in pairwise(groups):
        end = max(offset + length for offset, length in group)
        assert item[0] - end > JOINED_GAP or reach([*group, item]) > READ_AT_ONCE, "they could be one"


def reach(group: list[tuple[int, int]]) -> int:
    """Bytes from the start of the first range of a group to the end of the last to start."""
    return sum(group[-1]) - group[0][0]


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60))), st.lists(st.integers(0, 450)), st.data())
def test_what_is_gathered_has_the_bytes_of_the_object(
    ranges: list[tuple[int, int]], others: list[int], data: st.DataObject
) -> None:
    """Each range that was announced is read whole; they take a request for each group. Other places can be read."""
    content = bytes(number % 251 for number in range(430))
    path = located("memory://gathered/x")
    path.filesystem.pipe_file(str(path), content)
    requests: list[int] = []

    def counted(path: Path, offset: int, size: int) -> bytes:
        requests.append(offset)
        return read_range(path, offset, size)

    with (
        mock.patch.object(store, "JOINED_GAP", 20),
        mock.patch.object(store, "READ_AT_ONCE", 100),
        mock.patch.object(store, "read_range", counted),
    ):
        read = gathered(path, ranges)
        for offset, length in sorted(ranges):
            assert read(length, offset) == content[offset : offset + length]
        beyond = sum(offset >= len(content) for offset, _ in ranges)
        assert len(requests) <= len(joined(sorted(ranges))) + beyond
        for position in others:
            size = data.draw(st.integers(1, 60))
            found = read(size, position)
            assert found == content[position : position + len(found)] and (found or position >= len(content))


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 200)), max_size=20))
def test_blocks_have_the_bytes_of_the_object(ranges: list[tuple[int, int]]) -> None:
    content = bytes(number % 251 for number in range(430))
    path = located("memory://blocks/x")
    path.filesystem.pipe_file(str(path), content)
    with mock.patch.object(store, "READ_AHEAD", 32):
        read = positional(path)
        assert [read(size, at) for at, size in ranges] == [content[at : at + size] for at, size in ranges]


def test_an_object_is_removed_and_read_as_text_like_a_file(folder: Path) -> None:
    path = folder / "note"
    with atomic(path) as file:
        file.write("größer\n".encode("latin-1"))
    with path.open(encoding="latin-1") as file:
        assert file.read() == path.read_text("latin-1") == "größer\n"
    assert path.read_text("utf-8", "replace") == "gr\ufffd\ufffder\n"
    with pytest.raises(UnicodeDecodeError):
        path.read_text("utf-8")
    assert absent(folder, ["note", "other"]) == ["other"] and read_many([path, folder / "other"])[1] is None
    path.unlink()
    path.unlink(missing_ok=True)
    assert absent(folder, ["note"]) == ["note"]


def test_a_path_in_a_store_is_no_local_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = located("memory://bucket/a/b.parquet")
    assert str(path) == "memory://bucket/a/b.parquet" == str(pickle.loads(pickle.dumps(path)))
    assert str(path.parent / "c" / path.name) == "memory://bucket/a/c/b.parquet"
    assert str(path.with_suffix(".tar")) == "memory://bucket/a/b.tar" and path.stem == "b"
    assert path.relative_to(located("memory://bucket")).as_posix() == "a/b.parquet"
    assert path == located("memory://bucket/a/b.parquet") and len({path, located(path)}) == 1
    assert path.resolve() is path and isinstance(path / "x", RemotePath)
    for action in (path.touch, lambda: path.write_bytes(b""), lambda: path.replace(tmp_path / "x")):
        with pytest.raises(TypeError):
            action()
    assert isinstance(located("s3:/bucket"), Path) and not isinstance(located("s3:/bucket"), RemotePath)
    assert list(tmp_path.iterdir()) == []


def test_pyarrow_reads_a_file_of_ours(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from shards.files import write_table

    table = pa.table({"a": list(range(100))})
    write_table(folder / "t.parquet", table)
    assert pq.read_table(parquet_source(folder / "t.parquet"), partitioning=None) == table


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def filesystem(scheme: str, **options: object) -> None:
        raise ImportError("Install gcsfs", name="gcsfs")

    monkeypatch.setattr(fsspec, "filesystem", filesystem)
    with pytest.raises(OSError, match=r"needs gcsfs: pip install 'openm3w\[gs\]'.*gs://bucket/x"):
        located("gs://bucket/x").read_bytes()
