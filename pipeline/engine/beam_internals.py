"""The only place, with harness.py, that uses Beam's private names: a local pipeline on our own workers.

tests/engine/test_beam_internals.py lists what is relied on; pyproject.toml pins Beam's minor version for it.
"""

import threading
import traceback
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PipelineOptionsT
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.transforms import environments, userstate

from pipeline.engine.workers import WorkerDied, WorkerPool

WARM_WORKER = "openm3w:env:warm_worker:v1"


@environments.Environment.register_urn(WARM_WORKER, bytes)
class WarmWorkerEnvironment(environments.Environment):
    """Beam's environment type for workers of this process' `WorkerPool`."""

    def __init__(self) -> None:
        super().__init__(capabilities=environments.python_sdk_capabilities(), artifacts=())

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        return WARM_WORKER, b""

    @staticmethod
    def from_runner_api_parameter(
        payload: bytes, capabilities: Any, artifacts: Any, resource_hints: Any, context: Any
    ) -> "WarmWorkerEnvironment":
        return WarmWorkerEnvironment()


@worker_handlers.WorkerHandler.register_environment(WARM_WORKER, bytes)
class WarmWorkerHandler(worker_handlers.GrpcWorkerHandler):
    """Starts a worker of the pool, and fails the pipeline as soon as that worker dies."""

    pool: WorkerPool  # Beam constructs handlers from a URN only: `Runner.run` sets this during a run

    def __init__(self, payload: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._closing = False
        self._ended = threading.Event()
        self.status: int | None = None

    def start_worker(self) -> None:
        self.pool.start(self.worker_id, self.control_address, self._exited)

    def stop_worker(self) -> None:
        if not self._ended.wait(5):
            self.pool.kill(self.worker_id)

    def close(self) -> None:
        self._closing = True
        # Beam closes the control stream first; the worker then ends and may break the data stream, which may or may not
        # be logged as an error
        try:
            self.data_conn.close()
        except Exception:
            if self.status is None:
                raise
        self.control_conn.close()
        self.stop_worker()

    def _exited(self, status: int, pid: int) -> None:
        self.status = status
        self._ended.set()
        if self._closing:
            return
        if self.pool.death is None:
            self.pool.death = (status, pid)
        self._fail(str(WorkerDied(status, pid)))
        for worker in list(self.pool.pids):
            self.pool.kill(worker)

    def _fail(self, message: str) -> None:
        """Fail everything the runner waits for from this worker, now and later."""

        def refuse(request: Any) -> Any:
            if request is not worker_handlers.BeamFnControlServicer._DONE_MARKER:
                raise RuntimeError(message)

        self.control_conn.push = refuse  # type: ignore[method-assign,assignment]
        # not control_conn.abort: a thread waiting for a bundle's output does not notice an aborted future
        for future in list(self.control_conn._futures_by_id.values()):
            future.set(beam_fn_api_pb2.InstructionResponse(error=message))


_inspect_dofn = userstate.get_dofn_specs
_specs_of: dict[tuple[type, Any], tuple[set[Any], set[Any]]] = {}


def _dofn_specs(dofn: beam.DoFn) -> tuple[set[Any], set[Any]]:
    """The state and timers that the methods of a DoFn's class declare, found once: Beam inspects all methods some 900
    times in a small build, half of its time."""
    key = type(dofn), getattr(dofn.process, "__func__", None)
    if key not in _specs_of:
        _specs_of[key] = _inspect_dofn(dofn)
    return _specs_of[key]


userstate.get_dofn_specs = _dofn_specs


class _Options(PipelineOptions):
    """Options whose views are made once: Beam makes an argument parser for each of some 130 views in a pipeline, a
    tenth of a second."""

    def view_as(self, cls: type[PipelineOptionsT]) -> PipelineOptionsT:
        views: dict[type, Any] = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


def local_pipeline(options: list[str], workers: int, pool: WorkerPool | None) -> beam.Pipeline:
    """A pipeline on `workers` processes of the pool; with 0, in this process."""
    if workers:
        assert pool is not None
        WarmWorkerHandler.pool = pool
        environment: environments.Environment = WarmWorkerEnvironment()
    else:
        environment = environments.EmbeddedPythonEnvironment.default()
    parsed = _Options(options)
    parsed.view_as(DirectOptions).direct_num_workers = max(1, workers)
    parsed.view_as(DirectOptions).direct_running_mode = None
    pipeline = beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=parsed)
    Path(pipeline.local_tempdir).rmdir()  # for transforms in other languages alone: a killed build would leave it
    return pipeline


def silence_reader_threads() -> None:
    """Silence, from now on, the tracebacks of Beam's reader threads when a worker dies: the failure itself is raised in
    the main thread. They may come after the end of the job."""
    if threading.excepthook is not _hook:
        global _others
        _others = threading.excepthook
        threading.excepthook = _hook


_others = threading.excepthook


def _hook(failure: threading.ExceptHookArgs) -> None:
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(failure.exc_traceback))
    if not any(module.startswith(("apache_beam", "grpc")) for module in modules):
        _others(failure)
