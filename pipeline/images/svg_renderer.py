"""Run by confined.py: SVG on standard input to PNG on standard output; the arguments are width, height and font."""

import sys

import resvg_py

FAMILY, KINDS = "Aileron", ("serif", "sans_serif", "cursive", "fantasy", "monospace")
SECONDS, MEMORY = 5, 1 << 30
FILES = 1
"""resvg opens the font."""


def main(arguments: list[str]) -> int:
    svg = sys.stdin.buffer.read().decode()
    width, height, font = int(arguments[0]), int(arguments[1]), arguments[2]
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
