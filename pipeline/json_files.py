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
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BuildError(f"{path} is damaged ({error}): delete it and rerun the command") from None
