"""Errors of libraries in one line."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 200 characters of it; the error's type if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
