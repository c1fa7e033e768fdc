"""Which arguments may be addresses in an object store."""

from itertools import pairwise
from typing import Any

import typer

from shards.store import is_address

STORES = ("abfs", "abfss", "az", "gcs", "gs", "hdfs", "oss", "s3", "s3a", "wasb", "wasbs", "webhdfs")
ADDRESSED = {
    "build": ("", "-o", "--output", "--warc-prefix", "--known"),
    "inspect": ("", "--beside"),
    **dict.fromkeys(("verify", "view", "export", "train"), ("",)),
}
"""Arguments of each command that may be addresses in an object store; "" for those without a name."""


def address_refused(app: typer.Typer, arguments: list[str]) -> str | None:
    """Why the first argument is refused that is an address where a path belongs: `Path` would make s3://BUCKET a folder
    named s3:."""
    for before, argument in pairwise(["", *arguments]):
        name, _, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if argument.startswith("-o"):
            name, value = "-o", argument.removeprefix("-o")
        elif not name and before.startswith("-") and "=" not in before and before not in _flags(app, arguments[0]):
            name = before
        scheme, colon, _ = value.partition("://")
        if not colon or not (scheme.lower() in STORES or name in ("-o", "--output")):
            continue
        if not is_address(value):
            return f"{value}: this kind of object store is not supported: use s3://, gs://, or a local path"
        if name not in ADDRESSED.get(arguments[0], ()):
            command = f"m3w {arguments[0]} {name}".rstrip()
            return f"{value}: object stores are not supported by {command}: use a local path"
    return None


def _flags(app: typer.Typer, command: str) -> set[str]:
    """The options of a command that take no value."""
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    parameters = commands[command].params if command in commands else ()
    flags = (one for one in parameters if getattr(one, "is_flag", False))
    return {name for one in flags for name in (*one.opts, *one.secondary_opts)}
