"""The libraries of the extra ``deploy``. They are imported only where they are needed."""

from importlib import import_module
from types import ModuleType

from ..utils.errors import UserError


def library(name: str) -> ModuleType:
    """Import a library of the extra ``deploy``.

    Raises:
        UserError: It is not installed, or it does not import.
    """
    try:
        return import_module(name)
    except Exception as error:  # a broken installation can raise anything
        reason = 'is not installed' if isinstance(error, ModuleNotFoundError) else f'does not import: {error}'
        raise UserError(
            f'{name} {reason}. It belongs to the extra deploy: run pip install "econvnext_mmdet[deploy]", or in a '
            'checkout pip install -e ".[deploy]"'
        ) from error
