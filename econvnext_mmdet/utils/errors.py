"""The one exception for mistakes that a user can fix, and helpers for its messages."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TypeVar

Name = TypeVar('Name', bound=Hashable)


def printable(text: str) -> str:
    """A text on one line. Names of files and classes may hold line breaks, and codes that a terminal obeys."""
    if text.isprintable():
        return text
    return ''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in text)


class UserError(ValueError):
    """A mistake that the user can fix.

    The message says what was expected, what was found, where, and what to do. The tools print it without a traceback.
    Each argument is one line of it.
    """

    def __str__(self) -> str:
        return '\n'.join(printable(str(line)) for line in self.args)


def examples(names: Sequence[str], most: int = 3) -> str:
    """Join the first names with commas, and add dots if there are more.

    Args:
        names: The names.
        most: The number of names to show. Defaults to 3.
    """
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')


def repeated(names: Iterable[Name]) -> Name | None:
    """The first name that occurs twice, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8. On Linux, a path may have any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_readable(name: object) -> bool:
    """Whether a name is a text with visible characters that can be written as UTF-8.

    JSON and pickles can hold half of a surrogate pair, which no file, font or terminal takes.
    """
    return isinstance(name, str) and bool(name.strip()) and is_utf8(name)


def did_you_mean(name: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """The end of a message about an unknown name.

    Args:
        name: The unknown name.
        known: The known names.
        otherwise: The end if no known name is similar.
        cutoff: How similar a name must be, from 0 to 1. Defaults to 0.6.
    """
    near = get_close_matches(name, known, n=1, cutoff=cutoff)
    return f'did you mean {near[0]!r}?' if near else otherwise


@contextmanager
def errors_in(place: str) -> Iterator[None]:
    """Put a place, usually the path of a file, in front of the message of every UserError that the block raises."""
    try:
        yield
    except UserError as error:
        message, *lines = error.args
        raise UserError(f'{place}: {message}', *lines) from None
