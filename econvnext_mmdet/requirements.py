"""The versions that the package runs with, by import name: upstream OpenMMLab and the OneDL forks share it."""
from importlib import import_module
from importlib.util import find_spec

from .version import __version__

# The lowest version of each; torch 2.1 has the context for recomputation that activation checkpointing needs.
NEEDED = dict(torch='2.1', mmengine='0.10')
IF_INSTALLED = dict(mmcv='2.0', mmdet='3.0')


def check_versions() -> None:
    """Check the installed versions.

    Raises:
        ImportError: One line: which library, which version is expected and which is there.
    """
    for name, lowest in {**NEEDED, **IF_INSTALLED}.items():
        if find_spec(name) is None:
            if name in NEEDED:
                raise ImportError(f'econvnext_mmdet {__version__} needs {name} {lowest} or later; none is installed')
            continue
        try:
            found = import_module(name).__version__
        except Exception as error:  # OpenMMLab's libraries assert the versions of each other
            raise ImportError(f'econvnext_mmdet {__version__}: {name} is installed but does not import: '
                              f'{" ".join(str(error).split())}') from error
        if _numbers(found) < _numbers(lowest):
            raise ImportError(f'econvnext_mmdet {__version__} needs {name} {lowest} or later; found {found}')


def _numbers(version: str) -> tuple:
    """Major and minor version, as numbers."""
    return tuple(int(part) for part in version.split('.')[:2])
