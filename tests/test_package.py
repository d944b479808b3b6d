"""The package as others install and import it, and the rules that hold for all of it."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from packaging.requirements import Requirement

import econvnext_mmdet

from .helpers import HIDE, ROOT, as_options, options

TOOLS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'tools').rglob('*.py'))
ABSENT = ['mmcv', 'mmdet', 'mmpretrain', 'torchvision', 'pycocotools', 'safetensors', 'faster_coco_eval']
ALONE = """
import torch
from mmengine.registry import MODELS
import econvnext_mmdet
model = MODELS.build(dict(type='EConvNeXt', arch='mini', widen_factor=0.25))
model.init_weights()
model.eval()
print([out.shape[1] for out in model(torch.rand(1, 3, 32, 32))])
print(sorted(name for name in sys.modules if name in ('mmcv', 'mmdet', 'mmpretrain')))
"""


def python(code, **kwargs):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_and_mmengine_are_enough():
    assert python(HIDE.format(absent=ABSENT) + ALONE).splitlines()[-2:] == ['[24, 48, 96, 192]', '[]']


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree without the links that an installation with -e leaves in it."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    for name in ('econvnext_mmdet', 'configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'model-index.yml'):
        shutil.copy(ROOT / name, source)
    # An earlier build with a module that no longer exists.
    stale = source / 'build' / 'lib' / 'econvnext_mmdet' / 'checkpoint.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
    build = [*pip, 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', folder, '.']
    subprocess.run(build, cwd=source, check=True)
    (path,) = folder.glob('econvnext_mmdet-*.whl')
    return path


@pytest.fixture(scope='module')
def site(wheel):
    """A folder with the installed wheel."""
    target = wheel.parent / 'site'
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
    subprocess.run([*pip, 'install', '--no-deps', '--target', target, wheel], check=True)
    return target


def test_the_wheel_is_complete(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith('METADATA'))
    package = ROOT / 'econvnext_mmdet'
    files = {str(path.relative_to(ROOT)) for path in package.rglob('*.py') if '.mim' not in path.parts}
    for folder in ('configs', 'tools'):
        for path in (ROOT / folder).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                files.add(f'econvnext_mmdet/.mim/{path.relative_to(ROOT)}')
    files |= {'econvnext_mmdet/.mim/model-index.yml', 'econvnext_mmdet/reports/templates/report.html'}
    assert {name for name in names if '.dist-info/' not in name} == files
    # Neither torch nor OpenCV nor a distribution of OpenMMLab: they come in several distributions.
    assert re.findall('Requires-Dist: (.*)', metadata) == [
        'faster-coco-eval',
        'filelock',
        'matplotlib',
        'numpy',
        'pycocotools',
        'rich',
        'safetensors',
        'jinja2; extra == "report"',
        'psutil; extra == "benchmark"',
        'timm; extra == "benchmark"',
        *(f'{name}; extra == "deploy"' for name in ('nncf', 'onnx', 'onnxscript', 'onnxruntime', 'openvino')),
    ]
    assert f'Version: {econvnext_mmdet.__version__}' in metadata
    assert 'Requires-Python: >=3.10' in metadata


@pytest.mark.runs
def test_the_installed_wheel_trains_in_another_folder(site, shapes, tmp_path):
    """It uses a config of the package by name, and a tool of the package."""
    (tmp_path / 'mine.py').write_text("_base_ = 'econvnext_mmdet::demo/retinanet_e_convnext_mini_shapes.py'\n")
    changes = {**options(shapes, 'work'), 'train_cfg.max_epochs': 1, 'train_dataloader.batch_size': 12}
    tool = site / 'econvnext_mmdet' / '.mim' / 'tools' / 'train.py'
    done = subprocess.run(
        [sys.executable, tool, 'mine.py', *as_options(changes)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(site)},
    )
    assert done.returncode == 0, done.stderr
    assert 'Epoch(train) [1][1/1]' in done.stdout + done.stderr and (tmp_path / 'work' / 'epoch_1.pth').is_file()
    code = 'import econvnext_mmdet; print(econvnext_mmdet.__file__)'
    where = python(code, cwd=tmp_path, env={'PYTHONPATH': str(site)})
    assert where.splitlines()[-1].startswith(str(site))


def test_mmengine_finds_the_configs_by_name():
    name = 'retinanet/retinanet_e-convnext-tiny_fpn_1x_coco.py'
    cfg = get_config(f'econvnext_mmdet::{name}')
    assert cfg.to_dict() == Config.fromfile(ROOT / 'configs' / name).to_dict()


def test_the_version_is_the_same_everywhere():
    assert f'\nversion: {econvnext_mmdet.__version__}\n' in (ROOT / 'CITATION.cff').read_text()
    assert f'\n## {econvnext_mmdet.__version__}' in (ROOT / 'CHANGELOG.md').read_text().replace('[', '')


def test_the_stack_under_test_is_installed():
    """The tests run with the versions in requirements/. The lock of Python 3.11 has all but setuptools and wheel."""
    stack = os.environ.get('STACK')
    locked = (ROOT / 'requirements' / 'lock.txt').read_text().lower().replace('_', '-').splitlines()
    for file in (f'stacks/{stack}.txt' if stack else 'stack.txt', 'build.txt', 'dev.txt', 'deploy.txt'):
        for line in (ROOT / 'requirements' / file).read_text().splitlines():
            if not line or line.startswith('#'):
                continue
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate():
                continue
            name, pinned = requirement.name, str(requirement.specifier)
            assert f'=={version(name).split("+")[0]}' == pinned, name
            # `pip freeze` leaves out setuptools and wheel, so the lock does not name them.
            if not stack and sys.version_info[:2] == (3, 11):
                assert f'{name}{pinned}'.lower().replace('_', '-') in locked or name in ('setuptools', 'wheel'), line


def test_opencv_needs_no_libgl():
    assert 'libGL' not in python("import cv2; print(open('/proc/self/maps').read())")


@pytest.mark.parametrize('target', ['setup', 'demo', 'lint', 'test', 'test-deploy'])
def test_setup_sees_the_gpu_for_every_target(target, tmp_path):
    """Setup builds MMCV's operators for the GPU that it sees. Only the demo and the tests themselves run without it."""
    shutil.copy(ROOT / 'Makefile', tmp_path)
    for path in (
        'requirements/stack.txt',
        'requirements/build.txt',
        'requirements/dev.txt',
        'requirements/deploy.txt',
        'requirements/lock.txt',
        'setup.py',
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / 'requirements' / 'setup_env.sh').write_text('echo "${CUDA_VISIBLE_DEVICES-all}" >seen; exit 3')
    env = {key: value for key, value in os.environ.items() if key not in ('CUDA_VISIBLE_DEVICES', 'MAKEFLAGS')}
    assert subprocess.run(['make', target], cwd=tmp_path, env=env, capture_output=True).returncode
    assert (tmp_path / 'seen').read_text() == 'all\n'


