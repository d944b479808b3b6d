"""The one exception for what a user can mend, and what its texts share."""
from typing import Sequence


class UserError(ValueError):
    """Its text says what was expected, what was found, where, and what to do; the tools print it alone."""


def examples(names: Sequence[str], most: int = 3) -> str:
    """The first names, and dots where there are more."""
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')
