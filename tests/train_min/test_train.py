"""A whole run, from a corpus on disk to result.json, and what it says about bad input."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers

from tests.train_min.conftest import QUICK
from tests.train_min.synthetic import write_corpus
from train_min import TrainError
from train_min.__main__ import main
from train_min.against import run_against
from train_min.arms import Setting
from train_min.data import open_corpus
from train_min.loop import load
from train_min.options import TrainOptions
from train_min.prepare import claim, lm_job, prepare
from train_min.train import run
from train_min.workers import run_jobs


def test_a_run_of_what_a_corpus_or_a_file_was_before_it_was_made_again_is_refused(tmp_path: Path) -> None:
    first, second = write_corpus(tmp_path / "first", 8), write_corpus(tmp_path / "second", 8)
    tokenizer = open_corpus(first).tokenizer
    for other in (None, second):
        out = tmp_path / ("against" if other else "alone")
        for _ in range(2):
            claim(out, open_corpus(first), QUICK, other and open_corpus(other))
            (out / "arms").mkdir(exist_ok=True)
        # the same pages and options, another picture or another tokenizer
        for seed, kept in ((1, tokenizer), (0, None)):
            again = write_corpus(other or first, 8, seed=seed, tokenizer=kept, held_out=3)
            with pytest.raises(TrainError, match=r"before it was made again.*choose another -o, or delete"):
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
        with pytest.raises(TrainError, match="before it was made again"):
            claim(out, open_corpus(first), options)


def test_a_command_that_was_wrong_leaves_no_folder_that_is_taken(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 8), tmp_path / "run"
    with pytest.raises(TrainError, match="no image encoder"):
        run(corpus, out, dataclasses.replace(QUICK, vision="efficientnet"), lambda line: None)
    with pytest.raises(TrainError, match="at least 16 are needed"):
        run(corpus, out, QUICK, lambda line: None)


def test_too_little_data_is_said_so(tmp_path: Path) -> None:
    few = write_corpus(tmp_path / "few", 12)
    with pytest.raises(TrainError, match="training windows, at least 16"):
        run(few, tmp_path / "run", QUICK, lambda line: None)


def test_no_held_out_documents_are_said_so(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 24, held_out=1000)
    documents = corpus / "documents" / "00000.parquet"
    table = pq.read_table(documents).slice(1)
    pq.write_table(table, documents)
    with pytest.raises(TrainError, match=r"windows\.validation"):
        run(corpus, tmp_path / "run", QUICK, lambda line: None)


def test_held_out_pictures_below_their_text_are_said_so(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 40, held_out=3)
    documents = corpus / "documents" / "00000.parquet"
    table = pq.read_table(documents)
    rows = table.to_pylist()
    for row in rows:
        if row["split"] == "validation":
            texts, pictures = ([node for node in row[name] if node is not None] for name in ("texts", "images"))
            row["texts"], row["images"] = [*texts, None], [None] * len(texts) + pictures[:1]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), documents)
    for name in ("pretrained", "contrastive"):
        vision = name if name == "contrastive" else QUICK.vision
        with pytest.raises(TrainError, match="no picture with text behind it in its held-out documents"):
            run(corpus, tmp_path / name, dataclasses.replace(QUICK, vision=vision), lambda line: None)
    with pytest.raises(TrainError, match="no picture with text behind it in its held-out documents"):
        run_against(corpus, corpus, tmp_path / "against", dataclasses.replace(QUICK, seeds=2), lambda line: None)


def test_windows_as_tar_only_are_said_so(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 24)
    manifest = json.loads((corpus / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["path"].startswith("windows/"):
            entry["path"] = entry["path"].replace("parquet", "tar")
            (corpus / entry["path"]).touch()
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrainError, match=r"as tar only.*windows\.formats"):
        run(corpus, tmp_path / "run", QUICK, lambda line: None)


def test_a_handful_of_held_out_documents_is_too_few_to_say(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 60)
    options = dataclasses.replace(QUICK, steps=2, lm_steps=2)
    result = run(corpus, tmp_path / "run", options, lambda line: None)
    assert result.sentence.startswith("too few to say")


def test_the_module_runs_by_itself_and_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere"), "-o", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("train_min: ") and error.count("\n") == 1 and "m3w build" in error
    with pytest.raises(SystemExit) as wrong:
        main([])
    assert wrong.value.code == 2


def fail(number: int, log: Callable[[dict], None]) -> None:
    if number == 3:
        raise TrainError("three is too many")
    if number == 4:
        Path("nowhere/lies.npz").read_bytes()
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    log({"square": number * number})


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_tell_what_they_do_and_their_errors(workers: int) -> None:
    rows: list[dict] = []
    run_jobs(fail, [(1,), (2,), (6,)], workers, rows.append)
    assert sorted(row["square"] for row in rows) == [1, 4, 36]
    if workers == 1:
        with pytest.raises(TrainError, match="three is too many"):
            run_jobs(fail, [(1,), (3,)], workers, rows.append)
    else:
        with pytest.raises(TrainError, match=r"nowhere/lies\.npz: No such file"):
            run_jobs(fail, [(1,), (4,)], workers, rows.append)


def test_a_worker_that_is_killed_ends_the_run_in_one_line() -> None:
    with pytest.raises(TrainError, match="most likely for want of memory"):
        run_jobs(fail, [(1,), (5,)], 2, lambda row: None)


HOLDER = """
import multiprocessing
from train_min.workers import run_jobs

