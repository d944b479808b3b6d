"""The one exception for mistakes that a user can fix, and helpers for its messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake that the user can fix.

    The message says what was expected, what was found, where, and what to do. The tools print it without a traceback.
    """


def examples(names: Sequence[str], most: int = 3) -> str:
    """Join the first names with commas, and add dots if there are more.

    Args:
        names: The names.
        most: The number of names to show. Defaults to 3.
    """
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')


@contextmanager
def errors_in(place: str) -> Iterator[None]:
    """Put a place, usually the path of a file, in front of the message of every UserError that the block raises."""
    try:
        yield
    except UserError as error:
        raise UserError(f'{place}: {error}') from None
