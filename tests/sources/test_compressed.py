"""WARC files compressed record by record or as a whole: zstd with and without a dictionary, single gzip members."""

import gzip
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BuildError
from pipeline.sources import warc
from pipeline.sources.framing import end_of
from pipeline.sources.record import Record
from pipeline.sources.section import opened
from tests.sources.test_kinds import HTML, written

LIMIT = 1_000_000
BODIES = [f"<p>Barge {number} carries {'rye ' * number * 9}".encode() for number in range(30)]


def capture(number: int, length: str = "Content-Length") -> bytes:
    data = written(
        "response", HTML + b"\r\n" + BODIES[number], "Content-Type: application/http", f"WARC-Record-ID: <{number}>"
    )
    return data.replace(b"Content-Length", length.encode(), 1)


RECORDS = [capture(number) for number in range(len(BODIES))]


def trained() -> zstandard.ZstdCompressionDict:
    return zstandard.train_dictionary(2000, [record[start:] for record in RECORDS for start in range(0, 160, 8)])


def skippable(data: bytes, magic: int = 0x184D2A5D) -> bytes:
    return struct.pack("<II", magic, len(data)) + data


def with_dictionary(records: Sequence[bytes], zipped: bool = False) -> bytes:
    dictionary = trained()
    compress = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True).compress
    data = dictionary.as_bytes()
    return skippable(zstandard.compress(data) if zipped else data) + b"".join(map(compress, records))


def without_sizes(record: bytes) -> bytes:
    """A frame as a program writes it that does not know how much comes."""
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(record) + stream.flush()


WRITERS: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "frames": lambda records: b"".join(map(zstandard.compress, records)),
    "without sizes": lambda records: b"".join(map(without_sizes, records)),
    "dictionary": with_dictionary,
    "zipped dictionary": lambda records: with_dictionary(records, zipped=True),
    "skipped frames": lambda records: b"".join(
        zstandard.compress(one) + skippable(b"x", 0x184D2A50) for one in records
    ),
    "one frame": lambda records: zstandard.compress(b"".join(records)),
    "frames of three": lambda records: b"".join(
        zstandard.compress(b"".join(records[start : start + 3])) for start in range(0, len(records), 3)
    ),
    "one gzip member": lambda records: gzip.compress(b"".join(records)),
    "gzip members of two": lambda records: b"".join(
        gzip.compress(b"".join(records[start : start + 2])) for start in range(0, len(records), 2)
    ),
}
BY_RECORD = ("frames", "without sizes", "dictionary", "zipped dictionary", "skipped frames")


def read(path: Path, part_bytes: int = 400) -> tuple[warc.WarcIndex, list[Record]]:
    found = warc.index(path, part_bytes)
    parts = pairwise(found.cuts)
    return found, [record for part in parts for record in warc.read(path, *part, found.reader, LIMIT)]


