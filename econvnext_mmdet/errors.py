"""The one exception for what a user can mend."""


class UserError(ValueError):
    """Its text says what was expected, what was found, where, and what to do; the tools print it alone."""
