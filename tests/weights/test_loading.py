import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.weights import loading
from econvnext_mmdet.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from econvnext_mmdet.weights.loading import check_fits, class_layers, load_backbone

from ..helpers import DEMO, ROOT, options


@pytest.fixture
def logged(monkeypatch):
    """The log messages about loading."""
    lines = []
    monkeypatch.setattr(loading, 'print_log', lambda text, **_: lines.append(text))
    return lines


@pytest.mark.parametrize('layout', ['bare', 'detector', 'wrapped'])
def test_every_tensor_arrives_exactly(small, trained_state, save, layout):
    prefix = dict(bare='', detector='backbone.', wrapped='module.backbone.')[layout]
    content = {prefix + key: value for key, value in trained_state.items()}
    if layout != 'bare':
        content[prefix.replace('backbone.', '') + 'bbox_head.retina_cls.weight'] = torch.zeros(3)
        content = dict(meta=dict(), state_dict=content)
    model = small()
    load_backbone(model, save(content))
    for key, value in model.state_dict().items():
        assert torch.equal(value, trained_state[key]), key


def test_init_cfg_loads_strictly(small, trained_state, save):
    path = save(trained_state)
    model = small(init_cfg=dict(type='Pretrained', checkpoint=path))
    model.init_weights()
    assert all(torch.equal(value, trained_state[key]) for key, value in model.state_dict().items())
    other = save({f'teacher.{key}': value for key, value in trained_state.items()}, 'teacher.pth')
    for prefix in ('teacher', 'teacher.'):
        model = small(init_cfg=dict(type='Pretrained', checkpoint=other, prefix=prefix))
        model.init_weights()
        assert all(torch.equal(value, trained_state[key]) for key, value in model.state_dict().items())
    wider = small(widen_factor=0.5, init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(UserError, match='with a different shape'):
        wider.init_weights()


def test_output_norms_that_the_file_lacks_keep_their_initial_values(small, trained_state, save, logged):
    lacking = ('norm0', 'norm3')
    content = {f'backbone.{key}': value for key, value in trained_state.items() if not key.startswith(lacking)}
    content['head.fc.weight'] = torch.zeros(2, 2)
    model = small()
    fresh = copy.deepcopy(model.state_dict())
    load_backbone(model, save(content))
    for key, value in model.state_dict().items():
        expected = fresh if key.startswith(lacking) else trained_state
        assert torch.equal(value, expected[key]), key
    assert 'keep their initial values: norm0, norm3' in logged[0] and logged[0].endswith('not used: head')
    count = sum('num_batches_tracked' not in key for key in content) - 1
    assert f'loaded {count} of {count + 8} backbone tensors' in logged[0]
    assert "a classifier's checkpoint" in logged[0]


def test_model_without_output_norms_skips_them(small, trained_state, save):
    model = small(norm_output=False)
    load_backbone(model, save(trained_state))
    assert all(torch.equal(value, trained_state[key]) for key, value in model.state_dict().items())


def test_stages_after_the_last_output_are_skipped(small, trained_state, save):
    model = small(out_indices=(1,))
    load_backbone(model, save(trained_state))
    assert all(torch.equal(value, trained_state[key]) for key, value in model.state_dict().items())


def rename(state):
    state['stages.1.conv1.conv.wieght'] = state.pop('stages.1.conv1.conv.weight')


def drop_a_block(state):
    for key in [key for key in state if key.startswith('stages.3.blocks.0.')]:
        del state[key]


def drop_part_of_a_norm(state):
    del state['norm2.running_mean']


def reshape(state):
    state['stem.0.conv.weight'] = torch.zeros(18, 4, 4, 4)


def round_down(state):
    state['norm2.weight'] = state['norm2.weight'].to(torch.int32)


@pytest.mark.parametrize(
    'damage, says',
    [
        (round_down, r'1 with a different shape or type \(norm2.weight int32 instead of float32\)'),
        (
            rename,
            r'1 missing from the file \(stages.1.conv1.conv.weight\), 1 not in the model \(.*conv1.conv.wieght\)',
        ),
        (drop_a_block, r'16 missing from the file \(stages.3.blocks.0.dwconv.weight, .*, \.\.\.\)'),
        (drop_part_of_a_norm, r'1 missing from the file \(norm2.running_mean\)'),
        (
            reshape,
            r'1 with a different shape or type \(stem.0.conv.weight \(18, 4, 4, 4\) instead of \(18, 3, 4, 4\)\)',
        ),
    ],
)
def test_files_that_do_not_fit_change_nothing(small, trained_state, save, damage, says):
    damage(trained_state)
    model = small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=says):
        load_backbone(model, save(trained_state))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_file_of_a_deeper_backbone_is_refused(small, save):
    """It holds all tensors of the shallow backbone in the right shapes, but it belongs to a different network."""
    deep = small(deepen_factor=1.0)
    with pytest.raises(UserError, match='not in the model'):
        load_backbone(small(), save(deep.state_dict()))


