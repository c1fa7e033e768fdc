"""moto's S3 server on loopback, with one bucket."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import pytest

from tests.ports import reserve

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server(environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """Start the server, and let this process and its children use it. Yields s3://BUCKET."""
    port = reserve()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        try:
            for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint} | dict(environment)).items():
                patch.setenv(name, value)
            _wait_for(port)
            import boto3

            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
            _forget()
            yield "s3://bucket"
        finally:
            _forget()
            server.terminate()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no server at port {port}, process {os.getpid()}")


def _forget() -> None:
    """Let fsspec ask the environment again: it keeps a file system for each set of options."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
