"""A build on a named runner: Beam's own job service, used like a cluster's."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from tests.corpora import digests, start_build


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    port = tmp_path / "port"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    service = subprocess.Popen([*command, "--port=0", f"--port_file={port}"], stderr=subprocess.DEVNULL)
    while not (port.exists() and port.read_text()):
        assert service.poll() is None
        time.sleep(0.1)
    yield f"127.0.0.1:{port.read_text()}"
    service.kill()
    service.wait()


def named(endpoint: str) -> list[str]:
    return ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]


def states(endpoint: str) -> list[str]:
    """The state of each job now."""
    with grpc.insecure_channel(endpoint) as channel:
        jobs = beam_job_api_pb2_grpc.JobServiceStub(channel).GetJobs(beam_job_api_pb2.GetJobsRequest())
    return [beam_job_api_pb2.JobState.Enum.Name(job.state) for job in jobs.job_info]


def end_of_last_job(endpoint: str) -> str:
    """How the last job ended. Not its state now: this service lets a cancelled job's thread set others after it."""
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        last = service.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info[-1].job_id
        stream = service.GetStateStream(beam_job_api_pb2.GetJobStateRequest(job_id=last), timeout=30)
        return [beam_job_api_pb2.JobState.Enum.Name(event.state) for event in stream][-1]


def test_a_named_runner_gives_the_same_bytes(
    web_warc: Path, tmp_path: Path, endpoint: str, expected: dict[str, str]
) -> None:
    build = start_build([web_warc], tmp_path / "corpus", beam_options=named(endpoint))
    _, errors = build.communicate(timeout=300)
    assert build.returncode == 0, errors
    assert digests(tmp_path / "corpus") == expected
    assert set(states(endpoint)) == {"DONE"} and len(states(endpoint)) > 10


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