def test_extra_tensors_are_accepted_unless_the_check_is_exact(small, trained_state):
    trained_state['head.fc.weight'] = torch.zeros(2, 2)
    check_fits(small(), trained_state, 'net.pth')
    with pytest.raises(UserError, match=r'net.pth does not fit .*: 1 not in the model \(head.fc.weight\)'):
        check_fits(small(), trained_state, 'net.pth', exact=True)


def test_config_can_allow_a_partial_load(small, trained_state, save, logged):
    rename(trained_state)
    reshape(trained_state)
    model = small(init_cfg=dict(type='Pretrained', checkpoint=save(trained_state), allow_partial=True))
    model.init_weights()
    left = {'stages.1.conv1.conv.weight', 'stem.0.conv.weight'}
    for key, value in model.state_dict().items():
        assert (key in left) != torch.equal(value, trained_state.get(key, torch.zeros(1))), key
    assert 'initial values, as the config allows: stages.1.conv1.conv.weight, stem.0.conv.weight' in logged[0]
    with pytest.raises(UserError, match='does not fit'):  # a file in which nothing fits is still refused
        load_backbone(small(), save(dict(weight=torch.zeros(2))), allow_partial=True)


def detector(classes=4, **kwargs):
    cfg = Config.fromfile(DEMO)
    cfg.merge_from_dict(
        {
            'model.backbone.widen_factor': 0.25,
            'model.backbone.deepen_factor': 0.34,
            'model.neck.in_channels': [48, 96, 192],
            'model.bbox_head.num_classes': classes,
            **kwargs,
        }
    )
    return MODELS.build(cfg.model)


def mask_rcnn(classes):
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'mask_rcnn_e_convnext_mini_shapes.py')
    cfg.merge_from_dict(
        {
            'model.backbone.widen_factor': 0.25,
            'model.backbone.deepen_factor': 0.34,
            'model.neck.in_channels': [24, 48, 96, 192],
            'model.roi_head.bbox_head.num_classes': classes,
            'model.roi_head.mask_head.num_classes': classes,
        }
    )
    return MODELS.build(cfg.model)


def test_layers_for_a_different_number_of_classes_are_found():
    assert class_layers(detector(4), detector(4).state_dict()) == set()
    assert class_layers(detector(4), detector(80).state_dict()) == {
        'bbox_head.retina_cls.weight',
        'bbox_head.retina_cls.bias',
    }
    assert class_layers(mask_rcnn(3), mask_rcnn(80).state_dict()) == {
        f'roi_head.{name}.{kind}'
        for kind in ('weight', 'bias')
        for name in ('bbox_head.fc_cls', 'bbox_head.fc_reg', 'mask_head.conv_logits')
    }
    other = mask_rcnn(80).state_dict()
    # This layer is for 59 classes, the others are for 80.
    other['roi_head.bbox_head.fc_cls.weight'] = other['roi_head.bbox_head.fc_cls.weight'][:60]
    assert class_layers(mask_rcnn(3), other) == set()
    assert class_layers(detector(4), detector(80, **{'model.neck.out_channels': 192}).state_dict()) == set()


@pytest.fixture
def runner(shapes, tmp_path):
    """A function that builds the runner of the demo with a narrow detector."""

    def build(changes=None, ema=False):
        cfg = Config.fromfile(DEMO)
        cfg.merge_from_dict({**options(shapes, tmp_path / 'work'), **(changes or {})})
        if ema:
            cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
        return Runner.from_cfg(cfg)

    return build


