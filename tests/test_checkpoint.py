import copy
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner

from econvnext_mmdet import checkpoint
from econvnext_mmdet.checkpoint import Checkpoint, class_layers, load_backbone, read_checkpoint, write_checkpoint
from econvnext_mmdet.errors import UserError

from .conftest import ROOT, options


def save(tmp_path, content, name='checkpoint.pth'):
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


@pytest.fixture
def source(small):
    """A trained backbone's state: every tensor differs from the initial one."""
    model = small()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return model.state_dict()


@pytest.mark.parametrize('layout', ['bare', 'detector', 'wrapped'])
def test_every_tensor_arrives_bit_equal(small, source, tmp_path, layout):
    prefix = dict(bare='', detector='backbone.', wrapped='module.backbone.')[layout]
    content = {prefix + key: value for key, value in source.items()}
    if layout != 'bare':
        content[prefix.replace('backbone.', '') + 'bbox_head.retina_cls.weight'] = torch.zeros(3)
        content = dict(meta=dict(), state_dict=content)
    model = small()
    load_backbone(model, save(tmp_path, content))
    for key, value in model.state_dict().items():
        assert torch.equal(value, source[key]), key


def test_init_cfg_loads_strictly(small, source, tmp_path):
    path = save(tmp_path, source)
    model = small(init_cfg=dict(type='Pretrained', checkpoint=path))
    model.init_weights()
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())
    other = save(tmp_path, {f'teacher.{key}': value for key, value in source.items()}, 'teacher.pth')
    for prefix in ('teacher', 'teacher.'):
        model = small(init_cfg=dict(type='Pretrained', checkpoint=other, prefix=prefix))
        model.init_weights()
        assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())
    wider = small(widen_factor=0.5, init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(UserError, match='of another shape'):
        wider.init_weights()


@pytest.fixture
def logged(monkeypatch):
    """What is logged of loading."""
    lines = []
    monkeypatch.setattr(checkpoint, 'print_log', lambda text, **_: lines.append(text))
    return lines


def test_output_norms_that_the_file_lacks_start_fresh(small, source, tmp_path, logged):
    without = {f'backbone.{key}': value for key, value in source.items() if not key.startswith(('norm0', 'norm3'))}
    without['head.fc.weight'] = torch.zeros(2, 2)
    model = small()
    fresh = copy.deepcopy(model.state_dict())
    load_backbone(model, save(tmp_path, without))
    for key, value in model.state_dict().items():
        expected = fresh if key.startswith(('norm0', 'norm3')) else source
        assert torch.equal(value, expected[key]), key
    assert 'start fresh: norm0, norm3' in logged[0] and 'not used: head' in logged[0]
    assert logged[0].endswith('not used: head')
    count = sum('num_batches_tracked' not in key for key in without) - 1
    assert f'loaded {count} of {count + 8} backbone tensors' in logged[0]
    assert "a classifier's checkpoint" in logged[0]


def test_model_without_output_norms_skips_them(small, source, tmp_path):
    model = small(norm_output=False)
    load_backbone(model, save(tmp_path, source))
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())


def test_stages_after_the_last_output_are_left_out(small, source, tmp_path):
    model = small(out_indices=(1, ))
    load_backbone(model, save(tmp_path, source))
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())


def rename(state):
    state['stages.1.conv1.conv.wieght'] = state.pop('stages.1.conv1.conv.weight')


def drop_a_block(state):
    for key in [key for key in state if key.startswith('stages.3.blocks.0.')]:
        del state[key]


def drop_half_a_norm(state):
    del state['norm2.running_mean']


def reshape(state):
    state['stem.0.conv.weight'] = torch.zeros(18, 4, 4, 4)


