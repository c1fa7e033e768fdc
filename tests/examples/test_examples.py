"""The scripts in examples/ run."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = """<!doctype html><title>Harbour</title><article><h1>The harbour</h1>
<p>The harbour lies quiet in the early morning, and the boats wait for the tide to come in from the sea.</p>
<img src="/boats.jpg" width="600" height="400">
<p>A photograph shows the lighthouse that was built in 1854 on the northern rocks, above the old town.</p></article>"""


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_extract_page_prints_nodes_in_reading_order(tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    printed = run("extract_page.py", str(page), "https://example.org/harbour.html")
    places = [printed.index(part) for part in ("lies quiet", "[image https://example.org/boats.jpg]", "lighthouse")]
    assert places == sorted(places)


def test_read_windows_shows_each_image_at_its_token(small_corpus: Path):
    printed = run("read_windows.py", str(small_corpus))
    assert printed.startswith("http")
    assert printed.count("\ntoken ") == printed.count("<image>") >= 1


def test_train_batches_reads_every_token_in_both_epochs(small_corpus: Path):
    lines = run("train_batches.py", str(small_corpus)).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 0", "epoch 1"]
    assert all(re.fullmatch(r"epoch \d: \d+ windows, \d+ tokens, \d+ images", line) for line in lines)
    assert " 0 tokens" not in lines[0]
