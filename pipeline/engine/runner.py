"""Chooses where a stage's pipeline runs: in this process, on warm local workers, or on the user's Beam runner.

Never on Beam's DirectRunner: since 2.68 it tries Prism first, which downloads a program at run time and runs all Python
in one process. See docs/ARCHITECTURE.md.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.runner import create_runner

from pipeline.engine.beam_internals import local_pipeline, silence_reader_threads
from pipeline.engine.remote import build_error, job_options, run_job
from pipeline.engine.workers import WorkerDied, WorkerPool
from pipeline.errors import BuildError


@dataclass
class Runner:
    """Runs pipelines according to the user's Beam options.

    `workers` is the number of local worker processes, 0 for none (everything in this process); `remote` is set if a
    Beam runner was named, which then gets all options. `preload` is the module that workers have already imported.
    """

    options: list[str]
    workers: int
    remote: bool
    log: Path
    preload: str
    _pool: WorkerPool | None = field(default=None, repr=False)

    @classmethod
    def from_options(cls, options: list[str], log: Path, cores: int, preload: str) -> "Runner":
        """Raises BuildError for options that Beam does not know, that would lead to Prism, or whose endpoint does not
        answer, for words that are not options, and for worker processes on a system without support."""
        for before, word in pairwise(["", *options]):  # a Beam option takes one value, after a space or a "="
            if not word.startswith("-") and (not before.startswith("-") or "=" in before):
                raise BuildError(f"{word} after -- is not a Beam option; put m3w's own options before --")
        parsed = PipelineOptions(options)
        name = parsed.view_as(StandardOptions).runner
        if name is None:  # a cluster's job service may have options that Beam does not know
            unknown = parsed.get_all_options(retain_unknown_options=True).keys() - parsed.get_all_options().keys()
            if unknown:
                raise BuildError(f"unknown Beam option --{min(unknown)}")
        else:
            _check_runner(name, parsed.view_as(PortableOptions).job_endpoint)
        if name in ("DirectRunner", "PrismRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner"):
            raise BuildError(
                f"--runner={name} is not supported: leave --runner out to run on this machine "
                "(--direct_num_workers=N sets the number of processes), or name a cluster's runner"
            )
        asked = None
        if any(option.split("=")[0] == "--direct_num_workers" for option in options):
            asked = parsed.view_as(DirectOptions).direct_num_workers
        if sys.platform != "linux" and name is None:  # workers die with their parent by Linux's prctl
            if asked not in (None, 1):
                raise BuildError(f"worker processes need Linux, this is {sys.platform}: use --direct_num_workers=1")
            asked = 1
        return cls(options, 0 if asked == 1 else asked or cores, name is not None, log, preload)

    def warm(self) -> None:
        """Start the forking process, which then imports modules in parallel."""
        if self.workers and not self.remote and self._pool is None:
            self._pool = WorkerPool(self.log, self.preload)

    def __enter__(self) -> "Runner":
        self.warm()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _check_pool(self, cause: Exception | None = None) -> None:
        """Raises WorkerDied if a worker died during its work, or the forking process at any time."""
        if self._pool is not None and self._pool.death is not None:
            death, self._pool.death = self._pool.death, None
            raise WorkerDied(*death) from cause

    def worker_pids(self) -> set[int]:
        """The local worker processes now running."""
        return set(self._pool.pids.values()) if self._pool is not None else set()

    @contextmanager
    def pipeline(self, workers: int, name: str) -> Iterator[beam.Pipeline]:
        """A pipeline that runs when the block ends, locally on at most `workers` processes; 0 means this process. A
        cluster shows its `name`.

        Raises WorkerDied, or what a DoFn raised."""
        self._check_pool()
        if self.remote:
            pipeline = beam.Pipeline(options=job_options(self.options, name))
            yield pipeline
            run_job(pipeline, self.log)
            return
        workers = min(workers, self.workers)
        if workers:
            self.warm()
        pipeline = local_pipeline(self.options, workers, self._pool)
        yield pipeline
        silence_reader_threads()
        try:
            pipeline.run().wait_until_finish()
        except (RuntimeError, BuildError) as error:
            self._check_pool(error)
            raise build_error(error) or error from error


def _check_runner(name: str, endpoint: str | None) -> None:
    try:
        create_runner(name)
    except ValueError:
        raise BuildError(f"unknown Beam runner {name}: see Beam's documentation for the names") from None
    if endpoint is None or endpoint == "embed":
        return
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        # Beam would wait 5 minutes and then end with a traceback
        raise BuildError(f"no job service answers at --job_endpoint={endpoint} ({error})") from None
