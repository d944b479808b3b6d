import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT

WRAPPER = dict(
    type='OptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.5, norm_decay_mult=0.0, bias_decay_mult=0.0),
)


@pytest.fixture(scope='module')
def detector():
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'retinanet_e_convnext_mini_shapes.py')
    cfg.model.backbone.frozen_stages = 0
    return MODELS.build(cfg.model)


def test_each_trainable_parameter_is_in_one_group_with_its_learning_rate(detector):
    optimizer = build_optim_wrapper(detector, WRAPPER).optimizer
    names = {id(p): name for name, p in detector.named_parameters()}
    grouped = [names[id(p)] for group in optimizer.param_groups for p in group['params']]
    assert sorted(grouped) == sorted(name for name, p in detector.named_parameters() if p.requires_grad)
    assert not any(name.startswith('backbone.stem.') for name in grouped)

    rates = {names[id(p)]: group['lr'] for group in optimizer.param_groups for p in group['params']}
    # mini has the stem (frozen), then stages with 1, 1, 3 and 1 layers of three blocks, then the rest.
    expected = [
        ('backbone.stages.0.conv1.conv.weight', 1),
        ('backbone.stages.1.blocks.2.dwconv.weight', 2),
        ('backbone.stages.2.down.conv.weight', 3),
        ('backbone.stages.2.blocks.0.dwconv.weight', 3),
        ('backbone.stages.2.blocks.3.dwconv.weight', 4),
        ('backbone.stages.2.conv3.conv.weight', 5),
        ('backbone.stages.3.attn.fc.weight', 6),
        ('backbone.norm2.weight', 7),
        ('neck.fpn_convs.0.conv.weight', 7),
        ('bbox_head.retina_cls.weight', 7),
    ]
    for name, layer in expected:
        assert rates[name] == pytest.approx(1e-3 * 0.5 ** (7 - layer)), name


def test_norms_and_biases_have_no_weight_decay(detector):
    optimizer = build_optim_wrapper(detector, WRAPPER).optimizer
    decays = {id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    for name, param in detector.named_parameters():
        if param.requires_grad:
            assert decays[id(param)] == (0.0 if param.ndim == 1 else 0.05), name


def test_mmpretrains_constructor_uses_the_layer_depths_of_the_backbone():
    from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

    init_default_scope('mmpretrain')
    model = MMPRETRAIN_MODELS.build(
        dict(
            type='ImageClassifier',
            neck=dict(type='GlobalAveragePooling'),
            backbone=dict(type='EConvNeXt', arch='mini', widen_factor=0.25, out_indices=(3,), norm_output=False),
            head=dict(type='BNLinearClsHead', num_classes=10, in_channels=192),
        )
    )
    optimizer = build_optim_wrapper(
        model, dict(WRAPPER, constructor='LearningRateDecayOptimWrapperConstructor')
    ).optimizer
    rates = {group['param_name']: group['lr'] for group in optimizer.param_groups}
    assert rates['backbone.stem.0.conv.weight'] == pytest.approx(1e-3 * 0.5**7)
    assert rates['head.fc.weight'] == pytest.approx(1e-3)
    init_default_scope('mmdet')


@pytest.mark.parametrize('rate', [None, 0, 1.5, 'high'])
def test_a_layer_decay_rate_must_be_above_0_and_at_most_1(detector, rate):
    with pytest.raises(UserError, match='layer_decay_rate in \\(0, 1\\]'):
        build_optim_wrapper(detector, dict(WRAPPER, paramwise_cfg=dict(layer_decay_rate=rate)))


def test_a_backbone_without_layer_depths_is_an_error():
    model = torch.nn.Module()
    model.backbone = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(UserError, match='Conv2d of this Module does not have it'):
        build_optim_wrapper(model, WRAPPER)
