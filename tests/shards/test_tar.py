"""The tar writer against tarfile, GNU tar and webdataset as readers."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.tar import Member, TarWriter, _header, members, read_images, read_member

NAMES = st.text(st.characters(min_codepoint=33, exclude_characters="/", exclude_categories=["Cs", "Cc"]), min_size=1)
MEMBERS = st.lists(st.tuples(NAMES.filter(lambda n: n != ".." and len(n.encode()) <= 100), st.binary(max_size=1500)))


def archive(contents: list[tuple[str, bytes]]) -> tuple[bytes, list[int]]:
    file = io.BytesIO()
    writer = TarWriter(file)
    offsets = [writer.add(name, data) for name, data in contents]
    writer.close()
    return file.getvalue(), offsets


@given(MEMBERS)
def test_tarfile_reads_what_is_written_where_it_is_said_to_lie(contents):
    data, offsets = archive(contents)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        read = [(info.name, tar.extractfile(info).read(), info.offset_data) for info in tar]
    assert read == [(name, content, offset) for (name, content), offset in zip(contents, offsets, strict=True)]
    assert list(members(io.BytesIO(data))) == [
        Member(name, offset, len(content)) for (name, content), offset in zip(contents, offsets, strict=True)
    ]


@given(NAMES.filter(lambda n: n != ".." and len(n.encode()) <= 100), st.integers(0, 8**11 - 1))
def test_headers_are_those_of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    assert _header(name, size) == info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def test_bytes_are_those_of_tarfile_in_ustar_format():
    data, _ = archive([("000000000.jpg", b"x" * 700), ("ä/b.json", b"")])
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in [("000000000.jpg", b"x" * 700), ("ä/b.json", b"")]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    # tarfile pads the whole to 10,240 bytes.
    assert expected.getvalue().startswith(data)
    assert len(data) == 512 + 1024 + 512 + 1024


def test_gnu_tar_and_webdataset_read_it(tmp_path: Path):
    import webdataset

    path = tmp_path / "00000.tar"
    data, offsets = archive([("a.0.jpg", b"one"), ("a.json", b'{"n": 1}'), ("b.0.jpg", b"two"), ("b.json", b"{}")])
    path.write_bytes(data)
    listing = subprocess.run(["tar", "-tvf", path, "--utc"], capture_output=True, text=True, check=True)
    assert listing.stdout.splitlines()[0].split() == ["-rw-r--r--", "0/0", "3", "1970-01-01", "00:00", "a.0.jpg"]
    assert listing.stderr == ""
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [(s["__key__"], s["0.jpg"], s["json"]) for s in samples] == [
        ("a", b"one", b'{"n": 1}'),
        ("b", b"two", b"{}"),
    ]
    assert read_member(path, offsets[2], 3) == b"two"


@pytest.mark.parametrize("name", ["", "x" * 101, "ä" * 51, "/etc/passwd", "a/../../b", "a\nb", "a\0b"])
def test_names_that_are_refused(name):
    writer = TarWriter(file := io.BytesIO())
    with pytest.raises(ValueError, match=r"1 to 100 bytes|not a relative path"):
        writer.add(name, b"data")
    assert file.getvalue() == b""


@pytest.mark.parametrize("name", ["x" * 100, "a b"])
def test_the_longest_name_and_one_with_a_space_are_written(name):
    data, [offset] = archive([(name, b"data")])
    assert list(members(io.BytesIO(data))) == [Member(name, offset, 4)]


def test_a_member_whose_data_are_cut_off_is_not_given():
    found = members(io.BytesIO(archive([("a", b"d" * 600)])[0][:1000]))
    with pytest.raises(ValueError, match=r"a: 600 bytes at 512, but the archive ends at byte 1000"):
        next(found)


def test_a_size_that_no_header_holds_is_refused():
    assert b"%011o" % (8**11 - 1) in _header("a", 8**11 - 1)
    with pytest.raises(ValueError, match="do not fit"):
        _header("a", 8**11)


def test_reading_past_the_end_is_an_error(tmp_path: Path):
    path = tmp_path / "a.tar"
    path.write_bytes(archive([("a", b"abc")])[0])
    with pytest.raises(ValueError, match=r"a\.tar: only [0-9]+ of 5000 bytes at offset 512"):
        read_member(path, 512, 5000)


def test_images_of_several_archives_come_in_the_order_asked(tmp_path: Path):
    """Each archive is read at its own places: the others are too short for the last."""
    long = b"x" * 3000
    for name in ("0.tar", "1.tar", "2.tar"):
        contents = [("a", f"a of {name}".encode()), ("b", f"b of {name}".encode())]
        (tmp_path / name).write_bytes(archive([*contents, ("c", long)] if name == "2.tar" else contents)[0])
    places = [("1.tar", 512, 10), ("2.tar", 2560, 3000), ("0.tar", 1536, 10), ("1.tar", 512, 10), ("0.tar", 512, 10)]
    assert read_images(tmp_path, places) == [b"a of 1.tar", long, b"b of 0.tar", b"a of 1.tar", b"a of 0.tar"]
    assert read_images(tmp_path, []) == []


def test_members_of_a_damaged_archive_are_an_error():
    data, offsets = archive([("a", b"abc"), ("b", b"d" * 600)])
    for broken in (data[:100], data[: offsets[1] + 300], data[:-1024], b"x" + data[1:], b""):
        with pytest.raises(ValueError):
            list(members(io.BytesIO(broken)))


@given(st.binary(max_size=2000))
def test_any_bytes_are_members_or_an_error(data):
    try:
        list(members(io.BytesIO(data)))
    except ValueError:
        pass


def test_archives_of_other_kinds_of_member_are_refused():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ValueError, match="not the header of a regular"):
        list(members(file))
