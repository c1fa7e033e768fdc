"""Building small corpora in tests, in this process or with the command."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pipeline.build import build
from pipeline.engine.progress import Progress
from pipeline.recipe import load

M3W = [str(Path(sys.executable).with_name("m3w"))]
SMALL = ("windows.vocabulary=600", "windows.validation=0.2")


def build_here(
    inputs: Sequence[Path],
    root: Path,
    settings: Sequence[str] = (),
    base_url: str = "file:///",
    workers: int = 1,
    options: Sequence[str] = (),
) -> Path:
    """A build in this process."""
    recipe = load("web", [*SMALL, *settings])
    beam = [f"--direct_num_workers={workers}", *options]
    return build([str(path) for path in inputs], root, recipe, base_url, beam, Progress(io.StringIO())).root


def start_build(
    inputs: Sequence[Path | str],
    root: Path,
    *options: str,
    workers: int = 2,
    cwd: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    beam_options: Sequence[str] = (),
) -> "subprocess.Popen[str]":
    """The command, started. A PYTHONPATH comes before the one of this process."""
    settings = [part for setting in SMALL for part in ("--set", setting)]
    command = [*M3W, "build", *map(str, inputs), "-o", str(root), *settings, *options]
    paths = [environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]
    return subprocess.Popen(
        [*command, "--", *(beam_options or [f"--direct_num_workers={workers}"])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def digests(root: Path) -> dict[str, str]:
    """sha256 of every file that makes a corpus."""
    folders = [root / name for name in ("documents", "images", "windows")]
    files = [path for folder in folders for path in folder.iterdir()] + [root / "tokenizer.json"]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}
