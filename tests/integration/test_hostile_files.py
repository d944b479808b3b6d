"""Files from strangers: nothing in a checkpoint runs, by whatever way it comes in."""

import os
import pickle
import shutil

import mmengine
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.datasets.inspection import draw_samples
from econvnext_mmdet.deploy.export import load_model
from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.inference.inferencer import StrictInferencer
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.weights.checkpoint import read_checkpoint, use_safe_loaders
from econvnext_mmdet.weights.publish import publish

from ..helpers import DEMO, options, tool


class Command:
    """Unpickling it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Variables:
    """Unpickling it gives the variables of one of MMEngine's modules, which a file could then change."""

    def __reduce__(self):
        return getattr, (HistoryBuffer.min, '__globals__')


@pytest.fixture
def marker(tmp_path):
    """A file that the hostile checkpoints write."""
    return tmp_path / 'marker'


@pytest.fixture
def hostile(trained, tmp_path, marker):
    """A training checkpoint of this package with a command among its messages. It is the latest one of a folder."""
    checkpoint = torch.load(trained[0] / 'epoch_2.pth', weights_only=False)
    checkpoint['message_hub']['runtime_info']['note'] = Command(f'touch {marker}')
    folder = tmp_path / 'work'
    folder.mkdir()
    path = folder / 'epoch_2.pth'
    torch.save(checkpoint, path)
    (folder / 'last_checkpoint').write_text(str(path))
    return str(path)


def configured(shapes, tmp_path, **more):
    return load_config(DEMO, {**options(shapes, tmp_path / 'work'), **more})


WAYS = {
    'read': lambda path, cfg: read_checkpoint(path),
    'pretrained': lambda path, cfg: train(cfg, pretrained=path),
    'resume': lambda path, cfg: train(cfg, resume=path),
    'resume the latest': lambda path, cfg: train(cfg, resume='auto'),
    'test': lambda path, cfg: run_test(cfg, path),
    'infer': lambda path, cfg: StrictInferencer(cfg, path, 'cpu'),
    'publish': lambda path, cfg: publish(path, path + '.published.pth'),
    'export': lambda path, cfg: load_model(cfg, path),
    'init_cfg of our backbone': lambda path, cfg: EConvNeXt(
        'mini', init_cfg=dict(type='Pretrained', checkpoint=path)
    ).init_weights(),
}
SETTINGS = {
    'load_from': lambda path: {'load_from': path},
    'init_cfg of the detector': lambda path: {'model.init_cfg': dict(type='Pretrained', checkpoint=path)},
    'init_cfg of the neck': lambda path: {'model.neck.init_cfg': dict(type='Pretrained', checkpoint=path)},
}


@pytest.mark.parametrize('way', WAYS)
def test_no_way_of_opening_a_checkpoint_runs_it(way, hostile, marker, shapes, tmp_path):
    with pytest.raises(UserError, match=r'epoch_2.pth was not loaded: it asks for (posix|nt).system'):
        WAYS[way](hostile, configured(shapes, tmp_path))
    assert not marker.exists()


@pytest.mark.parametrize('setting', SETTINGS)
def test_no_setting_that_names_a_checkpoint_runs_it(setting, hostile, marker, shapes, tmp_path):
    with pytest.raises(UserError, match=r'epoch_2.pth was not loaded: it asks for (posix|nt).system'):
        train(configured(shapes, tmp_path / 'new', **SETTINGS[setting](hostile)))
    assert not marker.exists()


def test_a_checkpoint_cannot_reach_the_variables_of_a_module(trained, tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.zeros(1)), note=Variables()), tmp_path / 'mine.pth')
    with pytest.raises(UserError, match='it asks for min.__globals__'):
        read_checkpoint(str(tmp_path / 'mine.pth'))


@pytest.mark.parametrize(
    'text', ['import os; os.system("touch {}")', 'model = dict(type="os.system", command="touch {}")']
)
def test_the_config_in_a_checkpoint_does_not_run(text, trained, marker, tmp_path):
    """Also not where it is only a list of settings: MMEngine's registries import what a type names."""
    checkpoint = torch.load(trained[0] / 'epoch_2.pth', weights_only=False)
    checkpoint['meta']['cfg'] = text.format(marker)
    torch.save(checkpoint, tmp_path / 'mine.pth')
    with pytest.raises(UserError, match='the config in .*mine.pth was not used.* Give the config .* with --config'):
        publish(str(tmp_path / 'mine.pth'), str(tmp_path / 'out.pth'))
    assert not marker.exists() and not [*tmp_path.glob('out*')]


