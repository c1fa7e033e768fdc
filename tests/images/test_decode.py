"""Decoding: corner cases, hostile files, and what is stored."""

import pytest

from pipeline.images.decode import ImageDropped, decode


def test_every_file_of_the_hostile_set_is_decoded_or_dropped_under_a_rule(shared):
    for path in sorted((shared / "data/images/undecodable").iterdir()):
        try:
            decode(path.read_bytes())
        except ImageDropped as dropped:
            assert dropped.rule_id.startswith("image."), path


@pytest.mark.parametrize("data", [b"", b"<!doctype html><html>404</html>", b"GIF", b"%PDF-1.7"])
def test_what_is_no_picture_says_so(data):
    with pytest.raises(ImageDropped) as dropped:
        decode(data)
    assert dropped.value.rule_id == "image.not_an_image"