@pytest.mark.parametrize('damage, says', [
    (rename, r'1 missing \(stages.1.conv1.conv.weight\), 1 that it does not have \(stages.1.conv1.conv.wieght\)'),
    (drop_a_block, r'16 missing \(stages.3.blocks.0.dwconv.weight, .*, \.\.\.\)'),
    (drop_half_a_norm, r'1 missing \(norm2.running_mean\)'),
    (reshape, r'1 of another shape \(stem.0.conv.weight \(18, 4, 4, 4\) for \(18, 3, 4, 4\)\)'),
])
def test_files_that_do_not_fit_change_nothing(small, source, tmp_path, damage, says):
    damage(source)
    model = small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=says):
        load_backbone(model, save(tmp_path, source))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_deeper_backbones_file_is_refused(small, tmp_path):
    """All of the shallow one's tensors are in it, in the right shapes, and still it is another network."""
    deep = small(deepen_factor=1.)
    with pytest.raises(UserError, match='that it does not have'):
        load_backbone(small(), save(tmp_path, deep.state_dict()))


def test_unreadable_files(small, source, tmp_path):
    with pytest.raises(UserError, match='no checkpoint file .*absent.pth'):
        load_backbone(small(), str(tmp_path / 'absent.pth'))
    path = tmp_path / 'truncated.pth'
    whole = open(save(tmp_path, source), 'rb').read()
    for length in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='cannot read the checkpoint .*truncated.pth'):
            load_backbone(small(), str(path))
    with pytest.raises(UserError, match='holds no tensors'):
        load_backbone(small(), save(tmp_path, dict(state_dict=dict(epoch=3))))


def test_a_partial_load_is_allowed_by_the_config(small, source, tmp_path, logged):
    rename(source)
    reshape(source)
    path = save(tmp_path, source)
    model = small(init_cfg=dict(type='Pretrained', checkpoint=path, allow_partial=True))
    model.init_weights()
    left = {'stages.1.conv1.conv.weight', 'stem.0.conv.weight'}
    for key, value in model.state_dict().items():
        assert (key in left) != torch.equal(value, source.get(key, torch.zeros(1))), key
    assert 'left at initialisation, as the config allows: stages.1.conv1.conv.weight, stem.0.conv.weight' in logged[0]
    with pytest.raises(UserError, match='does not fit'):  # nothing at all is no part
        load_backbone(small(), save(tmp_path, dict(weight=torch.zeros(2))), allow_partial=True)


