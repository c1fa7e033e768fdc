"""The small web served by its own command, as `make demo` uses it."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from pipeline.fetch import Client, Networks
from tests.ports import PORT

from .conftest import ROOT


def test_the_miniweb_is_served_on_loopback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.miniweb", "-o", str(tmp_path), "--format", "serve", "--pages", "120"]
    process = subprocess.Popen([*command, "--port", str(PORT)], cwd=ROOT)
    try:
        seeds = tmp_path / "seeds.txt"
        while not seeds.exists():
            assert process.poll() is None
            time.sleep(0.1)
        urls = seeds.read_text().split()

        async def statuses() -> set[int]:
            async with Client(private=Networks.parse(["127.0.0.0/8"])) as client:
                return {(await client.exchange(url)).status for url in urls}

        assert len(urls) >= 8 and asyncio.run(statuses()) == {200}
        assert (tmp_path / "truth.jsonl").exists()
    finally:
        process.kill()
        process.wait()
