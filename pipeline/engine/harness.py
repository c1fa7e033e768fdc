"""Beam's worker, one of its internal names (see beam_internals.py): what a forked process runs."""

from apache_beam.runners.worker.sdk_worker import SdkHarness


def run_harness(address: str, worker: str) -> None:
    """Serves as a worker of the pipeline at an address until it is over."""
    SdkHarness(address, worker_id=worker).run()
