"""A wrong setting ends in one sentence that names it, before the first step and without a checkpoint."""

import math
import re

import pytest

from econvnext_mmdet.engine.testing import test as evaluate
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, options

HOOK = 'default_hooks.checkpoint'
DATASET = 'train_dataloader.dataset'
# What is wrong, and what the error says of it: mostly the path of the setting.
MALFORMED = [
    # numbers of MMEngine's loops and loaders
    *(
        ({'train_cfg.max_epochs': value}, 'train_cfg.max_epochs must be')
        for value in (0, -1, 1.5, 'zwei', True, math.nan)
    ),
    *(({'train_cfg.val_interval': value}, 'train_cfg.val_interval must be') for value in (0, -1, 0.5, 'often', False)),
    *(({'train_cfg.val_begin': value}, 'train_cfg.val_begin must be') for value in (-1, 'now')),
    *(
        ({f'{split}_dataloader.batch_size': value}, f'{split}_dataloader.batch_size must be')
        for split in ('train', 'val')
        for value in (0, -1, 2.5, 'vier', [2])
    ),
    *(
        ({'train_dataloader.num_workers': value}, 'train_dataloader.num_workers must be')
        for value in (-1, 1.5, 'two', {'count': 2}, 100_000)
    ),
    ({'train_dataloader.prefetch_factor': 0}, 'train_dataloader.prefetch_factor must be'),
    ({'model.train_cfg.initial_epoch': 'x'}, 'model.train_cfg.initial_epoch must be a whole number'),
    ({'model.data_preprocessor.pad_size_divisor': 0}, 'pad_size_divisor must be'),
    ({f'{HOOK}.out_dir': '/dev/null'}, 'cannot write checkpoints into /dev/null/.*: Not a directory. Set '),
    ({'tta_model': 5}, 'tta_model must be a dict with a type'),
    *(
        ({'tta_model': {'type': 'DetTTAModel', 'tta_cfg': settings}}, f'tta_model.tta_cfg.{name} must be')
        for name, settings in (
            ('max_per_img', {'max_per_img': -1}),
            ('nms.iou_threshold', {'nms': {'iou_threshold': 7}}),
        )
    ),
    *(
        ({name: value}, f'{name} must be ')
        for name, value in (
            ('train_dataloader.sampler.shuffle', 'no'),
            ('train_dataloader.sampler.shuffle', 3),
            ('train_dataloader.batch_sampler.drop_last', 'x'),
            ('val_evaluator.prefix', 5),
            ('val_evaluator.collect_device', 'tpu'),
            ('val_evaluator.classwise', 7),
        )
    ),
    ({'train_dataloader.timeout': -1}, 'train_dataloader.timeout must be'),
    *(
        ({f'{split}_dataloader.sampler.type': 'InfiniteSampler'}, f'{split}_dataloader.sampler is InfiniteSampler')
        for split in ('train', 'val')
    ),
    (
        {'val_dataloader.dataset.pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'RandomFlip', 'prob': 1.0}]},
        'val_dataloader.dataset.pipeline has RandomFlip, which is for training',
    ),
    ({'train_dataloader.dataset.metainfo.classes': []}, 'metainfo.classes must be a text, or a list'),
    *(
        ({'default_hooks.checkpoint.filename_tmpl': value}, 'filename_tmpl must be the name of a file with {}')
        for value in ('../../x_{}.pth', 'm{0}{1}.pth', 'x.pth')
    ),
    *(
        ({f'model.{name}': value}, rf'model.{name} must be ')
        for name, value in (
            ('test_cfg.score_thr', 'abc'),
            ('test_cfg.score_thr', 2),
            ('test_cfg.max_per_img', 0),
            ('test_cfg.max_per_img', -1),
            ('test_cfg.min_bbox_size', math.inf),
            ('test_cfg.nms.type', 'nms_rotated'),
            ('train_cfg.assigner.pos_iou_thr', 2),
            ('bbox_head.anchor_generator.octave_base_scale', 0),
            ('bbox_head.anchor_generator.strides', [8, 16, -32, 64, 128]),
        )
    ),
    ({'val_dataloader.drop_last': True}, 'val_dataloader.drop_last must be False: the objects of'),
    ({'train_dataloader.dataset.data_prefix.img': None}, 'train_dataloader.dataset.data_prefix.img must be a text'),
    ({'model.data_preprocessor.std': [0, 1, 1]}, 'model.data_preprocessor.std must be a list of numbers from 1e-6'),
    ({'model.data_preprocessor.mean': [1, 1, math.inf]}, 'model.data_preprocessor.mean must be a list of numbers'),
    ({'train_dataloader.drop_last': 'no'}, 'train_dataloader.drop_last must be True or False'),
    ({'train_dataloader.persistent_workers': 'no'}, 'train_dataloader.persistent_workers must be'),
    # the optimizer and its schedule
    *(
        ({f'optim_wrapper.optimizer.{name}': value}, rf'optim_wrapper.optimizer.{name} must be')
        for name in ('lr', 'weight_decay')
        for value in (math.nan, math.inf, -1e-3, 'high', [0.1])
    ),
    ({'optim_wrapper.optimizer.betas': [0.9, 'x']}, 'optim_wrapper.optimizer.betas must be a list of numbers'),
    ({'optim_wrapper.optimizer.typ': 'SGD'}, "optim_wrapper.optimizer.typ: AdamW has no argument 'typ'"),
    ({'optim_wrapper.optimizer.type': 'AdamV'}, "optim_wrapper.optimizer.type is 'AdamV', .* did you mean 'Adam"),
    ({'optim_wrapper.optimizer.type': 7}, 'optim_wrapper.optimizer.type must be the name of a class'),
    ({'optim_wrapper.optimizer.learning_rate': 0.1}, "AdamW has no argument 'learning_rate'"),
    ({'optim_wrapper.optimizer': None}, 'optim_wrapper.optimizer must be a dict'),
    ({'optim_wrapper': None}, 'no optim_wrapper'),
    ({'optim_wrapper': 'AdamW'}, 'optim_wrapper must be a dict'),
    ({'optim_wrapper.type': 'OptimWraper'}, "optim_wrapper.type is 'OptimWraper', .* did you mean 'OptimWrapper'"),
    ({'optim_wrapper.constructor': 'Layerwise'}, 'optim_wrapper.constructor'),
    ({'optim_wrapper.accumulative_counts': 0}, 'optim_wrapper.accumulative_counts must be'),
    ({'optim_wrapper.clip_grad': 35}, 'optim_wrapper.clip_grad must be a dict'),
    ({'optim_wrapper.clip_grad': {'max_norm': 'x'}}, 'optim_wrapper.clip_grad.max_norm must be a number'),
    ({'optim_wrapper.paramwise_cfg': {'norm_decay_mult': 'x'}}, 'optim_wrapper.paramwise_cfg.norm_decay_mult must be'),
    ({'optim_wrapper.clip_grad': {'foo': 0}}, 'first step failed: TypeError: .*foo'),
    ({'optim_wrapper.clip_grad': {'max_norm': 35, 'norm_type': 'x'}}, 'first step failed: '),
    ({'optim_wrapper.paramwise_cfg': {'custom_keys': {'backbone': {'lr_mul': 0.1}}}}, 'custom_keys must be .* lr_mult'),
    ({'custom_hooks': [{'type': 'EMAHook', 'begin_epoch': 50}]}, 'first step failed: AssertionError'),
    ({'param_scheduler': [{'type': 'LinearLR', 'start_factor': 0, 'end': 3}]}, 'start_factor must be a number above 0'),
    ({'model.bbox_head.anchor_generator.strides': [8, 16]}, 'AssertionError'),
    ({'model.test_cfg.nms': {'type': 'nmss', 'iou_threshold': 0.5}}, "model.test_cfg.nms.type must be one of 'nms'"),
    ({f'{DATASET}.filter_cfg': {'filter_empty': True}}, "unknown name 'filter_empty'; did you mean 'filter_empty_gt'"),
    (
        {f'{DATASET}.pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'Resize', 'scale': (0, 0)}]},
        'first step failed: [^|]*$',
    ),
    ({'train_cfg.dynamic_intervals': [(1, 'x')]}, 'train_cfg.dynamic_intervals must be a list of pairs'),
    ({'train_cfg.dynamic_intervals': [5]}, 'train_cfg.dynamic_intervals must be a list of pairs'),
    ({'model.bbox_head.bbox_coder.target_stds': [0.0] * 4}, 'target_stds must be a list of numbers above 0'),
    ({'model.test_cfg.nms.iou_threshold': 'x'}, 'model.test_cfg.nms.iou_threshold must be a number from 0 to 1'),
    ({'param_scheduler': 'cosine'}, 'param_scheduler must be'),
    ({'param_scheduler': [{'type': 'CosineLR', 'end': 2}]}, r"param_scheduler\[0\].type is 'CosineLR'"),
    ({'param_scheduler': [{'type': 'LinearLR', 'begin': 5, 'end': 2}]}, 'ends at 2, .* begin at 5'),
    ({'param_scheduler': [{'type': 'LinearLR', 'begin': -1, 'end': 2}]}, r'param_scheduler\[0\].begin must be'),
    ({'param_scheduler': [{'type': 'LinearLR', 'start_factor': 2.0}]}, 'start_factor must be'),
    ({'param_scheduler': [{'type': 'LinearLR', 'start_factr': 0.1}]}, "did you mean 'start_factor'"),
    ({'param_scheduler': [{'type': 'MultiStepLR', 'milestones': 3}]}, 'milestones must be a list'),
    ({'param_scheduler': [{'type': 'MultiStepLR'}]}, 'build MultiStepLR .*milestones'),
    ({'param_scheduler': [{'end': 2}]}, 'param_scheduler must be .* each with a type'),
    # hooks, logs and seeds
    ({f'{HOOK}.interval': 0}, f'{HOOK}.interval must be'),
    ({f'{HOOK}.interval': 'always'}, f'{HOOK}.interval must be'),
    ({f'{HOOK}.max_keep_ckpts': 0}, f'{HOOK}.max_keep_ckpts must be'),
    ({f'{HOOK}.interval_': 1}, f"{HOOK}.interval_: .* did you mean 'interval'"),
    ({f'{HOOK}.save_best': 'coco/bbox_map'}, 'save_best of checkpoint .* does not compute'),
    ({f'{HOOK}.save_best': 5}, 'save_best'),
    ({f'{HOOK}.type': 'ChekpointHook'}, "did you mean 'CheckpointHook'"),
    ({HOOK: 'CheckpointHook'}, HOOK),
    ({'default_hooks.logger.interval': -3}, 'default_hooks.logger.interval must be'),
    ({'default_hooks.logger.interval': 'x'}, 'default_hooks.logger.interval must be'),
    ({'default_hooks': []}, 'default_hooks must be a dict'),
    ({'custom_hooks': {'type': 'EMAHook'}}, 'custom_hooks must be a list'),
    ({'custom_hooks': ['EMAHook']}, 'custom_hooks must be a list'),
    ({'custom_hooks': [{'type': 'EMAHok'}]}, r"custom_hooks\[0\].type is 'EMAHok', .* did you mean 'EMAHook'"),
    ({'custom_hooks': [{'type': 'EMAHook', 'momentum': 2.0}]}, r'custom_hooks\[0\].momentum must be'),
    ({'custom_hooks': [{'type': 'EMAHook', 'momentun': 0.1}]}, 'momentun'),
    ({'custom_hooks': [{'priority': 'HIGH'}]}, 'custom_hooks must be a list of dicts, each with a type'),
    ({'custom_hooks': [{'type': 'EMAHook', 'priority': 'HIGHEST_OF_ALL'}]}, 'HIGHEST_OF_ALL'),
    ({'custom_hooks': [{'type': 'EarlyStoppingHook', 'monitor': 'coco/mAP'}]}, 'coco/mAP.* does not compute'),
    ({'custom_hooks': [{'type': 'EarlyStoppingHook'}]}, 'build EarlyStoppingHook .*monitor'),
    ({'log_level': 'LOUD'}, 'log_level must be'),
    ({'log_processor': 'text'}, 'log_processor must be a dict'),
    ({'log_processor.window_size': 0}, 'log_processor.window_size must be'),
    ({'log_processor.type': 'LogProcesor'}, "did you mean 'LogProcessor'"),
    *(({'randomness': {'seed': value}}, 'randomness.seed must be') for value in ('seven', -1, 1.5, 2**32)),
    ({'randomness': 5}, 'randomness must be a dict'),
    ({'randomness': {'sed': 5}}, "randomness.* argument 'sed'"),
    ({'env_cfg.mp_cfg': 'fork'}, 'env_cfg.mp_cfg must be a dict'),
    ({'env_cfg.mp_cfg.mp_start_method': 'spoon'}, 'env_cfg.mp_cfg.mp_start_method must be one of'),
    ({'env_cfg': None}, 'env_cfg'),
    ({'visualizer': 'Local'}, 'visualizer must be a dict'),
    ({'visualizer.type': 'DetLocalVisualiser'}, "did you mean 'DetLocalVisualizer'"),
    ({'visualizer.vis_backends': {'type': 'LocalVisBackend'}}, 'visualizer.vis_backends must be a list'),
    ({'visualizer.vis_backends': [{'type': 'LocalBackend'}]}, r'visualizer.vis_backends\[0\].type'),
    ({'default_scope': 5}, 'default_scope must be'),
    ({'default_scope': 'mmdett'}, "default_scope is 'mmdett'"),
    ({'resume': 'yes'}, 'resume must be'),
    ({'load_from': 5}, 'load_from must be'),
    ({'load_from': 'no/such.pth'}, 'no/such.pth'),
    ({'auto_scale_lr': {'enable': True, 'base_batch_size': 0}}, 'auto_scale_lr.base_batch_size must be'),
    # the model
    ({'model': None}, 'the config has no model'),
    ({'model': 'RetinaNet'}, 'model must be a dict'),
    ({'model': []}, 'model must be a dict'),
    ({'model.type': 'RetinaNett'}, "model.type is 'RetinaNett', .* did you mean 'RetinaNet'"),
    ({'model.type': None}, 'model.type must be'),
    ({'model.backbone': None}, 'backbone'),
    ({'model.backbone': {'_delete_': True}}, 'backbone'),
    ({'model.backbone.type': 'EConvNext'}, "model.backbone.type is 'EConvNext', .* did you mean 'EConvNeXt'"),
    ({'model.backbone.arch': 'tini'}, 'tini'),
    ({'model.backbone.arch': 3}, 'arch'),
    ({'model.backbone.widen_factor': 'x'}, 'model.backbone.widen_factor must be a number'),
    ({'model.backbone.widen_factor': 0}, 'widen_factor'),
    ({'model.backbone.drop_path_rate': 2.0}, 'drop_path_rate'),
    ({'model.backbone.out_indices': [1, 7]}, 'out_indices'),
    ({'model.backbone.frozen_stages': 9}, 'frozen_stages'),
    ({'model.backbone.depth': 50}, "model.backbone.depth: EConvNeXt has no argument 'depth'"),
    ({'model.backbone.init_cfg': {'type': 'Pretrained', 'checkpoint': 'no/such.pth'}}, 'no/such.pth'),
    ({'model.backbone.init_cfg': {'type': 'Pretraned', 'checkpoint': 'x.pth'}}, "did you mean 'Pretrained'"),
    (
        {'model.neck.in_channels': [1, 2]},
        r'model.neck.in_channels is \[1, 2\], .* set model.neck.in_channels=\[48, 96, 192\]',
    ),
    ({'model.neck.in_channels': 48}, 'FPN'),
    ({'model.neck.out_channels': 'many'}, 'model.neck.out_channels must be a whole number'),
    ({'model.neck.num_out': 5}, "model.neck.num_out: FPN has no argument 'num_out'; did you mean 'num_outs'"),
    ({'model.bbox_head.num_classes': 'three'}, 'num_classes=three, but the dataset has 4 classes'),
    ({'model.bbox_head.num_classes': 80}, 'num_classes'),
    ({'model.bbox_head.num_classes': -1}, 'num_classes'),
    ({'model.bbox_head.loss_cls.type': 'FocalLos'}, "did you mean 'FocalLoss'"),
    ({'model.bbox_head.loss_cls.gama': 2.0}, "did you mean 'gamma'"),
    ({'model.bbox_head.anchor_generator.type': 'AnchorGen'}, 'model.bbox_head.anchor_generator.type'),
    ({'model.bbox_head.anchor_generator': None}, 'anchor_generator|RetinaHead'),
    ({'model.train_cfg.assigner.type': 'MaxIouAssigner'}, "did you mean 'MaxIoUAssigner'"),
    ({'model.data_preprocessor.type': 'DetPreprocessor'}, 'model.data_preprocessor.type'),
    ({'model.data_preprocessor.mean': [1, 2]}, 'DetDataPreprocessor|mean'),
    ({'model.data_preprocessor.std': 'x'}, 'DetDataPreprocessor|std'),
    # datasets and their pipelines
    ({'train_dataloader': None}, 'no train_dataloader'),
    ({'train_dataloader': []}, 'train_dataloader must be a dict'),
    ({DATASET: None}, f'{DATASET} must be a dict'),
    ({f'{DATASET}.type': 'CocoDatset'}, f"{DATASET}.type is 'CocoDatset', .* did you mean 'CocoDataset"),
    ({f'{DATASET}.data_root': 5}, f'{DATASET}.data_root must be'),
    ({f'{DATASET}.data_root': 'no/such/'}, 'no/such/'),
    ({f'{DATASET}.ann_file': 5}, f'{DATASET}.ann_file must be'),
    ({f'{DATASET}.ann_file': 'no.json'}, 'no.json'),
    ({f'{DATASET}.data_prefix': 'train/'}, f'{DATASET}.data_prefix must be a dict'),
    ({f'{DATASET}.metainfo': ['a']}, f'{DATASET}.metainfo must be a dict'),
    ({f'{DATASET}.metainfo': {'classes': 5}}, 'classes'),
    ({f'{DATASET}.metainfo': {'classes': 'circle'}}, 'metainfo.classes'),
    ({f'{DATASET}.filter_cfg': True}, f'{DATASET}.filter_cfg must be a dict'),
    ({f'{DATASET}.filter_cfg': {'min_size': 10**6}}, 'filter_cfg'),
    ({f'{DATASET}.indices': 'ten'}, 'indices'),
    ({f'{DATASET}.pipeline': 'train'}, f'{DATASET}.pipeline must be a list'),
    ({f'{DATASET}.pipeline': []}, f'{DATASET}.pipeline is empty'),
    ({f'{DATASET}.pipeline': [{'type': 'LoadImage'}]}, rf"{DATASET}.pipeline\[0\].type is 'LoadImage'"),
    ({f'{DATASET}.pipeline': [{'type': 'RandomFlip', 'probability': 1}]}, "has no argument 'probability'"),
    ({f'{DATASET}.pipeline': [{'prob': 0.5}]}, f'{DATASET}.pipeline must be a list of dicts, each with a type'),
    ({f'{DATASET}.pipeline_': []}, f"{DATASET}.pipeline_: .* did you mean 'pipeline'"),
    ({'train_dataloader.sampler': 'DefaultSampler'}, 'train_dataloader.sampler must be'),
    ({'train_dataloader.sampler.type': 'DefaultSampel'}, "did you mean 'DefaultSampler'"),
    ({'train_dataloader.batch_sampler.type': 'AspectRatioBatch'}, "did you mean 'AspectRatioBatchSampler'"),
    ({'train_dataloader.collate_fn': {'type': 'collate'}}, 'train_dataloader.collate_fn'),
    # evaluation
    ({'val_evaluator': None}, 'no val_evaluator'),
    ({'val_evaluator': 'coco'}, 'val_evaluator must be'),
    ({'val_evaluator.type': 'CocoMetrik'}, "did you mean 'CocoMetric'"),
    ({'val_evaluator.metric': 'mAP'}, 'metric'),
    ({'val_evaluator.metric': 5}, 'metric'),
    ({'val_evaluator.ann_file': 'no.json'}, 'no.json'),
    ({'val_evaluator.ann_file': 5}, 'ann_file'),
    ({'val_evaluator.clas_wise': True}, "val_evaluator.clas_wise: .* did you mean 'classwise'"),
    ({'val_cfg': None}, 'no val_cfg'),
    ({'val_cfg.type': 'ValLop'}, "did you mean 'ValLoop'"),
    ({'train_cfg.type': 'EpochLoop'}, 'train_cfg.type'),
    ({'train_cfg': None}, 'no train_cfg'),
    ({'train_cfg': []}, 'train_cfg must be'),
]


@pytest.fixture(scope='module')
def attempt(shapes, tmp_path_factory):
    """A function that starts a training run with changed settings, and returns its error."""

    def start(changes):
        work_dir = tmp_path_factory.mktemp('runs') / 'run'
        cfg = load_config(DEMO, options(shapes, work_dir), work_dir=str(work_dir))
        for place, value in changes.items():  # as a config file sets them, since --cfg-options merges dicts
            *parts, name = place.split('.')
            section = cfg
            for part in parts:
                section = section.setdefault(part, {})
            section[name] = value
        with pytest.raises((UserError, OSError)) as caught:
            train(cfg)
        return str(caught.value), [path for path in work_dir.rglob('*.pth')]

    return start


@pytest.mark.parametrize('changes, says', MALFORMED, ids=[str(changes)[:90] for changes, _ in MALFORMED])
def test_a_malformed_setting_is_named(attempt, changes, says):
    message, checkpoints = attempt(changes)
    assert re.search(says, message), message
    assert '\n' not in message and not checkpoints


@pytest.mark.parametrize(
    'text, says',
    [
        ('', 'the config has no model'),
        ('x = 1', 'the config has no model'),
        ('model = dict(', 'cannot read the config .*SyntaxError'),
        ("_base_ = 'nowhere.py'", 'cannot read the config'),
        ('_base_ = 5', 'cannot read the config'),
        ("custom_imports = dict(imports=['no_such_module'])", 'no_such_module'),
        ('raise RuntimeError("stop")', 'cannot read the config .*stop'),
    ],
)
@pytest.mark.parametrize('task', ['train', 'test'])
def test_a_malformed_config_is_named(task, text, says, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        cfg = load_config(str(path))
        train(cfg) if task == 'train' else evaluate(cfg, 'no.pth')
