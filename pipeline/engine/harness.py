"""Beam's worker harness, a private name (see beam_internals.py), which forked processes run."""

from apache_beam.runners.worker.sdk_worker import SdkHarness


def run_harness(address: str, worker: str) -> None:
    """Serve the pipeline at an address as a worker until it ends."""
    SdkHarness(address, worker_id=worker).run()
