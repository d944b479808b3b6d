"""The one exception for mistakes that a user can fix, and a helper for its messages."""

from collections.abc import Sequence


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