def hold(number, log):
    global lock
    lock = multiprocessing.RLock()  # as a progress bar does
    log(number)

if __name__ == "__main__":
    run_jobs(hold, [(number,) for number in range(4)], 2, print)
"""


def test_workers_give_back_what_they_hold(tmp_path: Path) -> None:
    script, temporary = tmp_path / "holder.py", tmp_path / "t"
    script.write_text(HOLDER)
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, sorted(done.stdout.split()), done.stderr) == (0, ["0", "1", "2", "3"], "")
    assert not [*temporary.glob("pymp-*")]


def test_workers_start_where_the_folder_for_temporary_files_has_a_long_name(tmp_path: Path) -> None:
    """The server that forks workers listens at a socket in it, whose name may have 107 bytes."""
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    program = "from train_min.workers import expect_jobs; print(expect_jobs(2).get_start_method())"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "spawn\n", "")


REFUSER = """
from train_min import TrainError
from train_min.workers import run_jobs

def refuse(jobs, log):
    raise TrainError("no")

if __name__ == "__main__":
    try:
        run_jobs(refuse, [(bytes(1 << 20),)] * 8, 2, print)
    except TrainError as error:
        print(error)
"""


def test_an_error_ends_a_run_whose_jobs_were_not_all_handed_out(tmp_path: Path) -> None:
    script = tmp_path / "refuser.py"
    script.write_text(REFUSER)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no\n", "")


def chatter(number: int, folder: Path, log: Callable[[dict], None]) -> None:
    """Job 0 ends its process once job 1 logs; job 1 logs without a pause for a minute."""
    began = folder / "began"
    if number == 0:
        while not began.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    for step in range(6000):
        log({"step": step})
        began.touch()
        time.sleep(0.01)


def test_a_worker_that_is_killed_is_noticed_while_the_others_talk(tmp_path: Path) -> None:
    rows: list[dict] = []
    with pytest.raises(TrainError, match="most likely for want of memory"):
        run_jobs(chatter, [(0, tmp_path), (1, tmp_path)], 2, rows.append)
    assert 0 < len(rows) < 6000


def test_the_language_model_is_the_same_on_any_number_of_threads(corpus_folder: Path, tmp_path: Path) -> None:
    """It is trained on a worker where there are pictures to encode, else in the main process with all its threads."""
    found, corpus = [], open_corpus(corpus_folder)
    options = dataclasses.replace(QUICK, lm_steps=2, lm_rows=8)
    for threads in (2, 1):
        out = tmp_path / str(threads)
        prepare(corpus, out, options, corpus.tokenizer)
        setting = Setting(out, out, 49, 320, 0, options, options.loop(), "cpu")
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
    source = tmp_path / "lm"
    tokenizer = open_corpus(corpus_folder).tokenizer
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = transformers.LlamaConfig(**size, num_key_value_heads=2, vocab_size=tokenizer.image_id)
    transformers.LlamaForCausalLM(config).save_pretrained(source)
    (source / "tokenizer.json").write_text(tokenizer.json)
    options = dataclasses.replace(QUICK, lm=str(source), every=3, steps=4)
    found, kept = [], []
    for most in (1 << 30, 0):
        monkeypatch.setattr("train_min.prepare.MOST_STATES", most)
        out, lines = tmp_path / str(most), []
        found.append(run(corpus_folder, out, options, lines.append).data)
        assert "99 windows for the language model to read" in lines[0]
        kept.append(sorted(path.name for path in out.glob("data/*.pt")))
    assert kept == [["train-states.pt", "validation-states.pt"], []]
    for name, value in found[0]["nll"].items():
        assert math.isclose(value, found[1]["nll"][name], abs_tol=1e-2)
    assert math.isclose(found[0]["lm_nll"], found[1]["lm_nll"], abs_tol=1e-3)
    assert found[0]["nll"]["true"] < found[0]["lm_nll"] - 0.1


MODULE, CONSOLE = ["-m", "train_min"], ["-c", "from pipeline.cli import main; main()", "train"]


@pytest.mark.parametrize(
    ("program", "number", "moment"),
    [
        (MODULE, signal.SIGINT, "libtorch"),
        (CONSOLE, signal.SIGINT, "forkserver"),
        pytest.param(CONSOLE, signal.SIGTERM, "pictures, ", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_says_so_in_one_line(
    corpus_folder: Path, tmp_path: Path, program: list[str], number: int, moment: str
) -> None:
    """Ctrl-C reaches all processes of a terminal, also one that has only begun to import."""
    temporary = tmp_path / "t"
    temporary.mkdir()
    command = [sys.executable, *program, str(corpus_folder), "-o", str(tmp_path / "run"), "--workers", "2"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    if moment == "pictures, ":
        while moment not in process.stdout.readline():
            assert process.poll() is None
    while moment == "forkserver" and moment not in descendants(process.pid):
        assert process.poll() is None
        time.sleep(0.01)
    while moment == "libtorch" and moment not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=60)
    # of an import that is broken off Python makes the status of the signal, whoever handles the exception
    assert process.returncode in ((1, -number) if program is MODULE else (128 + number,))
    assert error.strip().count("\n") == 0 and ("interrupted" in error or "ended by SIGTERM" in error)
    assert not [*temporary.glob("pymp-*")]


STARTER = """
import os, signal, sys, threading
from train_min import workers

