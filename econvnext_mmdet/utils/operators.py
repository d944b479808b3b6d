"""MMCV without its compiled operators.

MMDetection imports MMCV's operators even where it does not use them. If they are not installed, as in MMCV's lite
build, a stand-in takes their place, so that an exported file can be tested and run. Everything that does need an
operator then gets an error in words.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from .errors import UserError

NAME = 'mmcv._ext'


class _MissingOperators(ModuleType):
    """A module in which every operator raises an error when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> None:
            raise UserError(
                f'this needs the operator {name} of MMCV, and MMCV is installed without its operators: install a build '
                'with operators, or use an exported file in place of the checkpoint'
            )

        return missing


def has_operators() -> bool:
    """Whether MMCV's operators are installed."""
    return not isinstance(sys.modules.get(NAME), _MissingOperators)


def replace_missing_operators() -> None:
    """If MMCV is installed without its operators, put a stand-in in their place."""
    if find_spec('mmcv') is not None and NAME not in sys.modules and find_spec(NAME) is None:
        module = _MissingOperators(NAME)
        module.__spec__ = ModuleSpec(NAME, None)  # find_spec() wants one
        sys.modules[NAME] = module
