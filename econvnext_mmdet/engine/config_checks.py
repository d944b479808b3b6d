"""Checks of the settings of a config that would otherwise fail late, or with an error of a library."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config

from ..datasets.dataset_files import registered_type
from ..evaluation.coco_stats import COCO_STATS
from ..utils.config import datasets_of, evaluators_of, is_classification, judges_parts, type_name
from ..utils.errors import UserError, did_you_mean, examples, repeated
from .config_types import check_types
from .config_values import check_values

# The packages that the backends need, which write logs elsewhere.
BACKENDS = {
    'TensorboardVisBackend': 'tensorboard',
    'WandbVisBackend': 'wandb',
    'ClearMLVisBackend': 'clearml',
    'NeptuneVisBackend': 'neptune',
    'DVCLiveVisBackend': 'dvclive',
    'AimVisBackend': 'aim',
    'MLflowVisBackend': 'mlflow',
}
# They give images without an end, so only a loop that counts iterations ends.
ENDLESS = ('InfiniteSampler', 'MultiSourceSampler', 'GroupMultiSourceSampler')
# They move the objects, and nothing moves the detections back.
MOVING = ('RandomFlip', 'RandomAffine', 'RandomCrop', 'RandomShift', 'MinIoURandomCrop', 'Expand', 'Mosaic', 'MixUp')
# The settings of a split, which MMEngine needs all together or not at all.
PARTS = dict(
    train=('train_dataloader', 'train_cfg', 'optim_wrapper'),
    val=('val_dataloader', 'val_cfg', 'val_evaluator'),
    test=('test_dataloader', 'test_cfg', 'test_evaluator'),
)


def check_settings(cfg: Config, splits: Sequence[str]) -> None:
    """Check settings that a run reads after a while, and make those fit that have only one meaning.

    A loader without workers cannot keep them: ``persistent_workers`` becomes False there. A config without an optimizer
    has no schedule of its learning rate either.

    Args:
        cfg: The whole config.
        splits: The splits that the run uses, some of 'train', 'val' and 'test'.

    Raises:
        UserError: A split lacks a setting, a setting is not a whole number, a package is not installed, two metrics
            have one name, a hook waits for a metric that the evaluator does not compute, a wrapper does not fit its
            dataset, a sampler never ends, or an evaluation moves its objects.
    """
    check_values(cfg)
    for split, parts in PARTS.items():
        lacking = [name for name in parts if cfg.get(name) is None]
        if lacking and (split in splits or len(lacking) < len(parts)):
            raise UserError(
                f'the config has no {" and no ".join(lacking)}. Set {", ".join(parts)}'
                + (', for example to those of the validation.' if split == 'test' else '.')
            )
    check_types(cfg)
    if cfg.get('optim_wrapper') is None:
        cfg.param_scheduler = None
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if loader and loader.get('num_workers', 0) == 0:
            loader['persistent_workers'] = False
            loader.pop('prefetch_factor', None)
    for backend in [*((cfg.get('visualizer') or {}).get('vis_backends') or ()), *(cfg.get('vis_backends') or ())]:
        package = BACKENDS.get(type_name(backend))
        if package and not find_spec(package):
            raise UserError(
                f'visualizer.vis_backends has {type_name(backend)}, and {package} is not installed: run '
                f'`pip install {package}`, or remove the backend from the config'
            )
    for split in splits:
        for dataset in datasets_of(cfg, split):
            _check_dataset(cfg, dataset, f'{split}_dataloader.dataset')
            if split != 'train' and not is_classification(cfg):
                _check_still(dataset, f'{split}_dataloader.dataset')
        _check_sampler(cfg, split)
        _check_balanced((cfg.get(f'{split}_dataloader') or {}).get('dataset'), f'{split}_dataloader.dataset')
        twice = repeated(_metric_names(cfg, split) or [])
        if twice is not None:
            raise UserError(
                f'two metrics of {split}_evaluator compute {twice!r}. Give each a prefix of its own, such as '
                "prefix='first' and prefix='second'."
            )
    if 'val' in splits:
        _check_monitored(cfg)


def _check_dataset(cfg: Config, dataset: dict, where: str) -> None:
    """Check that a dataset has a pipeline, and folders that its library understands."""
    if isinstance(dataset.get('data_prefix'), str) and not is_classification(cfg):
        raise UserError(f'{where}.data_prefix must be a dict, such as dict(img={dataset["data_prefix"]!r})')
    if dataset.get('pipeline') == []:
        raise UserError(f'{where}.pipeline is empty; it must load the image and pack the sample, as with PackDetInputs')


def _check_still(dataset: dict, where: str) -> None:
    """Check that the images of an evaluation stay as their annotations describe them."""
    for step in dataset.get('pipeline') or ():
        if type_name(step) in MOVING and step.get('prob') != 0:
            raise UserError(
                f'{where}.pipeline has {type_name(step)}, which is for training: the detections would be compared with '
                'objects in other places. Remove it. For test-time augmentation, use tools/test.py --tta.'
            )


def _check_sampler(cfg: Config, split: str) -> None:
    """Check that a loop that goes through a dataset once does not get images without an end."""
    sampler = (cfg.get(f'{split}_dataloader') or {}).get('sampler') or {}
    settings = cfg.get(f'{split}_cfg') or {}
    if 'type' in sampler and type_name(sampler) in ENDLESS and not (split == 'train' and 'max_iters' in settings):
        raise UserError(
            f'{split}_dataloader.sampler is {type_name(sampler)}, which never ends, and the loop waits for its end. '
            "Use type='DefaultSampler'" + (', or train with train_cfg.max_iters.' if split == 'train' else '.')
        )


def _check_balanced(dataset: Any, where: str) -> None:
    """Check that each ClassBalancedDataset can ask its dataset for the classes of an image."""
    if isinstance(dataset, (list, tuple)):
        for number, part in enumerate(dataset):
            _check_balanced(part, f'{where}[{number}]')
    elif isinstance(dataset, dict):
        inner = dataset.get('dataset')
        if type_name(dataset) == 'ClassBalancedDataset' and isinstance(inner, dict):
            kind = registered_type(inner)
            if kind is not None and not hasattr(kind, 'get_cat_ids'):
                raise UserError(
                    f'{where} is a ClassBalancedDataset, which needs the classes of each image, and {where}.dataset is '
                    f'a {type_name(inner)}, which does not know them. Put the ClassBalancedDataset inside the '
                    f'{type_name(inner)}.'
                )
        for name in ('dataset', 'datasets'):
            _check_balanced(dataset.get(name), f'{where}.{name}')


def _check_monitored(cfg: Config) -> None:
    """Check that the metrics for which hooks and schedulers wait are computed, if all metrics are known."""
    known = _metric_names(cfg, 'val')
    if known is None:
        return
    by_class = any(evaluator.get('classwise') for evaluator in evaluators_of(cfg, 'val'))
    for place, name in _monitored(cfg):
        if name not in known and not (by_class and name.endswith('_precision')):
            raise UserError(
                f'{place} is {name!r}, which val_evaluator does not compute; '
                + did_you_mean(name, known, f'it computes {examples(known)}', cutoff=0.3)
            )


def _monitored(cfg: Config) -> Iterator[tuple[str, str]]:
    """The places and names of the metrics for which a run waits."""
    hooks = [
        *(cfg.get('default_hooks') or {}).items(),
        *((hook['type'], hook) for hook in cfg.get('custom_hooks') or ()),
    ]
    for place, hook in hooks:
        if not hook:
            continue
        best = hook.get('save_best')
        names = [best] if isinstance(best, str) else list(best or ())
        names += [hook['monitor']] if isinstance(hook.get('monitor'), str) else []
        yield from ((f'{"save_best" if best else "monitor"} of {place}', name) for name in names if name != 'auto')
    schedulers = cfg.get('param_scheduler') or ()
    for scheduler in schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]:
        if isinstance(scheduler, dict) and isinstance(scheduler.get('monitor'), str) and scheduler['monitor'] != 'loss':
            yield f'monitor of {type_name(scheduler)} in param_scheduler', scheduler['monitor']


def _metric_names(cfg: Config, split: str) -> list[str] | None:
    """The names of all metrics of a split but those of single classes, or None if a metric is of an unknown kind."""
    names = []
    evaluators: list[Any] = evaluators_of(cfg, split)
    parts = judges_parts(cfg, split)
    prefixes = cfg[f'{split}_evaluator']['dataset_prefixes'] if parts else [''] * len(evaluators)
    for part, evaluator in zip(prefixes, evaluators):
        if type_name(evaluator) == 'VOCMetric' and evaluator.get('metric', 'mAP') == 'mAP':
            prefix = (f'{part}/' if part else '') + (evaluator.get('prefix') or 'pascal_voc')
            thresholds = evaluator.get('iou_thrs', 0.5)
            names.append(f'{prefix}/mAP')
            for threshold in [thresholds] if isinstance(thresholds, float) else thresholds:
                names.append(f'{prefix}/AP{int(threshold * 100):02d}')
            continue
        if type_name(evaluator) not in ('OfficialCocoMetric', 'CocoMetric') or evaluator.get('format_only'):
            return None
        prefix = (f'{part}/' if part else '') + (evaluator.get('prefix') or 'coco')
        metric = evaluator.get('metric', 'bbox')
        official = type_name(evaluator) == 'OfficialCocoMetric'
        for iou_type in [metric] if isinstance(metric, str) else metric:
            if iou_type not in ('bbox', 'segm'):
                return None
            stats = [stat.mmdet_name for stat in COCO_STATS.values()]
            names += [f'{prefix}/{iou_type}_{name}' for name in stats if official or name.startswith('mAP')]
    return names
