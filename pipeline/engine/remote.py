"""Runs a pipeline on the user's Beam runner: one line if it fails, and a job that ends with this program."""

import json
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, PortableOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipeline import signals
from pipeline.engine.beam_internals import silence_reader_threads
from pipeline.errors import BuildError

PATIENCE = 30.0
"""Seconds to wait for the end of a cancelled job. A second signal does not wait."""
BUILD_ERROR = re.compile(r"^pipeline\.errors\.BuildError: (.*?)(?: \[while running .*\])?$", re.M)
RAISED = re.compile(r"^(?!java|org\.|Caused by|Traceback)([A-Za-z_][\w.]*: .*?)(?: \[while running .*\])?$", re.M)


def build_error(error: Exception) -> BuildError | None:
    """The BuildError raised by a DoFn: Beam passes on a worker's exception as the text of its traceback, and adds to
    the message of one in this process."""
    text = f"pipeline.errors.BuildError: {error}" if isinstance(error, BuildError) else str(error)
    found = BUILD_ERROR.findall(text)
    return BuildError(found[-1]) if found else None


def job_options(options: list[str], name: str) -> PipelineOptions:
    """The user's options with the job's name; one given by the user comes before it. A name has at most 63 characters
    and no capitals, as Dataflow demands."""
    parsed = PipelineOptions(options)
    given = parsed.view_as(GoogleCloudOptions).job_name or "m3w"
    plain = re.sub("[^a-z0-9]+", "-", f"{given}-{name}".lower()).strip("-")
    if len(plain) > 63:
        plain = f"{plain[:31].strip('-')}-{plain[-31:].strip('-')}"
    parsed.view_as(GoogleCloudOptions).job_name = plain
    return parsed


def run_job(pipeline: beam.Pipeline, log: Path) -> None:
    """Run a pipeline to its end. SIGINT and SIGTERM cancel its job before they end this program: it would go on
    writing.

    Raises BuildError if the job fails; `log` gets the whole text of an unexpected error, and what workers in this
    process (LOOPBACK) print."""
    job = _Job(pipeline.options)
    silence_reader_threads()
    with log.open("a", encoding="utf8") as file, redirect_stderr(file), job.cancelled_by_signals():
        try:
            job.started(pipeline.run())
            assert job.result is not None
            job.result.wait_until_finish()
        except Exception as error:
            raise build_error(error) or job.failure(error, log) from error


class _Job:
    def __init__(self, options: PipelineOptions) -> None:
        self.name: str = options.view_as(GoogleCloudOptions).job_name
        self.result: PipelineResult | None = None
        self._endpoint: str | None = options.view_as(PortableOptions).job_endpoint
        master = options.get_all_options(retain_unknown_options=True).get("flink_master")
        self._flink = _Flink(master) if master and not str(master).startswith("[") else None
        self._waiting: int | None = None
        self._before: dict[int, Any] = {}
        self._ended = False

    def started(self, result: PipelineResult) -> None:
        """The job has an id now: a signal that came before can cancel it."""
        self.result = result
        if self._waiting is not None:
            self._end(self._waiting, None)

    @contextmanager
    def cancelled_by_signals(self) -> Iterator[None]:
        self._before = {number: signal.signal(number, self._end) for number in signals.ENDING}
        try:
            yield
        finally:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """While the job is being submitted it has no id to cancel: the signal waits for that, a second one does not."""
        if self.result is None and self._waiting is None:
            self._waiting = number
            return
        signals.advise(self._still_there())
        self._restore()
        if self.result is not None:
            # in a separate thread: the interrupted one may be inside gRPC
            cancelling = threading.Thread(target=self._cancel, daemon=True)
            cancelling.start()
            cancelling.join(PATIENCE)
            if self._ended:
                signals.advise(signals.RESUME)
        signal.raise_signal(number)

    def _still_there(self) -> str:
        return f"the job {self.name} may still run: cancel it on the cluster, then rerun the same command to resume"

    def _cancel(self) -> None:
        assert self.result is not None
        with suppress(Exception):  # whatever it is, the user is told to cancel the job
            self.result.cancel()
            while not PipelineState.is_terminal(self.result.state):
                time.sleep(0.1)
            # Flink's job server calls a job cancelled and lets it run on
            if self._flink is not None:
                self._flink.cancel(self.name)
            self._ended = self._flink is not None or self._endpoint is None or not _serves_flink(self._endpoint)

    def failure(self, error: Exception, log: Path) -> BuildError:
        """One line for an error of a job or its service."""
        with log.open("a", encoding="utf8") as file:
            file.write(f"{self.name}\n{error}\n")
        if isinstance(error, grpc.RpcError | grpc.FutureTimeoutError):
            code = error.code().name if isinstance(error, grpc.Call) else "no answer"
            return BuildError(
                f"the job service at {self._endpoint or 'the runner'} failed ({code}); {self._still_there()}"
            )
        lines = str(error).splitlines() or [repr(error)]
        found = RAISED.findall(str(error)) or [f"{type(error).__name__}: {lines[0]}"]
        return BuildError(f"the job {self.name} failed: {found[-1][:300]} ({log} has the rest)")


def _serves_flink(endpoint: str) -> bool:
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        known = service.DescribePipelineOptions(beam_job_api_pb2.DescribePipelineOptionsRequest(), timeout=5)
    return any(option.name == "flink_master" for option in known.options)


@dataclass
class _Flink:
    """Flink's REST service at `--flink_master`."""

    master: str

    def cancel(self, name: str) -> None:
        """Cancel the jobs of a name, and wait for their end. A job may be submitted while its invocation is cancelled,
        so there must be none twice. Raises OSError if nothing answers."""
        none = 0
        while none < 2:
            jobs = json.loads(self._ask("GET", "/jobs/overview"))["jobs"]
            running = [job["jid"] for job in jobs if job["name"] == name and job["end-time"] < 0]
            for job in running:
                self._ask("PATCH", f"/jobs/{job}?mode=cancel")
            none = 0 if running else none + 1
            time.sleep(0.5)

    def _ask(self, method: str, path: str) -> bytes:
        address = self.master if "://" in self.master else f"http://{self.master}"
        with urllib.request.urlopen(urllib.request.Request(address + path, method=method), timeout=10) as answer:
            return answer.read()
