"""The public interface: openm3w, python -m openm3w, the contents of a wheel, and that it works alone."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from importlib.metadata import packages_distributions, version
from pathlib import Path

import datasets
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import openm3w
from pipeline.miniweb import generate, write_warc
from shards.files import write_table

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("openm3w", "pipeline", "dedup", "filters", "shards", "train_min")
BY_NAME = {"img2dataset", "standard-imghdr"}
"""Dependencies that no import statement names."""
SHADOWS = ("dedup", "shards", "filters", "pipeline", "typing")


def test_imports_run_one_way_and_in_no_circle(shared: Path) -> None:
    done = subprocess.run(
        [sys.executable, shared / "bench/imports.py"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1].endswith(" 0 circles, 0 upward"), done.stdout


def test_no_two_public_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_no_function_is_over_60_lines() -> None:
    long = []
    for path in sorted(path for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > 60:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines}")
    assert long == []


def test_extract_as_a_library_call() -> None:
    words = "Words of an article that is long enough to be found by anyone who looks for it. " * 5
    html = f"<html><body><article><p>{words}</p><img src=a.png alt=sea><p>{words}</p></article></body></html>"
    document = openm3w.extract(html.encode(), "https://example.org/page")
    assert document is not None
    assert [type(node) for node in document.nodes] == [openm3w.Text, openm3w.Image, openm3w.Text]
    assert openm3w.extract(b"", "https://example.org/") is None


def test_documents_and_windows_of_a_corpus(small_corpus: Path) -> None:
    corpus = openm3w.open_corpus(small_corpus)
    rows = {entry["path"]: entry["rows"] for entry in corpus.manifest["files"]}
    documents = list(corpus.documents(["doc_id"]))
    assert len(documents) == sum(n for path, n in rows.items() if path.startswith("documents/"))
    for split in ("train", "validation"):
        windows = list(corpus.windows(split))
        in_parquet = [n for path, n in rows.items() if re.fullmatch(rf"windows/{split}-\d+\.parquet", path)]
        assert len(windows) == sum(in_parquet) > 0
        assert {window["doc_id"] for window in windows} <= {document["doc_id"] for document in documents}
        assert isinstance(windows[0]["input_ids"], np.ndarray)
    with pytest.raises(ValueError, match="split is"):
        corpus.windows("test")
    with pytest.raises(openm3w.BuildError, match="directory not found"):
        openm3w.open_corpus(small_corpus / "no")


def test_other_readers_of_parquet(small_corpus: Path, tmp_path: Path) -> None:
    """Also of files without a row, which a part may have."""
    corpus = openm3w.open_corpus(small_corpus)
    rows = {entry["path"]: entry["rows"] for entry in corpus.manifest["files"]}
    for folder in ("documents", "images"):
        files = corpus.files(folder)
        schema = pq.read_schema(files[0])
        write_table(tmp_path / f"{folder}.parquet", schema.empty_table())
        names = [*map(str, files), str(tmp_path / f"{folder}.parquet")]
        count = sum(rows[path.relative_to(small_corpus).as_posix()] for path in files)
        assert pyarrow.dataset.dataset(names).count_rows() == count > 0
        found = datasets.load_dataset("parquet", data_files=names, split="train", cache_dir=str(tmp_path / "cache"))
        assert found.num_rows == count and found.column_names == schema.names
    assert {path.name.partition("-")[0] for path in corpus.files("windows")} == {"train", "validation"}


def test_the_public_names_are_there_and_the_import_is_light() -> None:
    assert openm3w.__version__ == version("openm3w")
    assert all(getattr(openm3w, name) is not None for name in openm3w.__all__)
    program = "import sys, openm3w; print(sorted({'numpy', 'pyarrow', 'lxml', 'pipeline'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    base = _names(project["dependencies"])
    optional = _names([name for extra, names in extras.items() if extra != "dev" for name in names])
    homes = packages_distributions()
    imported = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for name in _imports(path) - set(sys.stdlib_module_names) - set(PACKAGES):
            found = {_plain(home) for home in homes.get(name, [name])}
            imported |= found & (base | optional) or {name}
    assert imported - base - optional == set()
    assert base - imported == BY_NAME


def _names(requirements: list[str]) -> set[str]:
    return {_plain(re.match(r"[\w.-]+", text)[0]) for text in requirements}  # type: ignore[index]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources: nothing is left behind in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / "source" / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    return _wheel_of(folder / "source", folder)


def _wheel_of(source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (path,) = folder.glob("openm3w-*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*") if path.is_file()}
        assert {file for file in files if "__pycache__" not in file} - held == set()
        assert f"{package}/py.typed" in held


@pytest.mark.parametrize("module", ["openm3w", "pipeline.cli"])
def test_a_wheel_works_from_a_folder_with_files_of_the_same_names(wheel: Path, tmp_path: Path, module: str) -> None:
    """Every command is started as `python -m`, which puts the current folder first."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "unpacked")
    here = tmp_path / "here"
    here.mkdir()
    # a file pipeline.py would hide the package from python -m pipeline.cli before any of it is run
    for name in set(SHADOWS) - ({"pipeline"} if module == "pipeline.cli" else set()):
        (here / f"{name}.py").write_text("raise SystemExit('the wrong module')")

    def m3w(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=here,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "unpacked")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert m3w("--version") == f"openm3w {version('openm3w')}\n"
    if module == "pipeline.cli":
        return
    write_warc(generate(pages=120, seed=5), here / "web.warc.gz")
    m3w("build", "web.warc.gz", "-o", "corpus", "--no-fetch", "--set", "windows.vocabulary=600")
    m3w("verify", "corpus")
    m3w("inspect", "corpus")
    assert (here / "corpus/report.html").exists()


