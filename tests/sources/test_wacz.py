"""WACZ files: WARC files read in place in a zip, and hostile zips."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BuildError
from pipeline.sources import wacz
from pipeline.sources.record import Record
from pipeline.sources.source import Part
from pipeline.sources.wacz import Wacz
from tests.records import record
from tests.sources.test_compressed import BODIES, RECORDS, WRITERS, capture

LIMIT = 1_000_000


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return data.getvalue()


def cut(path: Path, total: int) -> tuple[Wacz, list[Part]]:
    source = Wacz.at(path)
    assert source is not None
    entry, bounds = source.cut("in.wacz", total)
    return source.known(entry), [Part(number, 0, *bound) for number, bound in enumerate(bounds)]


def read(source: Wacz, parts: list[Part]) -> list[Record]:
    return [record for part in parts for record in source.read(part, "", LIMIT, lambda number: False)]


def test_records_lie_at_offsets_of_the_zip_and_parts_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.source.FEWEST_BYTES", 400)
    members = {
        "datapackage.json": b"{}",
        "archive/one.warc.gz": b"".join(map(gzip.compress, RECORDS)),
        "archive/empty.warc.gz": b"",
        "archive/two.warc.zst": WRITERS["dictionary"](RECORDS),
        "archive/three.WARC": b"".join(RECORDS),
        "pages/pages.jsonl": b"{}",
    }
    path = tmp_path / "in.wacz"
    path.write_bytes(zipped(members))
    source, parts = cut(path, 6400)
    records = read(source, parts)
    assert [record.body for record in records] == BODIES * 3 and len(parts) > 12
    first = records[0]
    assert gzip.decompress(path.read_bytes()[first.offset : first.offset + first.length]) == RECORDS[0]
    for part in parts[1::4]:
        mine = list(source.read(part, "", LIMIT, lambda number: False))
        assert mine
        offsets = {record.number: record.offset for record in mine}
        assert dict(source.bodies(part, [0, len(mine) - 1], lambda at=offsets: at, LIMIT)) == {
            0: mine[0].body,
            len(mine) - 1: mine[-1].body,
        }
    assert sum(part.weight for part in parts) == sum(len(members[name]) for name in members if "arch" in name)


def test_deflated_members_are_inflated_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "in.wacz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/one.warc.gz", b"".join(map(gzip.compress, RECORDS)))
        archive.writestr("archive/two.warc", b"".join(RECORDS[:9]))
        archive.writestr("archive/three.warc.gz", b"".join(map(gzip.compress, RECORDS[:3])), zipfile.ZIP_STORED)
    source, parts = cut(path, 1)
    assert not source.seekable and len(parts) == 3
    records = [read(source, [part]) for part in parts]
    assert [[record.body for record in part] for part in records] == [BODIES, BODIES[:9], BODIES[:3]]
    assert dict(source.bodies(parts[1], [2, 5], dict, LIMIT)) == {2: BODIES[2], 5: BODIES[5]}
    assert sum(part.weight for part in parts) < path.stat().st_size


def test_members_that_are_read_from_their_start_and_damaged_ones(tmp_path: Path) -> None:
    whole = b"".join(map(gzip.compress, RECORDS))
    path = tmp_path / "in.wacz"
    odd = gzip.compress(capture(0, "content-length") + capture(1, "content-length"))
    path.write_bytes(
        zipped({"a.warc.gz": odd, "b.warc.gz": whole[:-40], "c.warc.gz": whole[:200] + b"?" * 40 + whole[240:]})
    )
    source, parts = cut(path, 1)
    assert not source.seekable and len(parts) == 3
    one, two, three = (read(source, [part]) for part in parts)
    assert [(record.body, record.offset, record.length) for record in one] == [(body, 0, 0) for body in BODIES[:2]]
    assert [record.rule for record in two].count("record.truncated") == 1 and len(two) == len(RECORDS)
    assert [record.rule for record in three].count("record.corrupt") == 1
    assert dict(source.bodies(parts[0], [1], dict, LIMIT)) == {1: BODIES[1]}


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.wacz"
    good = zipped({"archive/a.warc": b"".join(RECORDS)})

    def refused(data: bytes, reason: str) -> None:
        path.write_bytes(data)
        with pytest.raises(BuildError, match=reason) as found:
            cut(path, 1)
        assert "\n" not in str(found.value)

    refused(zipped({"archive/a.warc": RECORDS[0]}, zipfile.ZIP_BZIP2), "other than deflate inside the zip: unzip it")
    refused(zipped({"a.warc": RECORDS[0] + bytes(9**6)}, zipfile.ZIP_DEFLATED), "compressed to less than a hundredth")
    deflated = zipped({"archive/a.warc": b"".join(RECORDS)}, zipfile.ZIP_DEFLATED)
    refused(deflated[:90] + b"?" * 40 + deflated[130:], "a member cannot be inflated")
    at = deflated.index(b"PK\x01\x02") + 24
    for size in (-9, 9):
        (declared,) = struct.unpack("<I", deflated[at : at + 4])
        wrong = deflated[:at] + struct.pack("<I", declared + size) + deflated[at + 4 :]
        refused(wrong, "a member cannot be inflated: not of its declared size")
    refused(zipped({"a.docx": b"x"}), "a zip file without WARC files")
    refused(zipped({"a.warc": b"no record"}), r"'a\.warc': neither WARC nor ARC")
    refused(good[: len(good) // 2], "a damaged zip file")
    entry = good.index(b"PK\x01\x02")
    refused(good[: entry + 8] + b"\x01\x00" + good[entry + 10 :], "encrypted inside the zip")
    # absurd sizes and offsets
    refused(good[: entry + 20] + struct.pack("<II", 1 << 30, 1 << 30) + good[entry + 28 :], "is not where|damaged zip")
    refused(good[: entry + 42] + struct.pack("<I", 77) + good[entry + 46 :], "is not where|damaged zip")
    two = zipped({"a.warc": RECORDS[0], "b.warc": RECORDS[1]})
    refused(two.replace(b"PK\x03\x04", b"PK\x03\x09").replace(b"PK\x03\x09", b"PK\x03\x04", 1), "is not where")
    # two members that are one
    end = good.index(b"PK\x05\x06")
    twice, directory = good[entry:end].replace(b"a.warc", b"b.warc"), len(good[entry:end])
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, 2 * directory, entry, 0)
    refused(good[:end] + twice + tail, "is not where")
    monkeypatch.setattr(wacz, "LIST_BYTES", 100_000)
    refused(zipped({f"{number}.warc": b"" for number in range(2000)}), "the list of its members is larger than 0 MB")


@given(data=st.data())
def test_nothing_escapes_from_mutilated_zips(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    mutilated = bytearray(
        zipped({"a.json": b"{}", "a.warc.gz": record("http://e.org/", b"<p>one") * 3, "b.warc": RECORDS[0]})
    )
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(len(mutilated) // 2, len(mutilated) - 1) | st.integers(4, len(mutilated) - 1))
        mutilated[at : at + data.draw(st.sampled_from([1, 1, 2, 4, 30]))] = data.draw(st.binary(min_size=1, max_size=4))
    path = tmp_path_factory.mktemp("mutilated") / "in.wacz"
    path.write_bytes(mutilated)
    try:
        assert len(read(*cut(path, 1))) >= 1
    except BuildError as error:
        assert "\n" not in str(error)
