"""Flink and Spark on loopback: their processes, started and ended by the test. Needs Java 17, and the jars that the
Makefile puts into build/."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from pipeline.engine.workers import die_with_parent

HOST = "127.0.0.1"
TASK_MANAGERS = 3
"""Of one slot each: two for jobs of parallelism 2, and a spare one."""
OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.text"),
    *("java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)
"""Packages that Flink and Spark reach into on Java 17."""
JAVA = [
    *("nice", "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED),
]
MEMORY = {
    **{"task.heap.size": "256m", "framework.heap.size": "128m", "framework.off-heap.size": "128m"},
    **{"task.off-heap.size": "64m", "managed.size": "128m", "network.min": "192m", "network.max": "192m"},
    **{"jvm-metaspace.size": "256m", "jvm-overhead.min": "192m", "jvm-overhead.max": "192m"},
}
"""Of a task manager: Flink's own start script computes them, and is not in its package for Python."""


def free_ports(count: int) -> list[int]:
    """Ports that are free at all addresses now: a job server listens at all."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


class Servers:
    """Processes by name, with their output in `folder`, ended when the block ends. They end with this process too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = dict(zip(("job", "artifacts", "expansion", "pool"), free_ports(4), strict=True))

    def __enter__(self) -> Self:
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def begin(self) -> None:
        """Start all processes."""

    def __exit__(self, *exception: object) -> None:
        for name in list(self.running):
            self.kill(name)

    def start(self, name: str, command: Sequence[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def kill(self, name: str) -> None:
        """SIGKILL to a process and its children."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def until(self, what: str, answer: Callable[[], object], seconds: float = 90) -> None:
        """Wait until something is true."""
        end = time.monotonic() + seconds
        while not answer():
            for name, process in self.running.items():
                assert process.poll() is None, f"{name} ended: {(self.folder / f'{name}.log').read_text()[-2000:]}"
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.2)

    def pool(self) -> None:
        port = self.ports["pool"]
        self.start("pool", [sys.executable, "-m", "pipeline.cli", "worker-pool", f"--port={port}"])
        self.until("the worker pool", lambda: self.listening(port))

    @property
    def beam_options(self) -> list[str]:
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={HOST}:{self.ports['job']}",
            f"--artifact_endpoint={HOST}:{self.ports['artifacts']}",
            "--parallelism=2",
            "--environment_type=EXTERNAL",
            f"--environment_config={HOST}:{self.ports['pool']}",
        ]

    def job_server_options(self) -> list[str]:
        ports = {"job": self.ports["job"], "artifact": self.ports["artifacts"], "expansion": self.ports["expansion"]}
        places = [f"--job-host={HOST}", f"--artifacts-dir={self.folder}/artifacts"]
        return [*(f"--{name}-port={port}" for name, port in ports.items()), *places]

    def listening(self, port: int) -> bool:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            return False
        return True


class Flink(Servers):
    """A job manager, task managers, a job server that stages no jars, and a worker pool."""

    def __init__(self, folder: Path, jars: Path) -> None:
        super().__init__(folder)
        self.jars, self.classes = jars, f"{jars}/flink/*:{jars}/beam/*"
        self.log = f"-Dlog4j.configurationFile=file:{folder}/log4j2.properties"
        self.ports |= dict(zip(("rest", "rpc"), free_ports(2), strict=True))
        (folder / "config.yaml").write_text(
            json.dumps(  # YAML too
                {
                    "jobmanager": {
                        "rpc": {"address": HOST, "port": self.ports["rpc"]},
                        "bind-host": HOST,
                        "memory": {"process": {"size": "1024m"}},
                    },
                    "taskmanager": {"bind-host": HOST, "host": HOST, "numberOfTaskSlots": 1},
                    "rest": {"address": HOST, "bind-address": HOST, "port": self.ports["rest"]},
                    "classloader": {"resolve-order": "parent-first"},
                    "heartbeat": {"interval": 1000, "timeout": 6000},
                    # a fixed delay uses up its attempts while a worker pool is started again
                    "restart-strategy": {
                        "type": "exponential-delay",
                        "exponential-delay": {"initial-backoff": "1 s", "max-backoff": "10 s"},
                    },
                    "io": {"tmp": {"dirs": str(folder)}},
                }
            )
        )
        lines = {
            "rootLogger.level": "INFO",
            "rootLogger.appenderRef.c.ref": "C",
            "appender.c.name": "C",
            "appender.c.type": "CONSOLE",
            "appender.c.layout.type": "PatternLayout",
            "appender.c.layout.pattern": "%d{HH:mm:ss.SSS} %-5p %c{1} - %m%n",
        }
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        (folder / "log4j2.properties").write_text(text)

    def begin(self) -> None:
        self._java("job manager", "320m", "runtime.entrypoint.StandaloneSessionClusterEntrypoint")
        for number in range(TASK_MANAGERS):
            self.task_manager(number)
        self.job_server()
        self.pool()
        self.until("task managers", lambda: self.get("/overview")["taskmanagers"] == TASK_MANAGERS)

    def _java(self, name: str, heap: str, main: str, *arguments: str) -> None:
        options = [f"-Xmx{heap}", "-XX:MaxDirectMemorySize=320m", self.log, "-cp", self.classes]
        self.start(name, [*JAVA, *options, f"org.apache.flink.{main}", "--configDir", str(self.folder), *arguments])

    def task_manager(self, number: int) -> None:
        settings = {"cpu.cores": "1", "resource-id": f"tm{number}"}
        settings |= {f"memory.{name}": size for name, size in MEMORY.items()}
        options = [word for name, value in settings.items() for word in ("-D", f"taskmanager.{name}={value}")]
        self._java(f"tm{number}", "384m", "runtime.taskexecutor.TaskManagerRunner", *options)

    def job_server(self) -> None:
        flink = [f"--flink-master={HOST}:{self.ports['rest']}", f"--flink-conf-dir={self.folder}"]
        options = ["-Xmx320m", self.log, "-cp", f"{self.jars}/shadow:{self.classes}"]
        main = "org.apache.beam.runners.flink.FlinkJobServerDriver"
        self.start("job server", [*JAVA, *options, main, *flink, *self.job_server_options()])
        self.until("the job server", lambda: self.listening(self.ports["job"]))

    def get(self, path: str) -> Any:
        """What Flink's REST service answers; an empty overview before it runs."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.ports['rest']}{path}", timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            return {"taskmanagers": 0}

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs of the cluster, oldest first."""
        return sorted(self.get("/jobs/overview")["jobs"], key=lambda job: job["start-time"])

    def running_jobs(self) -> list[dict[str, Any]]:
        return [job for job in self.jobs() if job["end-time"] < 0]

    def cancel_jobs(self) -> None:
        """What `flink cancel` does."""
        for job in self.running_jobs():
            request = urllib.request.Request(
                f"http://{HOST}:{self.ports['rest']}/jobs/{job['jid']}?mode=cancel", method="PATCH"
            )
            urllib.request.urlopen(request, timeout=10).close()
        self.until("no job", lambda: not self.running_jobs())

    def busy(self) -> list[str]:
        """The task managers that have a task."""
        return [one["id"] for one in self.get("/taskmanagers")["taskmanagers"] if one["freeSlots"] == 0]


class Spark(Servers):
    """A job server that runs Spark in its own process, on two cores, and a worker pool."""

    def __init__(self, folder: Path, jars: Path) -> None:
        super().__init__(folder)
        self.jars = jars

    def begin(self) -> None:
        main = ["org.apache.beam.runners.spark.SparkJobServerDriver", "--spark-master-url=local[2]"]
        places = [f"-Dspark.local.dir={self.folder}", "-Dspark.ui.enabled=false", f"-Dspark.driver.bindAddress={HOST}"]
        options = ["-Xmx1g", *places, "-cp", f"{self.jars}/*"]
        self.start("job server", [*JAVA, *options, *main, *self.job_server_options()])
        self.pool()
        self.until("the job server", lambda: self.listening(self.ports["job"]))
