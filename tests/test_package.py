"""The package as others install and import it."""
import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import econvnext_mmdet
from econvnext_mmdet import requirements

from .conftest import ROOT

ALONE = '''
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('mmcv', 'mmdet', 'mmpretrain', 'torchvision', 'pycocotools'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import importlib.util
find_spec = importlib.util.find_spec
def absent(name, package=None):
    try:
        return find_spec(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = absent
import torch
from mmengine.registry import MODELS
import econvnext_mmdet
model = MODELS.build(dict(type='EConvNeXt', arch='mini', widen_factor=0.25))
model.init_weights()
model.eval()
print([out.shape[1] for out in model(torch.rand(1, 3, 32, 32))])
print(sorted(name for name in sys.modules if name in ('mmcv', 'mmdet', 'mmpretrain')))
'''


def python(code, **kwargs):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_and_mmengine_are_enough():
    assert python(ALONE).splitlines()[-2:] == ['[24, 48, 96, 192]', '[]']


def test_the_wheel_installs_and_imports(tmp_path):
    """All of the package is in the wheel, which requires no torch and no OpenMMLab by name and runs where installed."""
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
    source = tmp_path / 'source'
    shutil.copytree(ROOT / 'econvnext_mmdet', source / 'econvnext_mmdet',
                    ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    subprocess.run([*pip, 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', tmp_path, '.'],
                   cwd=source, check=True)
    (wheel, ) = tmp_path.glob('econvnext_mmdet-*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata, ) = (archive.read(name).decode() for name in names if name.endswith('METADATA'))
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / 'econvnext_mmdet').rglob('*.py')}
    assert {name for name in names if name.endswith('.py')} == sources
    # Neither torch nor a distribution of OpenMMLab's, whose forks have other names.
    assert re.findall('Requires-Dist: (.*)', metadata) == ['faster-coco-eval', 'pycocotools', 'safetensors']
    assert 'econvnext_mmdet/evaluation/templates/report.html' in names
    assert f'Version: {econvnext_mmdet.__version__}' in metadata
    target = tmp_path / 'site'
    subprocess.run([*pip, 'install', '--no-deps', '--target', target, wheel], check=True)
    code = f'import sys; sys.path.insert(0, {str(target)!r}); import econvnext_mmdet; print(econvnext_mmdet.__file__)'
    assert python(code, cwd=tmp_path).splitlines()[-1].startswith(str(target))


def test_a_library_that_does_not_import_gets_one_line(monkeypatch):
    def fail(name):
        raise AssertionError('MMCV==2.2.0 is used but incompatible.\nPlease install mmcv<2.2.0.')
    monkeypatch.setattr(requirements, 'import_module', fail)
    with pytest.raises(ImportError, match=r'does not import: MMCV==2.2.0 is used but incompatible. Please install'):
        requirements.check_versions()


@pytest.mark.parametrize('name, version, says', [
    ('torch', '1.13.1', 'needs torch 2.1 or later; found 1.13.1'),
    ('mmdet', '2.28.0', 'needs mmdet 3.0 or later; found 2.28.0'),
])
def test_an_unsupported_version_gets_one_line(monkeypatch, name, version, says):
    monkeypatch.setattr(sys.modules[name], '__version__', version)
    with pytest.raises(ImportError) as caught:
        requirements.check_versions()
    assert str(caught.value) == f'econvnext_mmdet {econvnext_mmdet.__version__} {says}'


def test_version_is_the_same_everywhere():
    assert f'\nversion: {econvnext_mmdet.__version__}\n' in (ROOT / 'CITATION.cff').read_text()


def test_the_pinned_stack_is_what_is_installed():
    """One environment: what requirements/ pins is what these tests run with."""
    from importlib.metadata import version
    for file in ('stack.txt', 'build.txt', 'dev.txt'):
        for line in (ROOT / 'requirements' / file).read_text().splitlines():
            if line and not line.startswith('#'):
                name, _, pinned = line.partition('==')
                assert version(name).split('+')[0] == pinned, name


def test_opencv_needs_no_libgl():
    assert 'libGL' not in python("import cv2; print(open('/proc/self/maps').read())")


@pytest.mark.parametrize('goal', ['setup', 'demo', 'test'])
def test_setup_sees_the_gpu_whatever_asks_for_it(goal, tmp_path):
    """mmcv's operators are built for the GPU that setup sees; the demo and the tests hide it from themselves alone."""
    (tmp_path / 'tools').mkdir()
    shutil.copy(ROOT / 'Makefile', tmp_path)
    for path in ('requirements/stack.txt', 'requirements/build.txt', 'requirements/dev.txt', 'requirements/lock.txt',
                 'setup.py'):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / 'tools' / 'setup_env.sh').write_text('echo "${CUDA_VISIBLE_DEVICES-all}" >seen; exit 3')
    env = {key: value for key, value in os.environ.items() if key not in ('CUDA_VISIBLE_DEVICES', 'MAKEFLAGS')}
    assert subprocess.run(['make', goal], cwd=tmp_path, env=env, capture_output=True).returncode
    assert (tmp_path / 'seen').read_text() == 'all\n'


@pytest.mark.parametrize('tool', sorted(path.name for path in (ROOT / 'tools').glob('*.py')))
def test_tools_run_by_their_name(tool):
    done = subprocess.run([ROOT / 'tools' / tool, '--help'], capture_output=True, text=True,
                          env={**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'})
    assert done.returncode == 0 and 'usage' in done.stdout


def test_tools_hold_no_logic():
    """They parse and call: besides parse_args and main, tools define nothing."""
    for path in (ROOT / 'tools').rglob('*.py'):
        defined = {node.name for node in ast.walk(ast.parse(path.read_text()))
                   if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assert defined == {'parse_args', 'main'}, path
