import subprocess
import sys

import pytest

import econvnext_mmdet
from econvnext_mmdet.utils import versions

from ..helpers import ROOT


def test_the_error_for_a_library_that_cannot_be_imported_is_one_line(monkeypatch):
    def fail(name):
        raise AssertionError('MMCV==2.2.0 is used but incompatible.\nPlease install mmcv<2.2.0.')

    monkeypatch.setattr(versions, 'import_module', fail)
    with pytest.raises(ImportError, match=r'does not import: MMCV==2.2.0 is used but incompatible. Please install'):
        versions.check_versions()


@pytest.mark.parametrize(
    'name, version, says',
    [
        ('torch', '1.13.1', 'needs torch 2.4 or later; found 1.13.1'),
        ('mmdet', '2.28.0', 'needs mmdet 3.0 or later; found 2.28.0'),
    ],
)
def test_the_error_for_an_unsupported_version_is_one_line(monkeypatch, name, version, says):
    monkeypatch.setattr(sys.modules[name], '__version__', version)
    with pytest.raises(ImportError) as caught:
        versions.check_versions()
    assert str(caught.value) == f'econvnext_mmdet {econvnext_mmdet.__version__} {says}'


def test_the_error_for_a_missing_library_is_that_of_the_check():
    """No module that the package imports before the check may need a library."""
    hide = (
        'import sys; from importlib.machinery import PathFinder as finder; find = finder.find_spec; '
        "hidden = {'mmengine', 'yaml', 'PIL', 'numpy', 'torch'}; "
        'finder.find_spec = lambda name, *rest: None if name in hidden else find(name, *rest); import econvnext_mmdet'
    )
    ended = subprocess.run([sys.executable, '-c', hide], capture_output=True, text=True, cwd=ROOT)
    assert ended.stderr.rstrip().endswith('needs torch 2.4 or later, which is not installed; install it')
