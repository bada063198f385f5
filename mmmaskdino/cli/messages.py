"""Errors that a person can fix, without the traceback that only programmers can read."""

from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """What a person has to fix; printed as it is."""


@contextmanager
def errors_as_messages(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of some kinds into messages.

    Args:
        kinds: Exception classes that carry a message for people.

    Raises:
        CommandError: In the place of such an error.
    """
    try:
        yield
    except BrokenPipeError:  # an OSError, but nobody is there to read of it
        raise
    except kinds as error:
        raise CommandError(str(error)) from error
