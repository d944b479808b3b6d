"""Settings that would fail after hours, or with an error of a library."""

import copy

import pytest
from mmengine.config import Config

from econvnext_mmdet.engine.config_checks import check_settings
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO


@pytest.fixture
def cfg():
    return copy.deepcopy(Config.fromfile(DEMO))


SPLITS = ('train', 'val', 'test')


def test_the_demo_has_no_wrong_setting(cfg):
    check_settings(cfg, SPLITS)


@pytest.mark.parametrize(
    'place, value',
    [
        ('train_cfg.max_epochs', 'zwei'),
        ('train_cfg.val_interval', 0),
        ('train_dataloader.batch_size', 2.5),
        ('val_dataloader.num_workers', -1),
    ],
)
def test_numbers_must_be_whole(cfg, place, value):
    cfg.merge_from_dict({place: value})
    with pytest.raises(UserError, match=f'{place} must be a whole number (of at least .|from 0 to 256); got '):
        check_settings(cfg, SPLITS)


def test_a_balanced_dataset_must_contain_one_that_knows_the_classes(cfg):
    dataset = cfg.train_dataloader.dataset
    repeated = dict(type='RepeatDataset', times=2, dataset=dataset)
    balanced = dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=repeated)
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[balanced])
    says = (
        r'train_dataloader.dataset.datasets\[0\] is a ClassBalancedDataset, .* is a RepeatDataset, .* Put the '
        'ClassBalancedDataset inside the RepeatDataset.'
    )
    with pytest.raises(UserError, match=says):
        check_settings(cfg, SPLITS)
    inside = dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=dataset)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inside)
    check_settings(cfg, SPLITS)


def test_a_loader_without_workers_does_not_keep_them(cfg):
    cfg.train_dataloader.update(num_workers=0, persistent_workers=True, prefetch_factor=2)
    check_settings(cfg, SPLITS)
    assert not cfg.train_dataloader.persistent_workers and 'prefetch_factor' not in cfg.train_dataloader
    assert cfg.val_dataloader.persistent_workers


@pytest.mark.parametrize(
    'change, says',
    [
        (dict(default_hooks=dict(checkpoint=dict(save_best='bbox_mAP'))), "save_best of checkpoint is 'bbox_mAP'"),
        (dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='coco/bbox_map')]), 'monitor of EarlyStoppingHook'),
        (
            dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='coco/bbox_AP')]),
            'monitor of ReduceOnPlateauLR in param_scheduler',
        ),
    ],
)
def test_a_metric_that_is_never_computed_is_an_error(cfg, change, says):
    cfg.merge_from_dict(change)
    with pytest.raises(UserError, match=f"{says}.* which val_evaluator does not compute; did you mean 'coco/bbox_mAP'"):
        check_settings(cfg, SPLITS)
    check_settings(cfg, ['test'])  # nothing waits there
    cfg.val_evaluator = dict(type='LVISMetric')  # its names are unknown
    check_settings(cfg, SPLITS)


@pytest.mark.parametrize('name', ['auto', 'coco/bbox_mAP_50', ['coco/bbox_mAP', 'coco/bbox_AR@100']])
def test_metrics_that_are_computed_may_be_awaited(cfg, name):
    cfg.default_hooks.checkpoint.save_best = name
    check_settings(cfg, SPLITS)


@pytest.mark.parametrize('name', ['pascal_voc/mAP', 'pascal_voc/AP75'])
def test_the_names_of_vocs_metrics_are_known(cfg, name):
    cfg.val_evaluator = dict(type='VOCMetric', iou_thrs=[0.5, 0.75])
    cfg.default_hooks.checkpoint.save_best = name
    check_settings(cfg, SPLITS)
    cfg.val_evaluator = dict(type='VOCMetric')
    cfg.default_hooks.checkpoint.save_best = 'coco/bbox_mAP_50'
    with pytest.raises(UserError, match="save_best of checkpoint is 'coco/bbox_mAP_50', which val_evaluator does not"):
        check_settings(cfg, SPLITS)


def test_metrics_by_class_may_be_awaited_if_they_are_computed(cfg):
    cfg.val_evaluator.classwise = True
    for name, known in (('coco/bbox_star_precision', True), ('bbox_mAP', False)):
        cfg.default_hooks.checkpoint.save_best = [name]
        if known:
            check_settings(cfg, SPLITS)
        else:
            with pytest.raises(UserError, match="did you mean 'coco/bbox_mAP'"):
                check_settings(cfg, SPLITS)


@pytest.mark.parametrize('split', ['val', 'test'])
def test_two_metrics_with_one_name_are_an_error_before_inference(cfg, split):
    first = cfg[f'{split}_evaluator']
    cfg[f'{split}_evaluator'] = [first, {**first, 'ann_file': 'other.json'}]
    says = f"two metrics of {split}_evaluator compute 'coco/bbox_mAP'. Give each a prefix of its own"
    with pytest.raises(UserError, match=says):
        check_settings(cfg, SPLITS)
    cfg[f'{split}_evaluator'][1]['prefix'] = 'second'
    check_settings(cfg, SPLITS)


def test_the_settings_of_a_split_come_together(cfg):
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    check_settings(cfg, ['train', 'val'])
    says = 'the config has no test_dataloader and no test_cfg and no test_evaluator. Set .* those of the validation'
    with pytest.raises(UserError, match=says):
        check_settings(cfg, ['test'])
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
    check_settings(cfg, ['val'])
    assert cfg.param_scheduler is None  # MMEngine refuses one without an optimizer
    cfg.val_dataloader = None
    with pytest.raises(UserError, match='the config has no val_dataloader. Set val_dataloader, val_cfg, val_evaluator'):
        check_settings(cfg, ['val'])


def test_a_backend_needs_its_package(cfg, monkeypatch):
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend'), dict(type='WandbVisBackend')]
    monkeypatch.setattr('econvnext_mmdet.engine.config_checks.find_spec', lambda name: None)
    with pytest.raises(UserError, match='has WandbVisBackend, and wandb is not installed: run `pip install wandb`'):
        check_settings(cfg, SPLITS)
