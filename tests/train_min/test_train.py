"""A whole run, from a corpus on disk to result.json, and its errors for bad input."""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.cli.commands import run as run_command
from tests.train_min.conftest import QUICK
from tests.train_min.synthetic import rewrite, write_corpus
from tests.train_min.test_lm import small_llama
from train_min import TrainError
from train_min.__main__ import main
from train_min.against import run_against
from train_min.data.windows import check_files, cut_windows, open_corpus, training_windows
from train_min.options import AGAINST, FEW_SHOT, SCORE, TrainOptions
from train_min.train import run
from train_min.training.loop import LoopOptions, load
from train_min.training.prepare import claim, lm_job, prepare
from train_min.training.variants import Setting

DOCUMENTS = "documents/00000.parquet"


def test_a_run_of_what_a_corpus_or_a_file_was_before_it_was_made_again_is_refused(tmp_path: Path) -> None:
    first, second = write_corpus(tmp_path / "first", 8), write_corpus(tmp_path / "second", 8)
    tokenizer = open_corpus(first).tokenizer
    for other in (None, second):
        out = tmp_path / ("against" if other else "alone")
        for _ in range(2):
            claim(out, open_corpus(first), QUICK, other and open_corpus(other))
            (out / "variants").mkdir(exist_ok=True)
        # the same pages and options, another picture or another tokenizer
        for seed, kept in ((1, tokenizer), (0, None)):
            again = write_corpus(other or first, 8, seed=seed, tokenizer=kept, held_out=3)
            with pytest.raises(TrainError, match=r"has changed since.*choose another -o, or delete"):
                claim(out, open_corpus(first), QUICK, other and open_corpus(again))
        write_corpus(other or first, 8)
        claim(out, open_corpus(first), QUICK, other and open_corpus(other))
    # of a run that was stopped before anything was trained nothing is taken over
    stopped = tmp_path / "stopped"
    claim(stopped, open_corpus(first), QUICK, open_corpus(second))
    for name in ("tokenizer.json", "log.jsonl", "data/text.npz"):
        (stopped / name).parent.mkdir(exist_ok=True)
        (stopped / name).write_bytes(b"of the other comparison")
    claim(stopped, open_corpus(first), QUICK)
    assert [path.name for path in stopped.iterdir()] == ["options.json"]
    (tmp_path / "pairs").mkdir()
    (tmp_path / "lm.gguf").write_bytes(b"weights")
    options = dataclasses.replace(QUICK, pairs=str(tmp_path / "pairs"), lm=str(tmp_path / "lm.gguf"))
    for changed in (tmp_path / "lm.gguf", tmp_path / "pairs" / "00000.tar"):
        out = tmp_path / changed.stem
        claim(out, open_corpus(first), options)
        (out / "checkpoint").mkdir()
        claim(out, open_corpus(first), options)
        changed.write_bytes(b"others")
        with pytest.raises(TrainError, match="has changed since"):
            claim(out, open_corpus(first), options)


