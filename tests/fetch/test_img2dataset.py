"""What pipeline/fetch/img2dataset.py relies on in img2dataset."""

import inspect
import io
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.fetch.img2dataset import FETCH, download_shard, downloader


def test_the_names_that_the_adapter_relies_on_are_there() -> None:
    code = downloader().Downloader.download_shard.__code__
    nested = [const.co_names for const in code.co_consts if inspect.iscode(const)]
    assert FETCH in {*code.co_names, *(name for names in nested for name in names)}
    assert not code.co_freevars, "a closure could not be run with other globals"
    assert next(iter(inspect.signature(getattr(downloader(), FETCH)).parameters)) == "row"


class Collected:
    """img2dataset's writer protocol."""

    rows: list[dict[str, Any]]

    def __init__(self, *options: Any) -> None:
        Collected.rows = []

    def write(self, image: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        self.rows.append(meta)

    def close(self) -> None:
        self.closed = True


def test_a_shard_asks_our_fetch_for_every_url_and_gives_a_row_for_each(tmp_path: Path) -> None:
    urls = [f"https://example.org/{number}.jpg" for number in range(5)]
    listing = tmp_path / "list.feather"
    with pa.OSFile(str(listing), "wb") as file:
        table = pa.table({"url": urls})
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    asked = []

    def fetch(row: tuple[int, str], **_: Any) -> tuple[int, io.BytesIO | None, str | None]:
        key, url = row
        asked.append(url)
        return (key, None, "gone") if url.endswith("3.jpg") else (key, io.BytesIO(b"not a picture"), None)

    download_shard(fetch, Collected, tmp_path, 7, listing)
    assert sorted(asked) == urls
    assert sorted(row["url"] for row in Collected.rows) == urls
    by_url = {row["url"]: (row["status"], row["error_message"]) for row in Collected.rows}
    assert by_url[urls[3]] == ("failed_to_download", "gone")
    assert by_url[urls[0]] == ("failed_to_resize", "image.not_an_image")
    assert {row["key"][:5] for row in Collected.rows} == {"00007"}