def test_load_from_is_strict(runner, save, tmp_path, logged):
    before = detector().state_dict()
    path = save(dict(state_dict=before, meta={}))
    running = runner(dict(load_from=path), ema=True)
    running.call_hook('before_run')
    running.load_or_resume()
    assert all(torch.equal(value, before[key]) for key, value in running.model.state_dict().items())
    assert f'{len([k for k in before if "num_batches" not in k])} of ' in logged[-1] and path in logged[-1]
    backbone = {key: value for key, value in before.items() if key.startswith('backbone')}
    for content, says in (
        (
            {key: value for key, value in before.items() if 'fpn_convs.1' not in key},
            'missing from the file .neck.fpn_convs.1',
        ),
        ({**before, 'neck.fpn_convs.9.conv.weight': torch.zeros(1)}, '1 not in the model .neck.fpn_convs.9'),
        (detector(**{'model.bbox_head.feat_channels': 48}).state_dict(), 'with a different shape'),
        (backbone, "a whole RetinaNet, but .* is a backbone's checkpoint"),
        (
            {**backbone, 'head.fc.weight': torch.zeros(1)},
            "expected the checkpoint of a whole RetinaNet, but .* is a classifier's checkpoint. .* --pretrained",
        ),
        ({'layer.weight': torch.zeros(1)}, 'does not fit this RetinaNet'),
    ):
        running = runner(dict(load_from=save(content)))
        own = copy.deepcopy(running.model.state_dict())
        running.call_hook('before_run')
        with pytest.raises(UserError, match=says):
            running.load_or_resume()
        assert all(torch.equal(value, own[key]) for key, value in running.model.state_dict().items())
    wrong = save(before, 'net-00000000.pth')
    with pytest.raises(UserError, match='does not match the SHA-256 in its name'):
        runner(dict(load_from=wrong)).call_hook('before_run')


def test_load_from_accepts_different_classes_and_partial_files(runner, save, logged):
    eighty = detector(80).state_dict()
    running = runner(dict(load_from=save(eighty)), ema=True)
    fresh = copy.deepcopy(running.model.state_dict())
    running.call_hook('before_run')
    running.load_or_resume()
    for key, value in running.model.state_dict().items():
        assert torch.equal(value, fresh[key] if 'retina_cls' in key else eighty[key]), key
    assert 'layers for a different number of classes keep their initial values: bbox_head.retina_cls' in logged[-1]

    state = {key: value for key, value in detector().state_dict().items() if not key.startswith('neck.')}
    changes = {'load_from': save(state), 'default_hooks.strict_load.allow_partial': True}
    running = runner(changes)
    fresh = copy.deepcopy(running.model.state_dict())
    running.call_hook('before_run')
    running.load_or_resume()
    for key, value in running.model.state_dict().items():
        assert torch.equal(value, fresh[key] if key.startswith('neck.') else state[key]), key
    assert 'initial values, as the config allows: neck.lateral_convs.0.conv.weight, ' in logged[-1]


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_training_cannot_be_resumed_from_weights_alone(runner, tmp_path, suffix):
    path = str(tmp_path / f'weights{suffix}')
    write_checkpoint(path, Checkpoint(detector().state_dict(), {}))
    resumed = runner(dict(resume=True, load_from=path))
    resumed.call_hook('before_run')
    with pytest.raises(UserError, match=f'weights{suffix} holds weights, but not the whole state of a training run'):
        resumed.load_or_resume()


def test_a_training_run_with_other_output_norms_is_not_resumed(runner, tmp_path):
    running = runner({'train_cfg.max_epochs': 1})
    running.train()
    resumed = runner(
        {'model.backbone.norm_output': False, 'resume': True, 'load_from': str(tmp_path / 'work' / 'epoch_1.pth')}
    )
    resumed.call_hook('before_run')
    with pytest.raises(UserError, match='not in the model .backbone.norm1.weight'):
        resumed.load_or_resume()


def test_resuming_is_strict_and_restores_the_ema(runner, tmp_path):
    """A checkpoint with EMA weights resumes with both sets of weights. A different number of classes is refused."""
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
        assert torch.equal(value, saved['ema_state_dict'][f'module.{key}'])  # MMEngine swaps the two in the file
    (ema,) = (hook.ema_model.module for hook in resumed.hooks if isinstance(hook, EMAHook))
    for key, value in averaged.items():
        assert torch.equal(value, ema.state_dict()[key])
    saved['state_dict'] = detector(80).state_dict()
    torch.save(saved, path)
    resumed = runner(dict(resume=True, load_from=str(path)))
    resumed.call_hook('before_run')
    with pytest.raises(UserError, match='2 with a different shape or type .bbox_head.retina_cls'):
        resumed.load_or_resume()
