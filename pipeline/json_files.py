"""Small JSON files that are whole or absent at any moment."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import BuildError
from shards.files import atomic


def write_json(path: Path, value: Any) -> None:
    """Writes a value whole or not at all, with sorted keys.

    File names that are not UTF-8 hold lone surrogates, for which Python's escape and JSON's are the same."""
    with atomic(path) as file:
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        file.write(text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """The value in a file, or None if there is no such file.

    Raises BuildError if it is not JSON: something else wrote it."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BuildError(f"{path} is damaged ({error}): remove it and rerun the command") from None
