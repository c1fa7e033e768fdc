"""Run as a program: `confined.py PROGRAM ARGUMENTS...` runs a program of ours on input that nobody can trust.

PROGRAM imports what it needs. Then the process gives up new processes, files and sockets, and keeps what PROGRAM's
constants say: SECONDS of CPU time, bytes of MEMORY, and FILES, the number of file descriptors it may open. Then `main`
gets ARGUMENTS and returns an exit status. Nothing of this package is imported, so it starts in 60 ms."""

import os
import resource
import runpy
import sys


def main() -> int:
    del sys.argv[0]
    program = runpy.run_path(sys.argv[0])
    spare = os.dup(0)
    os.close(spare)
    files = spare + program["FILES"]
    limits = {
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CPU: program["SECONDS"],
        resource.RLIMIT_AS: program["MEMORY"],
    }
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))
    return int(program["main"](sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