@pytest.mark.parametrize('names, kind', [
    (['stem.0.weight', 'stages.0.weight', 'norm1.weight'], 'backbone'),
    (['backbone.stem.0.weight'], 'backbone'),
    (['backbone.stem.0.weight', 'head.fc.weight'], 'classifier'),
    (['backbone.stem.0.weight', 'neck.convs.0.weight', 'bbox_head.retina_cls.weight'], 'detector'),
    (['model.0.weight'], 'model'),
])
def test_kinds_of_files(tmp_path, names, kind):
    state = {name: torch.zeros(1) for name in names}
    assert read_checkpoint(save(tmp_path, state)).kind == kind
    averaged = dict(steps=torch.tensor(3), **{f'module.{name}': value for name, value in state.items()})
    found = read_checkpoint(save(tmp_path, averaged))
    assert found.kind == kind and set(found.state) == set(names)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_writing_and_reading(small, source, tmp_path, suffix):
    path = str(tmp_path / 'some' / f'net{suffix}')
    source['stem.0.conv.weight'] = source['stem.0.conv.weight'].to(memory_format=torch.channels_last)
    write_checkpoint(path, Checkpoint(source, dict(classes=['a', 'b'], epoch=3)))
    found = read_checkpoint(path)
    assert found.meta == dict(classes=['a', 'b'], epoch=3)
    for address in (path, f'file:{path}', f'file://{path}'):
        model = small(init_cfg=dict(type='Pretrained', checkpoint=address))
        model.init_weights()
        assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())
    whole = open(path, 'rb').read()
    for length in (0, 7, len(whole) // 2):
        open(path, 'wb').write(whole[:length])
        with pytest.raises(UserError, match=f'cannot read the checkpoint .*net{suffix}'):
            read_checkpoint(path)
    with pytest.raises(UserError, match='no checkpoint file file:/nowhere/net.pth'):
        read_checkpoint('file:/nowhere/net.pth')


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of the folder ``served`` on this machine, and a cache of its own for what is fetched."""
    (tmp_path / 'served').mkdir()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / 'served'))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_addresses_and_hashes(source, tmp_path, server, suffix):
    write_checkpoint(str(tmp_path / f'net{suffix}'), Checkpoint(source, {}))
    content = (tmp_path / f'net{suffix}').read_bytes()
    name = f'net-{hashlib.sha256(content).hexdigest()[:8]}{suffix}'
    (tmp_path / 'served' / name).write_bytes(content)
    (tmp_path / 'served' / f'net-00000000{suffix}').write_bytes(content)
    found = read_checkpoint(f'{server}/{name}').state
    assert all(torch.equal(value, source[key]) for key, value in found.items()) and set(found) == set(source)
    (tmp_path / 'served' / name).unlink()
    read_checkpoint(f'{server}/{name}')  # fetched once
    for path in (f'{server}/net-00000000{suffix}', str(tmp_path / 'served' / f'net-00000000{suffix}')):
        with pytest.raises(UserError, match='net-00000000.* is not the file of that name: its SHA-256 begins with '):
            read_checkpoint(path)
    assert [file.name for file in (tmp_path / 'cache' / 'checkpoints').iterdir()] == [name]
    with pytest.raises(UserError, match='cannot fetch http.*absent-00000000.pth: HTTP Error 404'):
        read_checkpoint(f'{server}/absent-00000000.pth')


def detector(classes=4, **kwargs):
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'retinanet_e_convnext_mini_shapes.py')
    cfg.merge_from_dict({'model.backbone.widen_factor': 0.25, 'model.backbone.deepen_factor': 0.34,
                         'model.neck.in_channels': [48, 96, 192], 'model.bbox_head.num_classes': classes, **kwargs})
    return MODELS.build(cfg.model)


def mask_rcnn(classes):
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'mask_rcnn_e_convnext_mini_shapes.py')
    cfg.merge_from_dict({'model.backbone.widen_factor': 0.25, 'model.backbone.deepen_factor': 0.34,
                         'model.neck.in_channels': [24, 48, 96, 192], 'model.roi_head.bbox_head.num_classes': classes,
                         'model.roi_head.mask_head.num_classes': classes})
    return MODELS.build(cfg.model)


def test_layers_of_other_classes():
    assert class_layers(detector(4), detector(4).state_dict()) == set()
    assert class_layers(detector(4), detector(80).state_dict()) == {
        'bbox_head.retina_cls.weight', 'bbox_head.retina_cls.bias'}
    assert class_layers(mask_rcnn(3), mask_rcnn(80).state_dict()) == {
        f'roi_head.{name}.{kind}' for kind in ('weight', 'bias')
        for name in ('bbox_head.fc_cls', 'bbox_head.fc_reg', 'mask_head.conv_logits')}
    other = mask_rcnn(80).state_dict()
    other['roi_head.bbox_head.fc_cls.weight'] = other['roi_head.bbox_head.fc_cls.weight'][:60]  # of 59 classes, not 80
    assert class_layers(mask_rcnn(3), other) == set()
    assert class_layers(detector(4), detector(80, **{'model.neck.out_channels': 192}).state_dict()) == set()


@pytest.fixture
def runner(shapes, tmp_path):
    """Builds the runner of the demo on a small detector."""
    def build(changes=None, ema=False):
        cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'retinanet_e_convnext_mini_shapes.py')
        cfg.merge_from_dict({**options(shapes, tmp_path / 'work'), **(changes or {})})
        if ema:
            cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
        return Runner.from_cfg(cfg)
    return build


def test_load_from_is_strict(runner, tmp_path, logged):
    before = detector().state_dict()
    path = save(tmp_path, dict(state_dict=before, meta={}))
    running = runner(dict(load_from=path), ema=True)
    running.call_hook('before_run')
    running.load_or_resume()
    assert all(torch.equal(value, before[key]) for key, value in running.model.state_dict().items())
    assert f'{len([k for k in before if "num_batches" not in k])} of ' in logged[-1] and path in logged[-1]
    for content, says in (
            ({key: value for key, value in before.items() if 'fpn_convs.1' not in key}, 'missing .neck.fpn_convs.1'),
            ({**before, 'neck.fpn_convs.9.conv.weight': torch.zeros(1)}, '1 that it does not have .neck.fpn_convs.9'),
            (detector(**{'model.bbox_head.feat_channels': 48}).state_dict(), 'of another shape'),
            ({k: v for k, v in before.items() if k.startswith('backbone')}, "is a backbone's checkpoint, and a whole "),
            ({**{k: v for k, v in before.items() if k.startswith('backbone')}, 'head.fc.weight': torch.zeros(1)},
             "is a classifier's checkpoint, and a whole RetinaNet is to be loaded; .* --pretrained")):
        running = runner(dict(load_from=save(tmp_path, content)))
        own = copy.deepcopy(running.model.state_dict())
        running.call_hook('before_run')
        with pytest.raises(UserError, match=says):
            running.load_or_resume()
        assert all(torch.equal(value, own[key]) for key, value in running.model.state_dict().items())
    wrong = tmp_path / 'net-00000000.pth'
    torch.save(before, wrong)
    with pytest.raises(UserError, match='is not the file of that name'):
        runner(dict(load_from=str(wrong))).call_hook('before_run')


def test_load_from_for_other_classes_and_in_part(runner, tmp_path, logged):
    eighty = detector(80).state_dict()
    running = runner(dict(load_from=save(tmp_path, eighty)), ema=True)
    fresh = copy.deepcopy(running.model.state_dict())
    running.call_hook('before_run')
    running.load_or_resume()
    for key, value in running.model.state_dict().items():
        assert torch.equal(value, fresh[key] if 'retina_cls' in key else eighty[key]), key
    assert 'layers for another number of classes start fresh: bbox_head.retina_cls' in logged[-1]

    state = {key: value for key, value in detector().state_dict().items() if not key.startswith('neck.')}
    changes = {'load_from': save(tmp_path, state), 'default_hooks.strict_load.allow_partial': True}
    running = runner(changes)
    fresh = copy.deepcopy(running.model.state_dict())
    running.call_hook('before_run')
    running.load_or_resume()
    for key, value in running.model.state_dict().items():
        assert torch.equal(value, fresh[key] if key.startswith('neck.') else state[key]), key
    assert 'left at initialisation, as the config allows: neck.lateral_convs.0.conv.weight, ' in logged[-1]


def test_resuming_is_strict_and_takes_up_the_average(runner, tmp_path):
    """Also where classes alone differ, which load_from allows; an averaged checkpoint resumes with both weights."""
    running = runner({'train_cfg.max_epochs': 1}, ema=True)
    running.train()
    path = tmp_path / 'work' / 'epoch_1.pth'
    saved = torch.load(path, weights_only=False)
    averaged = read_checkpoint(str(path)).state
    assert any(not torch.equal(averaged[key], saved['ema_state_dict'][f'module.{key}']) for key in averaged)
    resumed = runner(dict(resume=True, load_from=str(path)), ema=True)
    resumed.call_hook('before_run')
    resumed.load_or_resume()
    for key, value in resumed.model.state_dict().items():
        assert torch.equal(value, saved['ema_state_dict'][f'module.{key}'])  # mmengine swaps them in the file
    saved['state_dict'] = detector(80).state_dict()
    torch.save(saved, path)
    resumed = runner(dict(resume=True, load_from=str(path)))
    resumed.call_hook('before_run')
    with pytest.raises(UserError, match='2 of another shape .bbox_head.retina_cls'):
        resumed.load_or_resume()
