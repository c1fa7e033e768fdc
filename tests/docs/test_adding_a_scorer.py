"""docs/adding-a-scorer.md: its code, applied to a copy of the tree, scores images and drops them by its rule."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from tests.stages.test_folders import page, picture

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```\w+\n# ([\w./]+)(?:, above (\w+))?\n(.*?)```", re.DOTALL)


def insert(text: str, above: str, block: str) -> str:
    """A file with a block of the page: above an assignment, in a TOML table, or for the ... of a literal."""
    if block.startswith("["):
        table, rows = block.split("\n", 1)
        return text.replace(f"{table}\n", f"{table}\n{rows}")
    name = above or block.partition(" =")[0]
    (node,) = (
        node for node in ast.parse(text).body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    lines = text.splitlines(keepends=True)
    head, value, tail = lines[: node.lineno - 1], lines[node.lineno - 1 : node.end_lineno], lines[node.end_lineno :]
    if above:
        return "".join([*head, block, "\n\n", *value, *tail])
    old = "".join(value).rstrip()[:-1].rstrip().removesuffix(",")
    return "".join([*head, old, block.partition("...")[2], *tail])


def test_its_code_works(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in ("dedup", "filters", "openm3w", "pipeline", "shards"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    blocks = BLOCK.findall((ROOT / "docs/adding-a-scorer.md").read_text("utf8"))
    assert len(blocks) == 5
    for name, above, block in blocks:
        path = tree / name
        path.write_text(insert(path.read_text("utf8"), above, block), "utf8")

    web = tmp_path / "web"
    web.mkdir()
    # a grey ramp, and coloured noise
    (web / "ramp.png").write_bytes(cv2.imencode(".png", np.tile(np.arange(160, dtype=np.uint8), (160, 1)))[1].tobytes())
    (web / "noise.png").write_bytes(picture(0))
    (web / "index.html").write_bytes(page(0, "ramp.png", "noise.png"))

    def m3w(*arguments: str) -> str:
        command = [sys.executable, "-m", "openm3w", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tree, env={"PYTHONPATH": str(tree)})
        assert done.returncode == 0, done.stderr
        return done.stdout

    settings = ["--set", "image.colour_model=hasler", "--set", "image.min_colourfulness=5"]
    m3w("build", str(web), "-o", str(tmp_path / "corpus"), "--no-fetch", *settings, "--", "--direct_num_workers=1")
    levels = json.loads(m3w("inspect", str(tmp_path / "corpus"), "--json"))["funnel"]["levels"]
    (images,) = (level for level in levels if level["level"] == "images")
    assert images["out"] == {"kept": 1} and images["rules"] == [{"rule": "image.grey", "count": 1}]
    (row,) = pq.read_table(tmp_path / "corpus/documents/00000.parquet").to_pylist()
    assert [image["url"] for image in row["images"] if image] == ["file:///noise.png"]
