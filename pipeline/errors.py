"""What is shown to the user in one line, instead of a traceback."""


class BuildError(Exception):
    """Something outside this program is wrong: an input, an option, the disk. The message says what and what to do."""