@pytest.mark.parametrize("path", [DOCUMENTS, "windows/train-00000.parquet", "images/00000.tar", "tokenizer.json"])
def test_a_flipped_bit_is_noticed_before_training(tmp_path: Path, path: str) -> None:
    corpus = write_corpus(tmp_path / "corpus", 24, held_out=3)
    data = bytearray((corpus / path).read_bytes())
    data[data.index(b'"~":') + 1 if path == "tokenizer.json" else len(data) // 2] ^= 1
    (corpus / path).write_bytes(data)
    with pytest.raises(TrainError, match=rf"corpus/{path} is damaged \(the sha256 differs.*run m3w verify"):
        run(corpus, tmp_path / "run", QUICK, lambda line: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("old", "new"), [("tokens = 256", "tokens = 128"), ("tokens", "token"), ("[windows]", "[[")])
def test_a_recipe_that_was_edited_is_noticed_before_training(tmp_path: Path, old: str, new: str) -> None:
    corpus = write_corpus(tmp_path / "corpus", 6, held_out=3)
    recipe = (corpus / "recipe.toml").read_text()
    opened = open_corpus(corpus)
    check_files(opened)
    (corpus / "recipe.toml").write_text(recipe.replace(old, new))
    with pytest.raises(TrainError, match=r"corpus/recipe\.toml"):
        check_files(opened)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], {"seeds": 3, "matrix_rate": 0.06}),
        (["--against", "other"], AGAINST),
        (["--score"], SCORE),
        (["--few-shot"], FEW_SHOT),
        (["--score", "--seeds", "2", "--matrix-rate", "0.06"], {"seeds": 2, "matrix_rate": 0.06}),
        (["--few-shot", "--matrix-rate", "0.06"], {**FEW_SHOT, "matrix_rate": 0.06}),
        (["--few-shot", "--lm", "gpt2"], {**FEW_SHOT, "every": 0}),
        (["--few-shot", "--lm", "gpt2", "--every", "1"], FEW_SHOT),
    ],
)
def test_commands_have_their_own_defaults(
    arguments: list[str], wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[TrainOptions] = []
    runs = (("train", "run"), ("against", "run_against"), ("score", "run_score"), ("fewshot", "run_few_shot"))
    for module, name in runs:
        monkeypatch.setattr(f"train_min.{module}.{name}", lambda *values: given.append(values[-2]))
    with pytest.raises(SystemExit) as stopped:
        run_command(["train", str(tmp_path), *arguments])
    assert stopped.value.code == 0
    assert {name: getattr(given[0], name) for name in wanted} == wanted


def test_a_command_that_was_wrong_leaves_no_folder_that_is_taken(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 8), tmp_path / "run"
    with pytest.raises(TrainError, match="unknown image encoder"):
        run(corpus, out, dataclasses.replace(QUICK, vision="efficientnet"), lambda line: None)
    with pytest.raises(TrainError, match="the minimum is 16"):
        run(corpus, out, QUICK, lambda line: None)


def test_too_little_data_is_said_so(tmp_path: Path) -> None:
    few = write_corpus(tmp_path / "few", 12)
    with pytest.raises(TrainError, match="training windows, the minimum is 16"):
        run(few, tmp_path / "run", QUICK, lambda line: None)


def test_no_held_out_documents_are_said_so(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 24, held_out=1000)
    rewrite(corpus, DOCUMENTS, pq.read_table(corpus / DOCUMENTS).slice(1))
    with pytest.raises(TrainError, match=r"windows\.validation"):
        run(corpus, tmp_path / "run", QUICK, lambda line: None)


def test_held_out_pictures_below_their_text_are_said_so(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 40, held_out=3)
    table = pq.read_table(corpus / DOCUMENTS)
    rows = table.to_pylist()
    for row in rows:
        if row["split"] == "validation":
            texts, pictures = ([node for node in row[name] if node is not None] for name in ("texts", "images"))
            row["texts"], row["images"] = [*texts, None], [None] * len(texts) + pictures[:1]
    rewrite(corpus, DOCUMENTS, pa.Table.from_pylist(rows, table.schema))
    for name in ("pretrained", "contrastive"):
        vision = name if name == "contrastive" else QUICK.vision
        with pytest.raises(TrainError, match="no image followed by text in its held-out documents"):
            run(corpus, tmp_path / name, dataclasses.replace(QUICK, vision=vision), lambda line: None)
    with pytest.raises(TrainError, match="no image followed by text in its held-out documents"):
        run_against(corpus, corpus, tmp_path / "against", dataclasses.replace(QUICK, seeds=2), lambda line: None)


@pytest.mark.parametrize("as_tar", [True, False])
def test_windows_that_are_not_stored_as_parquet_are_cut_from_documents(tmp_path: Path, as_tar: bool) -> None:
    folder = write_corpus(tmp_path / "corpus", 24)
    stored = training_windows(open_corpus(folder), open_corpus(folder).tokenizer, 0)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["path"].startswith("windows/"):
            (folder / entry["path"]).unlink()
            entry["path"] = entry["path"].replace("parquet", "tar") if as_tar else ""
            (folder / entry["path"]).touch()
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"]]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    corpus = open_corpus(folder)
    windows = training_windows(corpus, corpus.tokenizer, 0)
    assert {unit["doc_id"] for unit in windows.units} <= {unit["doc_id"] for unit in stored.units}
    assert len(windows) >= 16 and windows.picture_hashes() <= stored.picture_hashes()
    again = cut_windows(corpus, corpus.tokenizer, "train", corpus.cut, 0)
    assert np.array_equal(windows.tokens, again.tokens)


def test_a_handful_of_held_out_documents_is_too_few_to_say(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 60)
    options = dataclasses.replace(QUICK, steps=2, lm_steps=2)
    lines: list[str] = []
    result = run(corpus, tmp_path / "run", options, lines.append)
    assert result.sentence.startswith("too few to say")
    assert lines[0].startswith(result.sentence) and "Training continues" in lines[0]  # before anything is trained


def test_the_module_runs_by_itself_and_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere"), "-o", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("train_min: ") and error.count("\n") == 1 and "m3w build" in error
    with pytest.raises(SystemExit) as wrong:
        main([])
    assert wrong.value.code == 2


def test_the_language_model_is_the_same_on_any_number_of_threads(corpus_folder: Path, tmp_path: Path) -> None:
    """It is trained on a worker if there are images to encode, else in the main process with all its threads."""
    found, corpus = [], open_corpus(corpus_folder)
    options = dataclasses.replace(QUICK, lm_steps=2, lm_rows=8)
    for threads in (2, 1):
        out = tmp_path / str(threads)
        prepare(corpus, out, options, corpus.tokenizer)
        setting = Setting(out, out, 49, 320, 0, options, LoopOptions.of(options), "cpu")
        torch.set_num_threads(threads)
        lm_job(setting, lambda row: None)
        assert torch.get_num_threads() == threads
        found.append((load(out / "checkpoint" / "lm.pt")["model"], setting.states("validation")))
    (left, left_states), (right, right_states) = found
    assert all(torch.equal(value, right[name]) for name, value in left.items())
    assert torch.equal(left_states, right_states)


def test_another_language_model_reads_the_windows_once(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the states below the first gated layer kept, and without, a run finds the same."""
    source = small_llama(tmp_path / "lm", open_corpus(corpus_folder).tokenizer, blocks=3)
    options = dataclasses.replace(QUICK, lm=source, every=3, steps=4)
    found, kept = [], []
    for most in (1 << 30, 0):
        monkeypatch.setattr("train_min.training.prepare.MOST_STATES", most)
        out, lines = tmp_path / str(most), []
        found.append(run(corpus_folder, out, options, lines.append).data)
        assert re.search(r", [1-9]\d* windows for the language model to read$", lines[0])
        kept.append(sorted(path.name for path in out.glob("data/*.pt")))
    assert kept == [["train-states.pt", "validation-states.pt"], []]
    for name, value in found[0]["nll"].items():
        assert math.isclose(value, found[1]["nll"][name], abs_tol=1e-2)
    assert math.isclose(found[0]["lm_nll"], found[1]["lm_nll"], abs_tol=1e-3)
    assert found[0]["nll"]["true"] < found[0]["lm_nll"] - 0.1


@pytest.mark.slow
def test_processes_of_torchrun_train_together_as_one_does(corpus_folder: Path, tmp_path: Path) -> None:
    arguments = ["-m", "train_min", str(corpus_folder), "--device", "cpu", "--seeds", "1", "--workers", "1"]
    arguments += ["--steps", "3", "--lm-steps", "2", "--rows", "4", "-o"]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    losses = []
    for name, command in (("one", []), ("two", torchrun)):
        subprocess.run([sys.executable, *command, *arguments, str(tmp_path / name)], check=True, timeout=300)
        data = json.loads((tmp_path / name / "result.json").read_text())
        losses.append([point["loss"]["windows"] for point in data["curves"]["true-0"]])
    assert len(losses[0]) == len(losses[1]) == 3
    # in bfloat16, where one process adds up four rows and each of two processes two
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dose-response", "yardstick"], "unknown dose response 'yardstick': use permutation or placement"),
        (["--device", "tpu"], "unknown device 'tpu': use cpu or cuda"),
        (["--lm", "nowhere.gguf"], "nowhere.gguf"),
        (["--vision", "eyes"], "unknown image encoder 'eyes'"),
        (["--pairs", "."], "m3w export --to pairs"),
        (["--against", "nowhere"], "run m3w build first"),
        (["--seeds", "0"], "--seeds 0: at least 1"),
        (["--seed", "-1"], "--seed -1: at least 0"),
        (["--next-image", "2"], "--next-image 2: a share of the windows, 0 to 1"),
    ],
)
def test_what_is_wrong_with_a_command_is_said_in_one_line(
    corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(["train", str(corpus_folder), "-o", str(tmp_path / "run"), *arguments])
    error = capsys.readouterr().err
    assert ended.value.code == 1 and error.startswith("m3w: ") and says in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("steps", "rows", "seeds", "latents", "resampler_layers", "workers")),
        *((name, 0) for name in ("vision_steps", "lm_steps", "lm_rows")),
        ("every", -1),
        *(("seed", value) for value in (-1, 1 << 32)),
        *((name, value) for name in ("matrix_rate", "gate_rate", "lm_rate") for value in (0.0, math.inf, math.nan)),
        *(("next_image", value) for value in (-0.1, 1.1, math.nan)),
        ("every", 7),
    ],
)
def test_numbers_with_which_nothing_could_be_trained_are_refused(
    corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: float
) -> None:
    flag = f"--{name.replace('_', '-')}"
    assert main([str(corpus_folder), "-o", str(tmp_path / "run"), f"{flag}={value}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"train_min: {flag} ") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_bounds_of_numbers_are_taken() -> None:
    assert (
        LoopOptions.of(TrainOptions(next_image=1.0, every=6, seed=0, workers=1, steps=1, latents=1)).next_image == 1.0
    )


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from pipeline.cli.commands import run
run(["train", *sys.argv[1:]])
"""


def test_help_names_every_option_and_needs_no_torch() -> None:
    def m3w(*arguments: str) -> subprocess.CompletedProcess[str]:
        command, wide = [sys.executable, "-c", WITHOUT_TORCH, *arguments], {**os.environ, "COLUMNS": "300"}
        return subprocess.run(command, env=wide, capture_output=True, text=True, timeout=60)

    shown = m3w("--help")
    rows = {row.split()[1]: row for row in shown.stdout.splitlines() if row.startswith("│ --")}
    assert shown.returncode == 0 and set(rows) >= {"--output", "--against"}
    for option in dataclasses.fields(TrainOptions):
        row = rows[f"--{option.name.replace('_', '-')}"]
        assert "[default: " in row and "." in row.partition("[default")[0], row
    needs = m3w("nowhere")
    assert (needs.returncode, needs.stderr) == (1, "m3w: training needs torch: pip install 'openm3w[train]'\n")


def test_five_seeds_are_trained_where_corpora_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("train_min.against.run_against", lambda a, b, out, options, report: seen.append(options.seeds))
    for arguments in ([], ["--seeds", "3"]):
        with pytest.raises(SystemExit) as ended:
            main([str(tmp_path), "--against", str(tmp_path), *arguments])
        assert ended.value.code == 0
    assert seen == [5, 3]


def test_an_unfinished_corpus_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"has no manifest\.json"):
        open_corpus(tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(TrainError, match="has not finished: rerun its m3w build command"):
        open_corpus(tmp_path)
