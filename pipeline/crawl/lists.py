"""Files with lists, one item per line or in a Parquet column."""

import gzip
import zlib
from pathlib import Path

from pipeline.errors import BuildError
from shards.errors import first_line

_AGAIN = ": the file is damaged; download or write it again"


def lines(path: Path) -> list[str]:
    """The lines of a text file, plain or gzip (NAME.gz). Raises BuildError if it cannot be read."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig", "replace")
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror or error}{_AGAIN if error.errno is None else ''}") from None
    except (EOFError, zlib.error) as error:
        raise BuildError(f"{path}: {error}{_AGAIN}") from None
    if "\0" in text:
        raise BuildError(f"{path}: not a text file")
    return text.splitlines()


def columns(path: Path) -> list[str]:
    """The column names of a Parquet file. Raises BuildError if it is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise _no_parquet(path, error) from None


def column(path: Path, name: str) -> list[str]:
    """The non-null values of a text column. Raises BuildError if there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if name not in columns(path):
        raise BuildError(f"{path}: no column `{name}`")
    try:
        values = pq.read_table(path, columns=[name], partitioning=None)[name].to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _no_parquet(path, error) from None
    if not all(isinstance(value, str) for value in values if value is not None):
        raise BuildError(f"{path}: the column `{name}` is not a text column")
    return [value for value in values if value]


def _no_parquet(path: Path, error: Exception) -> BuildError:
    why = first_line(error)
    return BuildError(f"{path}: cannot be read as Parquet ({why}): rewrite it, or pass a text file")
