"""Where pipelines run: never on Beam's switching runner, never on Prism."""

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.engine.beam_internals import WARM_WORKER
from pipeline.engine.runner import Runner
from pipeline.errors import BuildError


def runner(tmp_path: Path, *options: str) -> Runner:
    return Runner.from_options(list(options), tmp_path / "log", cores=2, preload="pipeline.stages.preload")


@pytest.mark.parametrize("name", ["DirectRunner", "PrismRunner", "SwitchingDirectRunner"])
def test_a_runner_that_leads_to_prism_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildError, match="is not supported"):
        runner(tmp_path, f"--runner={name}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--direct_num_wrokers=2"], "unknown Beam option --direct_num_wrokers"),
        (["b.warc.gz"], "b.warc.gz after -- is not a Beam option"),
        (["--direct_num_workers=2", "b.warc.gz"], "b.warc.gz after -- is not a Beam option"),
        (["--direct_num_workers", "2", "b.warc.gz"], "b.warc.gz after -- is not a Beam option"),
        (["--runner=NoSuchRunner"], "unknown Beam runner NoSuchRunner"),
        (["--runner=PortableRunner", "--job_endpoint=127.0.0.1:1"], "no job service answers at .*127.0.0.1:1"),
        (["--runner=PortableRunner", "--job_endpoint=nowhere"], "no job service answers"),
    ],
)
def test_options_that_lead_nowhere_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        runner(tmp_path, *options)


def test_the_options_choose(tmp_path: Path) -> None:
    assert (runner(tmp_path).workers, runner(tmp_path).remote) == (2, False)
    assert runner(tmp_path, "--direct_num_workers=5").workers == 5
    assert runner(tmp_path, "--direct_num_workers", "5").workers == 5
    assert runner(tmp_path, "--direct_num_workers=0").workers == 2
    assert runner(tmp_path, "--direct_num_workers=1").workers == 0
    assert runner(tmp_path, "--runner=FlinkRunner").remote


def test_other_systems_have_no_worker_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert runner(tmp_path).workers == runner(tmp_path, "--direct_num_workers=1").workers == 0
    assert runner(tmp_path, "--runner=FlinkRunner").remote
    with pytest.raises(BuildError, match="need Linux, this is darwin: use --direct_num_workers=1"):
        runner(tmp_path, "--direct_num_workers=2")


@pytest.mark.parametrize(("options", "workers"), [(["--direct_num_workers=1"], 0), ([], 1)])
def test_no_pipeline_resolves_to_prism_or_the_switching_runner(
    tmp_path: Path, options: list[str], workers: int
) -> None:
    """A machine with one core has a worker process too, which can be ended where a record hangs."""
    mine = Runner.from_options(options, tmp_path / "log", cores=1, preload="pipeline.stages.preload")
    assert mine.workers == workers
    try:
        with mine.pipeline(mine.workers, "") as pipeline:
            assert type(pipeline.runner) is FnApiRunner
            urns = [environment.urn for environment in environments(pipeline)]
            assert any(urn == WARM_WORKER for urn in urns) == (workers > 0)
            _ = pipeline | beam.Create([1, 2, 3]) | beam.Map(write_pid, folder=str(tmp_path))
    finally:
        mine.close()
    assert len(list(tmp_path.glob("*.pid"))) >= 1


def environments(pipeline: beam.Pipeline) -> list:
    proto = pipeline.to_runner_api(default_environment=pipeline.runner._default_environment)
    return list(proto.components.environments.values())


def write_pid(value: int, folder: str = "") -> int:
    import os

    Path(folder, f"{os.getpid()}.pid").write_text(str(value))
    return value


def test_every_pipeline_of_the_build_is_made_by_the_runner() -> None:
    sources = Path(__file__).resolve().parents[2]
    for package in ("pipeline", "dedup", "filters", "shards"):
        for path in (sources / package).rglob("*.py"):
            if path.name not in ("runner.py", "beam_internals.py"):
                assert "beam.Pipeline(" not in path.read_text() and "TestPipeline" not in path.read_text(), path
