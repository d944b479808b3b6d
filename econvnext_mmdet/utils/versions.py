"""The versions that the package needs, by import name. Upstream OpenMMLab and the OneDL forks share these names."""

from importlib import import_module
from importlib.util import find_spec

from ..version import __version__

# The lowest version of each. torch can load checkpoints of training without running their code since 2.4.
NEEDED = dict(torch='2.4', mmengine='0.10')
IF_INSTALLED = dict(mmcv='2.0', mmdet='3.0')


def check_versions() -> None:
    """Check the installed versions.

    Raises:
        ImportError: A library is missing, too old or broken. The message, one line, says which library it is and
            what was found, and for a missing or old one also which version is needed.
    """
    for name, lowest in {**NEEDED, **IF_INSTALLED}.items():
        if find_spec(name) is None:
            if name in NEEDED:
                raise ImportError(
                    f'econvnext_mmdet {__version__} needs {name} {lowest} or later, which is not installed; install it'
                )
            continue
        try:
            found = import_module(name).__version__
        except Exception as error:  # OpenMMLab's libraries assert each other's versions
            raise ImportError(
                f'econvnext_mmdet {__version__}: {name} is installed but does not import: '
                f'{" ".join(str(error).split())}'
            ) from error
        if _numbers(found) < _numbers(lowest):
            raise ImportError(f'econvnext_mmdet {__version__} needs {name} {lowest} or later; found {found}')


def _numbers(version: str) -> tuple:
    """Major and minor version as numbers."""
    return tuple(int(part) for part in version.split('.')[:2])
