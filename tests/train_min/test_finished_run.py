"""A finished run: its contents, rerunning it, and few-shot accuracy from its folder."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.miniweb import write_questions
from tests.train_min.conftest import QUICK
from train_min import TrainError
from train_min.measuring import evaluate, questions
from train_min.measuring.evaluate import EvaluateOptions, run_evaluate
from train_min.options import Result
from train_min.train import run


@pytest.fixture(scope="module")
def finished(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, list[str]]:
    """A quick run on the synthetic corpus, and the lines that it reported."""
    torch.set_num_threads(1)
    lines: list[str] = []
    return run(corpus_folder, tmp_path_factory.mktemp("runs") / "run", QUICK, lines.append), lines


def test_drawn_pictures_carry_information_and_shuffled_ones_none(finished: tuple[Result, list[str]]) -> None:
    result, lines = finished
    gain, control = result.data["gain"], result.data["control"]
    assert gain["low"] > 0.02
    assert abs(control["value"]) < 0.01
    assert lines[-1] == result.sentence and result.sentence.startswith("images carry 0.")
    assert "a corpus with shuffled images carries" in result.sentence
    assert result.data["penalties"]["documents"]["value"] > gain["value"] / 2


def test_the_result_holds_what_a_report_shows(finished: tuple[Result, list[str]]) -> None:
    result, _ = finished
    data = json.loads((result.folder / "result.json").read_text())
    assert data["sentence"] == result.sentence
    for name in ("gain", "gain_per_byte", "control", "by_distance", "by_language", "by_host", "penalties", "lm_nll"):
        assert data[name], name
    assert data["gain_per_byte"]["value"] < data["gain"]["value"]
    best = data["documents"]["best"][0]
    assert best["gain"] >= data["documents"]["best"][1]["gain"]
    assert set(best["images"][0]) >= {"sha256", "tar", "offset", "length", "url"}
    assert set(data["curves"]) == {"lm-0", "true-0", "reference-0", "control-0"}
    assert len(data["curves"]["true-0"]) == 24
    assert len(data["curves"]["true-0"][0]["gates"]["attention"]) == 1
    assert data["text_drift"] is not None and data["lm_nll"] > 0
    rows = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert sum(row["variant"] == "true" for row in rows) == 24
    assert {"lm.pt", "true-0.pt", "reference-0.pt"} <= {path.name for path in (result.folder / "checkpoint").iterdir()}


def test_a_run_given_again_takes_what_is_there_and_says_the_same(
    finished: tuple[Result, list[str]], corpus_folder: Path, tmp_path: Path
) -> None:
    result, _ = finished
    copied = tmp_path / "run"
    shutil.copytree(result.folder, copied)
    (copied / "variants" / "true-0.npz").unlink()  # as if killed after its training
    lines: list[str] = []
    again = run(corpus_folder, copied, QUICK, lines.append)
    assert "1 (of 3) trainings of 24 steps on 1 processes" in lines
    for name in ("gain", "control", "penalties", "documents", "curves"):
        assert again.data[name] == result.data[name]


def test_a_run_is_evaluated_from_its_folder(finished: tuple[Result, list[str]], task: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="run m3w train first"):
        run_evaluate(tmp_path, task, EvaluateOptions(), lambda line: None)
    folder = finished[0].folder
    lines: list[str] = []
    for mode in ("closed", "greedy", "beam"):
        quick = EvaluateOptions(shots=(0, 4), episodes=3, mode=mode)
        result = run_evaluate(folder, task, quick, lines.append)
        assert [row["shots"] for row in result["rows"]] == [0, 4]
        assert all(0 <= row["accuracy"] <= 1 and row["majority"] == 0.25 for row in result["rows"])
    assert len(lines) == 9 and "commonest label 0.250" in lines[0] and lines[1].startswith(" 4 shots: ")
    (row,) = run_evaluate(folder, task, EvaluateOptions(shots=(32,), episodes=1), lines.append)["rows"]
    assert (row["shots"], row["shown"]) == (32, 23)
    assert lines[-2].startswith("23 shots (32 requested; only 24 images): ")
    with pytest.raises(TrainError, match="--shots is at least 0"):
        run_evaluate(folder, task, EvaluateOptions(shots=(-1,)), lines.append)
    told = finished[0].data["captions"]
    assert len(told) == 12 and len({entry["sha256"] for entry in told}) == 12
    assert any(entry["text"] for entry in told)


def test_a_run_that_has_not_ended_is_not_evaluated(
    finished: tuple[Result, list[str]], task: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished[0].folder, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint" / "true-0.pt"
    torch.save({**torch.load(path), "step": 20}, path)
    with pytest.raises(TrainError, match="stopped after 20 of 24 steps"):
        run_evaluate(tmp_path / "run", task, EvaluateOptions(), lambda line: None)


def test_weights_that_are_not_of_the_runs_options_are_refused_in_one_line(
    finished: tuple[Result, list[str]], task: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished[0].folder, copied, ignore=shutil.ignore_patterns("*.npz", "features"))
    stamp = (copied / "options.json").read_text()
    (copied / "options.json").write_text(stamp.replace('"latents": 16', '"latents": 8'))
    with pytest.raises(TrainError, match="do not match its options") as caught:
        run_evaluate(copied, task, EvaluateOptions(), lambda line: None)
    assert "\n" not in str(caught.value)
    (copied / "checkpoint" / "true-0.pt").write_bytes(b"PK")
    with pytest.raises(TrainError, match="is damaged"):
        run_evaluate(copied, task, EvaluateOptions(), lambda line: None)


@pytest.mark.slow
def test_a_run_on_two_processes_finds_the_same(
    finished: tuple[Result, list[str]], corpus_folder: Path, tmp_path: Path
) -> None:
    result, _ = finished
    options = dataclasses.replace(QUICK, workers=2)
    parallel = run(corpus_folder, tmp_path / "run", options, lambda line: None)
    assert parallel.data["gain"] == result.data["gain"]


def test_another_runs_folder_is_left_alone(
    finished: tuple[Result, list[str]], corpus_folder: Path, tmp_path: Path
) -> None:
    result, _ = finished
    with pytest.raises(TrainError, match=r"other options.*choose another -o"):
        run(corpus_folder, result.folder, dataclasses.replace(QUICK, steps=99), lambda line: None)
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(TrainError, match="is not a run"):
        run(corpus_folder, tmp_path, QUICK, lambda line: None)


def test_grey_pictures_are_asked_too(
    finished: tuple[Result, list[str]], task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = EvaluateOptions(shots=(0,), episodes=4)
    said = {True: "A blue thing.", False: "Nothing, grey."}

    def caption(model, prompts, image_id, eoc_id, length):  # type: ignore[no-untyped-def]
        plain = [bool(prompt.features.float().std() < task_spread) for prompt in prompts]
        return [tokenizer.encode(said[grey]) for grey in plain]

    _, tokenizer, setting = evaluate.load_run(finished[0].folder)
    spreads = [
        float(features.float().std())
        for contents in (evaluate.grey_pictures(), [path.read_bytes() for path in sorted(task.rglob("*.jpg"))])
        for features in evaluate.encode_contents(contents, setting)
    ]
    task_spread = (max(spreads[:16]) + min(spreads[16:])) / 2
    assert max(spreads[:16]) < min(spreads[16:])
    monkeypatch.setattr(evaluate, "greedy", caption)
    lines: list[str] = []
    found = run_evaluate(finished[0].folder, task, options, lines.append)["grey"]
    assert found["labels"] == 4 and found["pictures"] == 16
    assert found["grey"]["open"] == 1.0 and found["task"]["open"] == 0.0
    assert all(0.25 <= found[name]["closed"] <= 1.0 for name in ("grey", "task"))
    assert lines[-1].startswith("grey pictures: 1.000 of captions name a word of a label")


def test_questions_about_two_pictures(
    finished: tuple[Result, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_questions(tmp_path, 8, 0)
    asked = questions.load_questions(tmp_path)
    assert [question.kind for question in asked] == ["three", "larger"] * 4
    assert {question.right for question in asked} == {0, 1}
    larger = asked[1]
    shown = [ink(path) for path in larger.pictures]
    assert shown[larger.right] == max(shown)
    lines: list[str] = []
    rows = questions.run_questions(finished[0].folder, tmp_path, lines.append)["rows"]
    assert [(row["kind"], row["questions"]) for row in rows] == [("three", 4), ("larger", 4)]
    assert all(0 <= row["open"] <= 1 for row in rows) and len(lines) == 2

    def first(model, prompt, answers, image_id):  # type: ignore[no-untyped-def]
        return [0.0, -1.0]

    monkeypatch.setattr(questions, "likelihoods", first)
    rows = questions.run_questions(finished[0].folder, tmp_path, lines.append)["rows"]
    assert [(row["closed"], row["same"]) for row in rows] == [(0.5, 1.0)] * 2
    # a model that looks: the larger shape has more ink
    _, _, setting = evaluate.load_run(finished[0].folder)
    sizes = {
        features.float().numpy().tobytes(): ink(path)
        for path in sorted(tmp_path.glob("*.png"))
        for features in evaluate.encode_contents([path.read_bytes()], setting)
    }
    monkeypatch.setattr(
        questions,
        "likelihoods",
        lambda m, prompt, a, i: [sizes[row.float().numpy().tobytes()] for row in prompt.features],
    )
    rows = questions.run_questions(finished[0].folder, tmp_path, lines.append)["rows"]
    assert (rows[1]["closed"], rows[1]["same"]) == (1.0, 0.0)


def ink(path: Path) -> float:
    """The share of a drawing that is not its ground."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return float((np.abs(pixels - pixels[0, 0]).sum(-1) > 60).mean())


def test_bad_questions_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for line, message in (
        ("{", "line 1"),
        ('{"kind": "x", "images": ["a.png", "b.png"], "question": "?", "right": 0}', "images are two files"),
        ('{"kind": "x", "images": ["a.png"], "question": "?", "right": 0}', "line 1"),
        ('{"kind": "x", "images": ["a.png", "a.png"], "question": "?", "right": 2}', "right is 0 or 1"),
        ("", "has no questions"),
    ):
        (tmp_path / questions.FILE).write_text(f"{line}\n" if line else "")
        with pytest.raises(TrainError, match=message):
            questions.load_questions(tmp_path)