def end(number, frame):
    print("ended by", number)
    sys.exit(7)

def wait(number, log):
    signal.pause()

if __name__ == "__main__":
    workers.PRELOADED = ["imported_slowly"]
    signal.signal(signal.SIGTERM, end)
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGTERM)).start()
    workers.run_jobs(wait, [(1,), (2,)], 2, print)
"""


def test_a_signal_while_workers_start_reaches_its_handler(tmp_path: Path) -> None:
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    (tmp_path / "imported_slowly.py").write_text("import time; time.sleep(2)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (7, f"ended by {signal.SIGTERM}\n", "")


def descendants(pid: int) -> str:
    return subprocess.run(["pgrep", "-a", "-P", str(pid)], capture_output=True, text=True).stdout


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_run(corpus_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train_min", str(corpus_folder), "-o", str(tmp_path / "run"), "--workers", "2"]
    command += ["--lm-steps", "2", "--steps", "2000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "trainings" in line:
            break
    time.sleep(8)

    def children(pid: str) -> list[str]:
        return subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True).stdout.split()

    pids = children(str(process.pid))
    pids += [pid for server in pids for pid in children(server)]
    assert len(pids) >= 4  # a server that forks, a tracker of semaphores, and two workers
    process.kill()
    process.wait()
    time.sleep(2)
    assert not any(Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text() for pid in pids)


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
        (["--ruler", "yardstick"], "no ruler 'yardstick': permutation or placement"),
        (["--device", "tpu"], "no device 'tpu': cpu or cuda"),
        (["--lm", "nowhere.gguf"], "nowhere.gguf"),
        (["--vision", "eyes"], "no image encoder 'eyes'"),
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
    from pipeline.cli import app

    with pytest.raises(SystemExit) as ended:
        app(["train", str(corpus_folder), "-o", str(tmp_path / "run"), *arguments])
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
    assert TrainOptions(next_image=1.0, every=6, seed=0, workers=1, steps=1, latents=1).loop().next_image == 1.0