def test_a_tool_runs_without_naming_python():
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    tool = ROOT / 'tools' / 'train.py'
    done = subprocess.run([tool, '--help'], capture_output=True, text=True, env={**os.environ, 'PATH': path})
    assert done.returncode == 0 and 'usage' in done.stdout


@pytest.mark.parametrize('tool', TOOLS)
def test_a_tool_is_executable_and_has_help(tool, monkeypatch, capsys):
    path = ROOT / tool
    assert os.access(path, os.X_OK) and path.read_text().startswith('#!/usr/bin/env python\n')
    spec = importlib.util.spec_from_file_location('tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    with pytest.raises(SystemExit) as caught:
        module.parse_args()
    assert caught.value.code == 0 and 'usage' in capsys.readouterr().out
    # Its own example names the right path.
    assert f'{tool} ' in f'{module.__doc__.splitlines()[0]} '


def test_docstrings_leave_types_to_the_signatures():
    for path in (ROOT / 'econvnext_mmdet').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                typed = re.findall(r'^ +\**\w+ \([^)]*\): ', ast.get_docstring(node) or '', re.M)
                assert not typed, f'{path}: {typed}'


@pytest.mark.parametrize('tool', TOOLS)
def test_a_tool_holds_no_logic(tool):
    """It parses and calls: it defines only parse_args and main."""
    defined = {
        node.name
        for node in ast.walk(ast.parse((ROOT / tool).read_text()))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    assert defined == {'parse_args', 'main'}
