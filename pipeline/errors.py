"""Errors shown to the user in one line, without a traceback."""


class BuildError(Exception):
    """Something outside this program is wrong: an input, an option, the disk. The message names the problem and the
    fix."""

    @classmethod
    def of(cls, error: OSError) -> "BuildError":
        """From an error of the operating system."""
        where = f"{error.filename}: " if error.filename else ""
        return cls(f"{where}{error.strerror or error}; fix this, then rerun the command to resume")
