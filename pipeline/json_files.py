"""Small JSON files, written atomically."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import BuildError
from shards.files import Output, atomic


def write_json(path: Path, value: Any) -> Output:
    """Write a value atomically, with sorted keys; the same value gives the same bytes.

    File names that are not UTF-8 contain lone surrogates, which Python and JSON escape in the same way."""
    with atomic(path) as file:
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        file.write(text.encode("utf-8", "backslashreplace"))
    return file


def read_json(path: Path) -> Any:
    """The value in a file, or None if the file does not exist.

    Raises BuildError if it is not JSON, which this program did not write."""
    try:
        return parsed(path, path.read_bytes())
    except FileNotFoundError:
        return None


def parsed(path: Path, data: bytes | None) -> Any:
    """The value of a file that must exist. Raises BuildError if it is missing (`data` is None) or not JSON."""
    try:
        if data is not None:
            return json.loads(data)
        reason = "it is missing"
    except ValueError as error:
        reason = str(error)
    raise BuildError(f"{path} is damaged ({reason}): delete it and rerun the command")
