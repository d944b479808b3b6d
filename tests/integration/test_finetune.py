"""The configs for fine-tuning freeze what they say and set the learning rates that they say."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, ROOT, options

FINETUNE = ROOT / 'configs' / 'finetune'
STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


@pytest.fixture
def pretrained(tmp_path):
    """The checkpoint of a backbone whose statistics come from some images."""
    torch.manual_seed(0)
    backbone = EConvNeXt('mini', widen_factor=0.25, deepen_factor=0.34, out_indices=(1, 2, 3))
    backbone.init_weights()
    backbone.train()(torch.rand(4, 3, 64, 64))
    torch.save(backbone.state_dict(), tmp_path / 'backbone.pth')
    return str(tmp_path / 'backbone.pth'), backbone.state_dict()


@pytest.mark.parametrize(
    'name', ['retinanet_e-convnext-mini_fpn-96_frozen-4e_bccd.py', 'retinanet_e-convnext-tiny_fpn_frozen-1x_coco.py']
)
def test_frozen_stages_and_statistics_stay_exactly_equal(pretrained, shapes, tmp_path, name):
    """The narrow detector of the demo trains for one epoch with the two settings of the config."""
    backbone = Config.fromfile(FINETUNE / name).model.backbone
    changes = {
        **options(shapes, tmp_path / 'work'),
        'train_cfg.max_epochs': 1,
        'model.backbone.frozen_stages': backbone.frozen_stages,
        'model.backbone.norm_eval': backbone.norm_eval,
    }
    path, before = pretrained
    train(load_config(DEMO, changes), pretrained=path)
    state = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)['state_dict']
    changed = {key for key, value in before.items() if not torch.equal(state[f'backbone.{key}'], value)}
    assert not any(key.startswith(('stem.', 'stages.0.')) or key.endswith(STATISTICS) for key in changed)
    # Everything else trains.
    assert changed == {
        key for key in before if not key.startswith(('stem.', 'stages.0.')) and not key.endswith(STATISTICS)
    }


def test_output_norms_without_weights_collect_statistics(pretrained, shapes, tmp_path):
    """The file of a classifier has no output norms. With frozen initial statistics they would not normalise."""
    path, before = pretrained
    torch.save({key: value for key, value in before.items() if not key.startswith('norm')}, path)
    changes = {
        **options(shapes, tmp_path / 'work'),
        'train_cfg.max_epochs': 1,
        'model.backbone.frozen_stages': 1,
        'model.backbone.norm_eval': True,
    }
    train(load_config(DEMO, changes), pretrained=path)
    state = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)['state_dict']
    for key, value in before.items():
        if key.endswith(STATISTICS):
            assert torch.equal(state[f'backbone.{key}'], value) != key.startswith('norm'), key


@pytest.mark.parametrize(
    'name, rate, decay, layers',
    [
        ('retinanet_e-convnext-mini_fpn-96_layer-decay-4e_bccd.py', 7e-4, 0.8, 8),
        ('mask-rcnn_e-convnext-tiny_fpn_layer-decay-ms-crop-3x_coco.py', 1e-4, 0.95, 8),
    ],
)
def test_learning_rates_fall_towards_the_stem(name, rate, decay, layers):
    init_default_scope('mmdet')
    cfg = Config.fromfile(FINETUNE / name)
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(param): name for name, param in model.named_parameters()}
    rates = {names[id(group['params'][0])]: group['lr'] for group in groups}
    assert sorted({round(value / rate, 9) for value in rates.values()}) == sorted(
        round(decay**i, 9) for i in range(layers)
    )
    assert {value for key, value in rates.items() if not key.startswith('backbone.')} == {rate}
    assert all(value == pytest.approx(rate * decay ** (layers - 1)) for key, value in rates.items() if '.stem.' in key)
    assert all(group['weight_decay'] == (0 if group['params'][0].ndim == 1 else 0.05) for group in groups)


@pytest.mark.parametrize('setting, value', [('frozen_stages', 0), ('norm_eval', True)])
def test_freezing_untrained_weights_is_an_error(shapes, tmp_path, setting, value):
    config = DEMO
    cfg = load_config(
        config,
        {
            **options(shapes, tmp_path),
            f'model.backbone.{setting}': value,
            'model.backbone.init_cfg': dict(type='TruncNormal', layer='Conv2d', std=0.02),
        },
    )
    with pytest.raises(
        UserError, match=f'{setting} of the backbone would freeze .* give a checkpoint with --pretrained'
    ):
        train(cfg)
    with pytest.raises(UserError, match=f'{setting} of the backbone would freeze'):
        train(cfg, resume='auto')  # there is no checkpoint
    assert not list(tmp_path.iterdir())
