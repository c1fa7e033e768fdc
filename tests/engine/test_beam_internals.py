"""What pipeline/engine/beam_internals.py relies on in Beam, name by name: a new version of Beam fails here first."""

import inspect
import os
import threading
from importlib.metadata import version
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import core, environments, userstate

from pipeline.engine.beam_internals import WARM_WORKER, WarmWorkerHandler, local_pipeline, silence_reader_threads


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_version_is_one_that_was_read() -> None:
    assert version("apache-beam").startswith("2.77.")


def test_the_names_that_the_adapter_relies_on_are_there() -> None:
    assert "default_environment" in parameters(FnApiRunner.__init__)
    assert parameters(worker_handlers.GrpcWorkerHandler.__init__) == ["self", "state", "provision_info", "grpc_server"]
    assert {"control_address"} <= set(vars(worker_handlers.GrpcWorkerHandler)) | set(
        worker_handlers.GrpcWorkerHandler.__init__.__code__.co_names
    )
    for name in ("start_worker", "stop_worker", "close"):
        assert callable(getattr(worker_handlers.GrpcWorkerHandler, name))
    assert parameters(SdkHarness.__init__)[1] == "control_address" and "worker_id" in parameters(SdkHarness.__init__)
    assert environments.EmbeddedPythonEnvironment.default() is not None
    assert "error" in beam_fn_api_pb2.InstructionResponse.DESCRIPTOR.fields_by_name


def test_a_control_connection_can_be_refused_and_its_futures_answered() -> None:
    connection = worker_handlers.ControlConnection
    source = inspect.getsource(connection)
    assert "_futures_by_id" in source and "def push(" in source
    assert hasattr(worker_handlers.BeamFnControlServicer, "_DONE_MARKER")
    future = worker_handlers.ControlFuture("1")
    future.set(beam_fn_api_pb2.InstructionResponse(error="gone"))
    assert future.get().error == "gone"


def test_our_workers_are_known_to_beam_by_their_urn() -> None:
    assert worker_handlers.WorkerHandler._registered_environments[WARM_WORKER][0] is WarmWorkerHandler
    assert WARM_WORKER in environments.Environment._known_urns


def test_a_local_pipeline_without_workers_runs_in_this_process() -> None:
    with local_pipeline([], 0, None) as pipeline:
        pids = pipeline | beam.Create([0]) | beam.Map(lambda _: os.getpid())
        assert_that(pids, equal_to([os.getpid()]))
        assert not Path(pipeline.local_tempdir).exists()  # a build that is killed leaves nothing in TMPDIR


class Stateful(beam.DoFn):
    COUNT = userstate.CombiningValueStateSpec("count", sum)

    def process(self, element, count=beam.DoFn.StateParam(COUNT)):  # noqa: B008
        yield element


def test_dofns_are_inspected_once_a_class_and_views_of_options_made_once() -> None:
    for _ in range(2):
        assert core.userstate.get_dofn_specs(Stateful()) == ({Stateful.COUNT}, set())
        assert core.userstate.is_stateful_dofn(Stateful())
        assert not core.userstate.is_stateful_dofn(beam.Map(str).fn)
    options = local_pipeline(["--direct_num_workers=3"], 0, None).options
    view = options.view_as(DirectOptions)
    assert view is options.view_as(DirectOptions) and view.direct_num_workers == 1
    view.direct_num_workers = 2
    assert options.get_all_options()["direct_num_workers"] == 2


def test_failures_of_beams_threads_are_not_shown_and_those_of_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: shown.append(str(failure.exc_value)))
    silence_reader_threads()
    silence_reader_threads()
    module = {"__name__": "apache_beam.runners.worker.data_plane"}
    exec("def read(inputs): inputs()", module)  # its last frame is not Beam's own

    def fail() -> None:
        raise ValueError("gone")

    for target in (lambda: module["read"](fail), fail):  # type: ignore[operator]
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert shown == ["gone"]