@pytest.mark.parametrize("writer", WRITERS)
def test_every_record_is_read_in_parts_and_found_again(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "a.warc.zst"
    path.write_bytes(WRITERS[writer](RECORDS))
    found, records = read(path)
    assert [record.body for record in records] == BODIES
    assert found.seekable == (writer in BY_RECORD) and (len(found.cuts) > 4) == found.seekable
    if found.seekable:
        again = [warc.read_at(path, record.offset, LIMIT).body for record in records]
        assert again == BODIES
        with opened(path) as file:
            for record, following in pairwise(records):
                end = end_of(file, record.offset)
                assert end is not None and following.offset - 9 <= end[0] <= following.offset


def test_records_larger_than_a_reader_s_block_in_one_member_are_not_looked_for_at_offsets(tmp_path: Path) -> None:
    import random

    bodies = [random.Random(number).randbytes(200_000) for number in range(3)]
    records = [written("resource", body, "Content-Type: image/png") for body in bodies]
    for compress in (gzip.compress, zstandard.compress):
        (tmp_path / "a.warc.gz").write_bytes(compress(b"".join(records)))
        found, read_back = read(tmp_path / "a.warc.gz")
        assert not found.seekable and [record.body for record in read_back] == bodies


@pytest.mark.parametrize("length", ["content-length", "CONTENT-LENGTH"])
@pytest.mark.parametrize("writer", ["frames", "dictionary", "one frame", "one gzip member", "gzip members of two"])
def test_lengths_in_every_spelling(writer: str, length: str, tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    for odd in ({1, 3}, {0}, {0, 1, 2, 3}):
        path.write_bytes(
            WRITERS[writer]([capture(number, length) if number in odd else RECORDS[number] for number in range(4)])
        )
        found, records = read(path)
        assert [record.body for record in records] == BODIES[:4]
        assert found.seekable == (writer in BY_RECORD)
        if found.seekable:
            assert [warc.read_at(path, record.offset, LIMIT).body for record in records] == BODIES[:4]


def test_damage_to_a_zstd_file_costs_the_damaged_record_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.zst"
    for zipped in (False, True):
        data = bytearray(with_dictionary(RECORDS, zipped))
        path.write_bytes(data)
        _, whole = read(path)
        third = whole[3]
        data[third.offset : third.offset + 12] = b"?" * 12
        path.write_bytes(data)
        found = read(path)[1]
        assert [record.rule for record in found].count("record.corrupt") == 1
        assert [record.body for record in found if record.rule is None] == BODIES[:3] + BODIES[4:]
        path.write_bytes(data[: whole[9].offset + 7])
        assert [record.rule for record in read(path)[1]][-1] in ("record.truncated", "record.corrupt")


def test_hostile_dictionaries_and_windows_cost_a_line_or_a_record(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.zst"
    frame = zstandard.compress(RECORDS[0])
    hostile: list[bytes] = []
    for dictionary, reason in (
        (skippable(zstandard.compress(bytes(300_000_000))), "dictionary is larger than 16 MB"),
        (struct.pack("<II", 0x184D2A5D, 4_000_000_000), "dictionary is larger than 16 MB"),
        (struct.pack("<II", 0x184D2A5D, 9_000_000), "ends inside its dictionary"),
        (skippable(b"\x28\xb5\x2f\xfd" + b"\xff" * 30), "dictionary is damaged"),
        (skippable(b"no dictionary"), "neither WARC nor ARC|cannot be decompressed"),
    ):
        hostile.append(dictionary + with_dictionary([RECORDS[0]])[8:])
        path.write_bytes(hostile[-1])
        with pytest.raises(BuildError, match=reason):
            warc.index(path, 400)
    wide = zstandard.ZstdCompressionParameters(window_log=31)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    huge = stream.compress(RECORDS[1]) + stream.flush()
    path.write_bytes(huge)
    with pytest.raises(BuildError, match=r"cannot be decompressed: .*memory"):
        warc.index(path, 400)
    path.write_bytes(frame + huge + frame)
    assert [record.rule for record in read(path)[1]] == [None, "record.corrupt", None]
    bomb = zstandard.compress(
        written("response", HTML + b"\r\n" + bytes(200_000_000), "Content-Type: application/http")
    )
    path.write_bytes(frame + bomb + frame)
    assert [record.rule for record in read(path)[1]] == [None, "record.too_large", None]
    hostile += [huge, frame + huge + frame, frame + bomb + frame]
    for number, data in enumerate(hostile):
        (tmp_path / f"{number}.hostile").write_bytes(data)
    (tmp_path / "small").write_bytes(frame)
    assert peak(*tmp_path.glob("*.hostile")) - peak(tmp_path / "small") < 100


MEASURE = """
import sys
from pathlib import Path
from pipeline.errors import BuildError
from pipeline.sources import warc
for path in map(Path, sys.argv[1:]):
    try:
        found = warc.index(path, 400)
        for record in warc.read(path, 0, found.size, found.reader, 1_000_000):
            pass
    except BuildError:
        pass
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(*paths: Path) -> int:
    """Peak resident memory, in MiB, of a separate process that reads the files."""
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return int(run.stdout) // 1024


@settings(max_examples=60)
@given(data=st.data())
def test_nothing_escapes_from_mutilated_zstd_files(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    mutilated = bytearray(data.draw(st.sampled_from([MUTILATED, WRITERS["frames"](RECORDS[:6])])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(mutilated) - 1))
        if data.draw(st.booleans()):
            mutilated[at] ^= data.draw(st.integers(1, 255))
        else:
            mutilated[at : at + data.draw(st.integers(0, 200))] = data.draw(st.binary(max_size=40))
    path = tmp_path_factory.mktemp("mutilated") / "a.warc.zst"
    path.write_bytes(mutilated)
    try:
        records = read(path)[1]
    except BuildError:
        return
    assert len(records) >= 1


MUTILATED = with_dictionary(RECORDS[:6])
