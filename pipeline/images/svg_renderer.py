"""Run as a program: SVG on standard input to PNG on standard output; the arguments are width, height and font.

Before parsing anything the process limits its memory and time and gives up new processes and all file descriptors but
one, which resvg needs for the font. Imports nothing of this package: it starts in 60 ms."""

import os
import resource
import sys

import resvg_py

FAMILY, KINDS = "Aileron", ("serif", "sans_serif", "cursive", "fantasy", "monospace")
SECONDS, MEMORY = 5, 1 << 30
LIMITS = {
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_CPU: SECONDS,
    resource.RLIMIT_AS: MEMORY,
}


def main() -> int:
    svg = sys.stdin.buffer.read().decode()
    width, height, font = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 1, spare + 1))
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))
    across, down = (width, None) if width >= height else (None, height)
    families = dict.fromkeys((*(f"{kind}_family" for kind in KINDS), "font_family"), FAMILY)
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg,
            skip_system_fonts=True,
            font_files=[font],
            dpi=96,
            width=across,
            height=down,
            **families,  # type: ignore[arg-type]
        )
    except ValueError as error:
        sys.stderr.write(str(error))
        return 1
    sys.stdout.buffer.write(png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