@pytest.mark.slow
def test_a_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Without extras, in a folder with files of the packages' names. Needs a package index, and 1.1 GB of disk."""
    program = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", program], cwd=wheel.parent / "source", check=True, capture_output=True)
    (sdist,) = (wheel.parent / "source/dist").glob("openm3w-*.tar.gz")
    from_sdist = _wheel_of(sdist, tmp_path)
    assert set(zipfile.ZipFile(from_sdist).namelist()) == set(zipfile.ZipFile(wheel).namelist())

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    home, here = tmp_path / "environment", tmp_path / "here"
    here.mkdir()
    for name in SHADOWS:
        (here / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    subprocess.run([sys.executable, "-m", "venv", home], check=True, env=clean)
    subprocess.run([home / "bin/pip", "install", "-q", from_sdist], check=True, env=clean, cwd=here)
    subprocess.run([home / "bin/pip", "check"], check=True, env=clean, cwd=here)

    def m3w(*arguments: str, program: tuple[str, ...] = ("m3w",)) -> str:
        command = [home / "bin" / program[0], *program[1:], *arguments]
        done = subprocess.run(command, cwd=here, env=clean, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert (
        m3w("--version") == m3w("--version", program=("python", "-m", "openm3w")) == f"openm3w {openm3w.__version__}\n"
    )
    write_warc(generate(pages=120, seed=5), here / "web.warc.gz")
    m3w("build", "web.warc.gz", "-o", "corpus", "--no-fetch", "--set", "windows.vocabulary=600")
    assert "is whole" in m3w("verify", "corpus")
    m3w("inspect", "corpus")
    assert (here / "corpus/report.html").exists()
    viewer = subprocess.Popen(
        [home / "bin/m3w", "view", "corpus"], cwd=here, env=clean, stdout=subprocess.PIPE, text=True
    )
    try:
        assert viewer.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/", viewer.stdout.readline())
        assert address is not None

        def ask(page: str) -> str:
            with urllib.request.urlopen(address[0] + page, timeout=60) as response:
                body: str = response.read().decode()
            assert response.status == 200 and "<html" in body
            return body

        document = re.search(r"document/[0-9a-f]{32}", ask("documents"))
        assert document is not None
        for page in ("", "windows", document[0]):
            ask(page)
    finally:
        viewer.terminate()
        viewer.communicate(timeout=60)
