"""The libraries of the extras. They are imported only where they are needed."""

from importlib import import_module
from types import ModuleType

from ..utils.errors import UserError


def library(name: str, extra: str = 'deploy') -> ModuleType:
    """Import a library of an extra, or a module of it.

    Args:
        name: The name of the library or module.
        extra: The extra that installs it. Defaults to 'deploy'.

    Raises:
        UserError: It is not installed, or it does not import.
    """
    try:
        return import_module(name)
    except Exception as error:  # a broken installation can raise anything
        reason = 'is not installed' if isinstance(error, ModuleNotFoundError) else f'does not import: {error}'
        raise UserError(
            f'{name} {reason}. It belongs to the extra {extra}: run pip install "econvnext_mmdet[{extra}]", or in a '
            f'checkout pip install -e ".[{extra}]"'
        ) from error
