from shards.errors import first_line


def test_an_error_is_one_line_even_without_a_message() -> None:
    assert first_line(ValueError("\n bad magic \n at byte 4")) == "bad magic "
    assert [first_line(OSError()), first_line(ValueError(" \n"))] == ["OSError", "ValueError"]
    assert len(first_line(ValueError("x" * 999))) == 200
