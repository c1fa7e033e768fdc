"""A build on a named runner: Beam's own job service, used like a cluster's."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import grpc
import psutil
import pytest
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
)

from pipeline.engine.runner import Runner
from pipeline.errors import BuildError
from tests.corpora import M3W, digests, start_build


class Service(NamedTuple):
    endpoint: str
    process: "subprocess.Popen[bytes]"


@pytest.fixture
def endpoint(service: Service) -> str:
    return service.endpoint


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    port = tmp_path / "port"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    service = subprocess.Popen([*command, "--port=0", f"--port_file={port}"], stderr=subprocess.DEVNULL)
    while not (port.exists() and port.read_text()):
        assert service.poll() is None
        time.sleep(0.1)
    yield Service(f"127.0.0.1:{port.read_text()}", service)
    service.kill()
    service.wait()


def named(endpoint: str) -> list[str]:
    return ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]


def states(endpoint: str) -> list[str]:
    """The state of each job now."""
    with grpc.insecure_channel(endpoint) as channel:
        jobs = beam_job_api_pb2_grpc.JobServiceStub(channel).GetJobs(beam_job_api_pb2.GetJobsRequest())
    return [beam_job_api_pb2.JobState.Enum.Name(job.state) for job in jobs.job_info]


def names(endpoint: str) -> list[str]:
    """The name of each job."""
    with grpc.insecure_channel(endpoint) as channel:
        jobs = beam_job_api_pb2_grpc.JobServiceStub(channel).GetJobs(beam_job_api_pb2.GetJobsRequest())
    return [job.pipeline_options["beam:option:job_name:v1"] for job in jobs.job_info]


def end_of_last_job(endpoint: str) -> str:
    """How the last job ended. Not its state now: this service lets a cancelled job's thread set others after it."""
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        last = service.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info[-1].job_id
        stream = service.GetStateStream(beam_job_api_pb2.GetJobStateRequest(job_id=last), timeout=30)
        return [beam_job_api_pb2.JobState.Enum.Name(event.state) for event in stream][-1]


@pytest.fixture
def pool() -> Iterator[tuple[str, int]]:
    """Address and process id of a worker pool."""
    process = subprocess.Popen([*M3W, "worker-pool", "--port=0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1], process.pid
    process.kill()
    process.communicate()


def test_a_named_runner_gives_the_same_bytes(
    web_warc: Path, tmp_path: Path, endpoint: str, pool: tuple[str, int], expected: dict[str, str]
) -> None:
    external = ["--environment_type=EXTERNAL", f"--environment_config={pool[0]}"]
    options = [*named(endpoint)[:-1], *external]
    build = start_build([web_warc], tmp_path / "corpus", beam_options=options)
    _, errors = build.communicate(timeout=300)
    assert build.returncode == 0, errors
    assert digests(tmp_path / "corpus") == expected
    assert set(states(endpoint)) == {"DONE"}
    jobs = ["pages-to-paragraphs", "references-to-site-counts", "split-to-counts", "shards"]
    assert names(endpoint) == [f"m3w-corpus-{job}" for job in jobs]


def test_a_pool_keeps_workers_of_the_same_name(pool: tuple[str, int]) -> None:
    """Every task manager of a host calls its worker 1-1, and ends it when a job is done."""
    with socket.create_server(("127.0.0.1", 0)) as control, grpc.insecure_channel(pool[0]) as channel:
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        start = beam_fn_api_pb2.StartWorkerRequest(worker_id="1-1")
        start.control_endpoint.url = f"127.0.0.1:{control.getsockname()[1]}"
        forking = psutil.Process(pool[1]).children()[0]
        for count in (1, 2):
            stub.StartWorker(start)
            while len(forking.children()) < count:
                time.sleep(0.02)
        workers = forking.children()
        stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"))
        time.sleep(0.3)
        assert forking.children() == workers
    port = pool[0].rpartition(":")[2]
    second = subprocess.run([*M3W, "worker-pool", f"--port={port}"], capture_output=True, text=True, timeout=60)
    line = f"m3w: port {port} of 127.0.0.1: Address already in use; choose another --port\n"
    assert (second.returncode, second.stderr) == (1, line)


def divide(number: int) -> float:
    return 1 / number


def refuse(number: int) -> None:
    raise BuildError(f"{number} is refused")


def test_failures_are_one_line(tmp_path: Path, endpoint: str, capfd: pytest.CaptureFixture[str]) -> None:
    runner = Runner.from_options(named(endpoint), tmp_path / "log", 1, "pipeline.stages.preload")

    def message(work: Callable[[int], object]) -> str:
        with pytest.raises(BuildError) as caught, runner.pipeline(0, "work") as pipeline:
            _ = pipeline | beam.Create([0]) | beam.Map(work)
        return str(caught.value)

    line = f"the job m3w-work failed: ZeroDivisionError: division by zero ({tmp_path / 'log'} has the rest)"
    assert message(divide) == line
    assert "Traceback" in (tmp_path / "log").read_text()
    assert message(refuse) == "0 is refused"
    assert capfd.readouterr() == ("", "")


def test_a_job_service_that_goes_away_is_one_line(web_warc: Path, tmp_path: Path, service: Service) -> None:
    build = start_build([web_warc], tmp_path / "corpus", beam_options=named(service.endpoint))
    while "RUNNING" not in states(service.endpoint):
        time.sleep(0.02)
    service.process.kill()
    _, errors = build.communicate(timeout=60)
    last = errors.splitlines()[-1]
    assert build.returncode == 1 and "Traceback" not in errors
    assert last.startswith(f"m3w: the job service at {service.endpoint} failed (")
    assert "the job m3w-corpus-pages-to-paragraphs may still run: cancel it on the cluster" in last


# a job that is submitted and has not been started is STOPPED
@pytest.mark.parametrize("moment", [pytest.param("STOPPED", marks=pytest.mark.slow), "RUNNING"])
def test_a_signal_ends_the_job_too(web_warc: Path, tmp_path: Path, endpoint: str, moment: str) -> None:
    build = start_build([web_warc], tmp_path / "corpus", beam_options=named(endpoint))
    while not {moment, "RUNNING"} & set(states(endpoint)):
        assert build.poll() is None, build.communicate()[1]
        time.sleep(0.02)
    begin = time.monotonic()
    build.send_signal(signal.SIGINT)
    _, errors = build.communicate(timeout=30)
    assert time.monotonic() - begin < 5
    assert build.returncode == 130
    assert "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("m3w:")]) == 1
    assert end_of_last_job(endpoint) == "CANCELLED"