def test_resuming_does_not_run_the_config_in_a_checkpoint(trained, shapes, marker, tmp_path):
    """MMEngine compares the number of GPUs with that of a config, which it runs."""
    checkpoint = torch.load(trained[0] / 'epoch_2.pth', weights_only=False)
    checkpoint['meta']['config'] = f'import os; os.system("touch {marker}")'
    torch.save(checkpoint, tmp_path / 'mine.pth')
    train(configured(shapes, tmp_path, **{'train_cfg.max_epochs': 3}), resume=str(tmp_path / 'mine.pth'))
    assert (tmp_path / 'work' / 'epoch_3.pth').exists() and not marker.exists()


@pytest.mark.parametrize('use', ['training', 'drawing samples'])
@pytest.mark.parametrize('setting', ['ann_file', 'proposal_file'])
@pytest.mark.parametrize('kind', ['pickled', 'YAML'])
def test_no_file_of_a_dataset_is_run(kind, setting, use, marker, shapes, tmp_path):
    path = tmp_path / ('mine.pkl' if kind == 'pickled' else 'mine.yaml')
    command = f'touch {marker}'
    if kind == 'pickled':
        path.write_bytes(pickle.dumps(Command(command)))
    else:
        path.write_text(f'!!python/object/apply:os.system [{command}]')
    changes = {f'train_dataloader.dataset.{setting}': str(path)}
    if setting == 'ann_file':
        changes['train_dataloader.dataset.type'] = 'BaseDetDataset'
    cfg = configured(shapes, tmp_path, **changes)
    with pytest.raises(UserError, match=f'a {kind} file, such as a config or annotations, was not loaded'):
        train(cfg) if use == 'training' else draw_samples(cfg, str(tmp_path / 'samples.png'))
    assert not marker.exists()


def test_a_config_in_yaml_runs_nothing(marker, tmp_path):
    (tmp_path / 'mine.yaml').write_text(f'model: !!python/object/apply:os.system [touch {marker}]')
    with pytest.raises(UserError, match='cannot read the config .*mine.yaml: .*python/object/apply:os.system'):
        load_config(str(tmp_path / 'mine.yaml'))
    assert not marker.exists()


@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_pickled_arrays_are_read(protocol, tmp_path):
    use_safe_loaders()
    saved = {'data_list': [dict(img_path='a.jpg', boxes=np.arange(8.0).reshape(2, 4), area=np.float32(3), ids=(1, 2))]}
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(saved, protocol))
    assert str(mmengine.load(tmp_path / 'a.pkl')) == str(saved)


@pytest.mark.runs
def test_the_option_trusts_a_checkpoint(hostile, marker, shapes, tmp_path, monkeypatch):
    """Only with the option, and then for MMEngine's loader too."""
    arguments = [DEMO, hostile, '--work-dir', tmp_path / 'test', '--cfg-options']
    arguments += [f'{key}={value}' for key, value in options(shapes, tmp_path / 'test').items()]
    status, _, err = tool('tools/test.py', *arguments)
    assert status == 1 and 'Traceback' not in err and '--trust-checkpoint' in err and not marker.exists()
    status, _, err = tool('tools/test.py', *arguments, '--trust-checkpoint')
    assert status == 0, err
    assert marker.exists()


def test_damage_is_found_by_the_checksums(trained, tmp_path):
    content = bytearray((trained[0] / 'epoch_2.pth').read_bytes())
    for place in range(len(content) // 3, len(content), len(content) // 5):
        content[place] ^= 255
    shutil.copy(trained[0] / 'epoch_2.pth', tmp_path / 'whole.pth')
    (tmp_path / 'mine.pth').write_bytes(content)
    assert read_checkpoint(str(tmp_path / 'whole.pth')).state
    with pytest.raises(UserError, match='mine.pth is damaged'):
        read_checkpoint(str(tmp_path / 'mine.pth'))
