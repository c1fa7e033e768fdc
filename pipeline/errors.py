"""What is shown to the user in one line, instead of a traceback."""


class BuildError(Exception):
    """Something outside this program is wrong: an input, an option, the disk. The message says what and what to do."""

    @classmethod
    def of(cls, error: OSError) -> "BuildError":
        """What the operating system refused."""
        where = f"{error.filename}: " if error.filename else ""
        return cls(f"{where}{error.strerror or error}; fix this, then rerun the command to resume")
