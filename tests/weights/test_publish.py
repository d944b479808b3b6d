import hashlib
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from econvnext_mmdet.engine import testing
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.model import build_model
from econvnext_mmdet.weights.checkpoint import read_checkpoint
from econvnext_mmdet.weights.loading import check_fits, load_backbone
from econvnext_mmdet.weights.publish import publish

from ..helpers import DEMO, ROOT, options, tool


@pytest.fixture(scope='module')
def averaged(shapes, tmp_path_factory):
    """The checkpoint of a training run with an exponential moving average (EMA) of the weights."""
    work_dir = tmp_path_factory.mktemp('published')
    cfg = Config.fromfile(DEMO)
    cfg.merge_from_dict({**options(shapes, work_dir), 'train_cfg.max_epochs': 1})
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    Runner.from_cfg(cfg).train()
    return str(work_dir / 'epoch_1.pth')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_only_the_ema_weights_are_published(averaged, shapes, tmp_path, suffix):
    cfg = load_config(DEMO, options(shapes, tmp_path))
    if suffix == '.pth':
        arguments = [averaged, tmp_path / 'some' / 'net.pth', '--trust-checkpoint']
        status, out, err = tool('tools/model_converters/publish_model.py', *arguments)
        assert status == 0, err
        path = Path(out.splitlines()[-1])
    else:
        path = Path(publish(averaged, str(tmp_path / 'some' / 'net.safetensors'), cfg))
    assert [path] == list((tmp_path / 'some').iterdir())
    digest = re.fullmatch(rf'net-([0-9a-f]{{8}}){suffix}', path.name)[1]
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
    source = torch.load(averaged, weights_only=False)
    found = read_checkpoint(str(path))
    assert set(found.state) == set(source['state_dict'])
    assert all(torch.equal(value, source['state_dict'][key]) for key, value in found.state.items())
    assert list(found.meta['dataset_meta']['classes']) == ['circle', 'square', 'triangle', 'star']
    assert 'hook_msgs' not in found.meta and path.stat().st_size < Path(averaged).stat().st_size / 2
    if suffix == '.pth':
        assert set(torch.load(path, weights_only=False)) == {'meta', 'state_dict'}
    wider = {'model.backbone.widen_factor': 1.0, 'model.neck.in_channels': [192, 384, 768]}
    with pytest.raises(UserError, match='does not fit this RetinaNet'):
        testing.test(load_config(DEMO, {**options(shapes, tmp_path), **wider}), str(path))
    # Publishing again gives the same file.
    assert publish(averaged, str(tmp_path / 'again' / f'net{suffix}'), cfg).endswith(path.name)
    # It has the same permissions as the source file.
    assert path.stat().st_mode & 0o777 == Path(averaged).stat().st_mode & 0o777
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    with pytest.raises(UserError, match='does not match the SHA-256 in its name'):
        read_checkpoint(str(path))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_half_precision_halves_the_file_and_loads_strictly(averaged, shapes, tmp_path, suffix):
    cfg = load_config(DEMO, options(shapes, tmp_path))
    whole, half = (publish(averaged, str(tmp_path / f'net{suffix}'), cfg, half=half) for half in (False, True))
    assert Path(half).stat().st_size < 0.6 * Path(whole).stat().st_size
    source, found = read_checkpoint(whole).state, read_checkpoint(half).state
    floats = {key for key, value in source.items() if value.is_floating_point()}
    assert all(found[key].dtype == torch.half and torch.equal(found[key], source[key].half()) for key in floats)
    assert all(torch.equal(found[key], source[key]) for key in source.keys() - floats)
    model = build_model(cfg)
    check_fits(model, found, half, exact=True)
    load_backbone(model.backbone, half)
    assert all(value.dtype == torch.float32 for value in model.backbone.parameters())
    assert torch.equal(model.backbone.state_dict()['stem.0.conv.weight'], source['backbone.stem.0.conv.weight'].half())
    assert testing.test(cfg, half).keys() == testing.test(cfg, whole).keys()


def test_a_number_that_half_precision_lacks_is_an_error(averaged, shapes, tmp_path):
    checkpoint = torch.load(averaged, weights_only=False)
    checkpoint['state_dict']['backbone.norm1.running_var'] += 1e5
    torch.save(checkpoint, tmp_path / 'large.pth')
    cfg = load_config(DEMO, options(shapes, tmp_path))
    with pytest.raises(UserError, match='large.pth has numbers beyond 65504 in backbone.norm1.running_var, which'):
        publish(str(tmp_path / 'large.pth'), str(tmp_path / 'net.pth'), cfg, half=True)
    assert [path.name for path in tmp_path.iterdir()] == ['large.pth']


@pytest.mark.parametrize('name', ['demo/mask_rcnn_e_convnext_mini_shapes', 'imagenet/e-convnext-mini_16xb64_in1k'])
def test_other_models_can_be_published(tmp_path, name):
    """publish() also compares the outputs of the model before and after, and raises an error if they differ."""
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    cfg.merge_from_dict({'model.backbone.widen_factor': 0.25, 'model.backbone.deepen_factor': 0.34})
    if 'imagenet' in name:
        cfg.merge_from_dict({'model.head.in_channels': 192, 'model.head.num_classes': 10})
    else:
        cfg.merge_from_dict({'model.neck.in_channels': [24, 48, 96, 192]})
    init_default_scope(cfg.default_scope)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'source.pth')
    with pytest.raises(UserError, match='source.pth does not contain the config of its model. Give .* --config'):
        publish(str(tmp_path / 'source.pth'), str(tmp_path / 'net.pth'))
    assert Path(publish(str(tmp_path / 'source.pth'), str(tmp_path / 'net.pth'), cfg)).is_file()


def test_errors_leave_no_file_behind(averaged, tmp_path):
    with pytest.raises(UserError, match='file extension .pth or .safetensors for the published file'):
        publish(averaged, str(tmp_path / 'net.onnx'))
    with pytest.raises(UserError, match='no checkpoint file'):
        publish(str(tmp_path / 'absent.pth'), str(tmp_path / 'net.pth'))
    with pytest.raises(UserError, match='does not fit this RetinaNet'):
        publish(averaged, str(tmp_path / 'net.pth'), Config.fromfile(DEMO))
    for model in (None, 5, {}, {'backbone': {}}):
        with pytest.raises(UserError, match='expected a config with a model, which is a dict with a type; got '):
            publish(averaged, str(tmp_path / 'net.pth'), Config(dict(model=model)))
    assert not list(tmp_path.iterdir())


def test_each_class_of_the_model_has_a_name_of_its_own(averaged, shapes, tmp_path):
    checkpoint = torch.load(averaged, weights_only=False)
    checkpoint['meta']['dataset_meta']['classes'] = tuple('abcdefghi')
    torch.save(checkpoint, tmp_path / 'nine.pth')
    with pytest.raises(UserError, match=r'nine.pth names 9 classes \(a, b, c, d, e, ...\), and its model has 4'):
        publish(str(tmp_path / 'nine.pth'), str(tmp_path / 'net.pth'), load_config(DEMO, options(shapes, tmp_path)))
    checkpoint['meta']['dataset_meta']['classes'] = tuple('abca')
    torch.save(checkpoint, tmp_path / 'nine.pth')
    with pytest.raises(UserError, match="nine.pth has two classes of the name 'a'"):
        publish(str(tmp_path / 'nine.pth'), str(tmp_path / 'net.pth'), load_config(DEMO, options(shapes, tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ['nine.pth']
