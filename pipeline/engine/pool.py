"""`m3w worker-pool`: starts workers for a cluster's task managers, as warm forks.

Beam's own worker pool keeps workers by id alone. The task managers of a host all call theirs "1-1", so that one of them
ends the worker of another, and jobs are restarted. Here no worker is ended by a request: a worker ends by itself when
its task manager closes the control stream, or dies.
"""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from pipeline.engine.workers import WorkerPool
from pipeline.errors import BuildError

HOST = "127.0.0.1"
"""The pool runs the code of anyone who can connect: it serves the task managers of its own host only."""


class _Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def StartWorker(
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: object
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        self._pool.start(request.worker_id, request.control_endpoint.url, lambda status, pid: None)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(
        self, request: beam_fn_api_pb2.StopWorkerRequest, context: object
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        return beam_fn_api_pb2.StopWorkerResponse()


def serve(port: int, log: Path, preload: str) -> tuple[grpc.Server, int]:
    """Start a pool at a port of 127.0.0.1, 0 for a free one. Returns the server, which runs until the process ends, and
    its port. `log` gets what workers write to stderr. Raises BuildError if the port is taken."""
    try:
        socket.create_server((HOST, port)).close()  # gRPC would print a line of its own
    except OSError as error:
        raise BuildError(f"port {port} of {HOST}: {os.strerror(error.errno or 0)}; choose another --port") from None
    pool = WorkerPool(log, preload)  # before gRPC starts threads
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(_Pool(pool), server)
    bound = server.add_insecure_port(f"{HOST}:{port}")
    server.start()
    return server, bound
