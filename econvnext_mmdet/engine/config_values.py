"""The types and the ranges of the settings that MMEngine reads, in one table."""

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config

from ..utils.errors import UserError, is_utf8


@dataclass(frozen=True)
class Rule:
    """What a setting may be.

    Attributes:
        accepts: Whether a value is right.
        expected: What the value must be, for the message.
    """

    accepts: Callable[[Any], bool]
    expected: str

    def or_none(self) -> 'Rule':
        """The same rule, which also accepts None."""
        return Rule(lambda value: value is None or self.accepts(value), f'{self.expected}, or None')


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number. True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number. True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def whole(least: int, most: int | None = None) -> Rule:
    """The rule for a whole number."""
    expected = f'a whole number of at least {least}' if most is None else f'a whole number from {least} to {most}'
    return Rule(lambda value: is_whole(value) and least <= value and (most is None or value <= most), expected)


def number(least: float, most: float | None = None) -> Rule:
    """The rule for a finite number."""
    expected = f'a number of at least {least:g}' if most is None else f'a number from {least:g} to {most:g}'
    return Rule(lambda value: is_number(value) and least <= value and (most is None or value <= most), expected)


def count(least: int) -> Rule:
    """The rule for a number of epochs or iterations. MMEngine's loops take 2e4 for 20000."""
    return Rule(
        lambda value: is_number(value) and value == int(value) and least <= value,
        f'a whole number of at least {least}',
    )


def one_of(*values: Any) -> Rule:
    """The rule for a value out of a few."""
    return Rule(lambda value: value in values, f'one of {", ".join(map(repr, values))}')


def list_of(rule: Rule, items: str) -> Rule:
    """The rule for a list or a tuple."""
    return Rule(lambda value: isinstance(value, (list, tuple)) and all(map(rule.accepts, value)), f'a list of {items}')


SETTINGS = Rule(lambda value: isinstance(value, Mapping), 'a dict of settings')
TYPED = Rule(lambda value: isinstance(value, Mapping) and 'type' in value, 'a dict with a type')
PARTS = list_of(TYPED, 'dicts, each with a type')
SETTINGS_OR_PARTS = Rule(
    lambda value: SETTINGS.accepts(value) or PARTS.accepts(value), 'a dict, or a list of dicts, each with a type'
)
TEXT = Rule(lambda value: isinstance(value, str), 'a text')
PATH = Rule(lambda value: isinstance(value, (str, os.PathLike)) and is_utf8(os.fspath(value)), 'a path in UTF-8')
FLAG = Rule(lambda value: isinstance(value, (bool, int)) and value in (0, 1), 'True or False')
INTERVAL = Rule(
    lambda value: is_whole(value) and (value >= 1 or value == -1), 'a whole number of at least 1, or -1: never'
)
NAMES = Rule(lambda value: isinstance(value, str) or list_of(TEXT, '').accepts(value), 'a text, or a list of texts')
PAIR = Rule(lambda value: list_of(whole(0), '').accepts(value) and len(value) == 2, 'a pair of whole numbers')
FACTOR = Rule(lambda value: is_number(value) and 0 < value <= 1, 'a number above 0 and up to 1')
ALL_IMAGES = Rule(lambda value: value in (False, None), 'False: the objects of images left out would count as missed')
ABOVE_ZERO = Rule(lambda value: is_number(value) and value > 0, 'a number above 0')
STRIDE = Rule(lambda value: ABOVE_ZERO.accepts(value) or list_of(ABOVE_ZERO, '').accepts(value) and len(value) == 2, '')
TEMPLATE = Rule(
    lambda value: isinstance(value, str) and bool(re.fullmatch(r'[^{}/\\]*\{\}[^{}/\\]*', value)),
    'the name of a file with {} in the place of the number, without a folder',
).or_none()
MULTIPLIERS = ('lr_mult', 'decay_mult')
# Optimisers have names of their own, such as fix_lr, so only a similar name is a mistake.
CUSTOM_KEYS = Rule(
    lambda value: isinstance(value, Mapping)
    and all(
        isinstance(part, Mapping)
        and all(name in MULTIPLIERS or not get_close_matches(name, MULTIPLIERS, cutoff=0.8) for name in part)
        for part in value.values()
    ),
    'a dict of dicts with lr_mult and decay_mult',
)
LEVELS = ('CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'NOTSET')

# By the path of a setting without the numbers of list items. A star stands for a part of a name, and two for any path.
RULES = {
    'model': TYPED,
    'model.backbone': TYPED,
    'model**.bbox_coder.target_stds': list_of(ABOVE_ZERO, 'numbers above 0'),
    'model.data_preprocessor.mean': list_of(number(-1e6, 1e6), 'numbers from -1e6 to 1e6').or_none(),
    'model.data_preprocessor.std': list_of(number(1e-6, 1e6), 'numbers from 1e-6 to 1e6').or_none(),
    'model.data_preprocessor.pad_size_divisor': whole(1),
    'model**.anchor_generator.octave_base_scale': ABOVE_ZERO.or_none(),
    'model**.anchor_generator.strides': list_of(STRIDE, 'numbers above 0, or of pairs of them'),
    'model**.initial_epoch': whole(0),
    'model.train_cfg**.pos_iou_thr': number(0, 1),
    'model.train_cfg**.min_pos_iou': number(0, 1),
    'tta_model': TYPED.or_none(),
    **{
        f'{part}**.{name}': rule
        for part in ('model.test_cfg', 'tta_model.tta_cfg')
        for name, rule in (
            ('score_thr', number(0, 1)),
            ('max_per_img', whole(1)),
            ('min_bbox_size', number(-1, 1e6)),
            ('nms.iou_threshold', number(0, 1)),
            ('nms.type', one_of('nms', 'soft_nms', 'nms_match')),
        )
    },
    '*_dataloader': SETTINGS.or_none(),
    '*_dataloader.batch_size': whole(1),
    '*_dataloader.num_workers': whole(0, 256),
    '*_dataloader.prefetch_factor': whole(1).or_none(),
    '*_dataloader.timeout': number(0),
    '*_dataloader.persistent_workers': FLAG,
    '*_dataloader.pin_memory': FLAG,
    '*_dataloader.drop_last': FLAG,
    'val_dataloader.drop_last': ALL_IMAGES,
    'test_dataloader.drop_last': ALL_IMAGES,
    '*_dataloader.dataset': SETTINGS_OR_PARTS,
    '*_dataloader.sampler': SETTINGS,
    '*_dataloader.sampler.shuffle': FLAG,
    '*_dataloader.sampler.round_up': FLAG,
    '*_dataloader.batch_sampler': SETTINGS.or_none(),
    '*_dataloader.batch_sampler.drop_last': FLAG,
    '*_dataloader.dataset**.pipeline': PARTS,
    '*_dataloader.dataset**.metainfo': SETTINGS.or_none(),
    '*_dataloader.dataset**.metainfo.classes': Rule(
        lambda value: bool(value) and NAMES.accepts(value), 'a text, or a list of texts that is not empty'
    ).or_none(),
    '*_dataloader.dataset**.filter_cfg': SETTINGS.or_none(),
    '*_dataloader.dataset**.data_prefix': Rule(lambda value: isinstance(value, (Mapping, str)), 'a dict').or_none(),
    '*_dataloader.dataset**.data_prefix.*': TEXT,
    '*_dataloader.dataset**.data_root': TEXT.or_none(),
    '*_dataloader.dataset**.ann_file': TEXT,
    '*_evaluator': SETTINGS_OR_PARTS.or_none(),
    '*_evaluator**.ann_file': TEXT.or_none(),
    '*_evaluator**.metric': NAMES,
    '*_evaluator**.prefix': TEXT.or_none(),
    '*_evaluator**.collect_device': one_of('cpu', 'gpu'),
    '*_evaluator**.classwise': FLAG,
    'train_cfg': SETTINGS.or_none(),
    'val_cfg': SETTINGS.or_none(),
    'test_cfg': SETTINGS.or_none(),
    'train_cfg.by_epoch': FLAG,
    'train_cfg.max_epochs': count(1),
    'train_cfg.max_iters': count(1),
    'train_cfg.val_begin': count(0),
    'train_cfg.val_interval': count(1),
    'train_cfg.dynamic_intervals': list_of(PAIR, 'pairs: from which epoch or iteration, and the interval').or_none(),
    'optim_wrapper': SETTINGS.or_none(),
    'optim_wrapper.accumulative_counts': whole(1),
    'optim_wrapper.clip_grad': SETTINGS.or_none(),
    'optim_wrapper.clip_grad.max_norm': number(0),
    'optim_wrapper.optimizer': SETTINGS,
    'optim_wrapper.optimizer.lr': number(0),
    'optim_wrapper.optimizer.weight_decay': number(0),
    'optim_wrapper.optimizer.momentum': number(0, 1),
    'optim_wrapper.optimizer.eps': number(0),
    'optim_wrapper.optimizer.betas': list_of(number(0, 1), 'numbers from 0 to 1'),
    'optim_wrapper.paramwise_cfg': SETTINGS.or_none(),
    'optim_wrapper.paramwise_cfg.*_mult': number(0),
    'optim_wrapper.paramwise_cfg.custom_keys': CUSTOM_KEYS,
    'param_scheduler': SETTINGS_OR_PARTS.or_none(),
    'param_scheduler.begin': whole(0),
    'param_scheduler.end': whole(1).or_none(),
    'param_scheduler.by_epoch': FLAG,
    'param_scheduler.convert_to_iter_based': FLAG,
    'param_scheduler.T_max': whole(1).or_none(),
    'param_scheduler.step_size': whole(1),
    'param_scheduler.milestones': list_of(whole(0), 'whole numbers'),
    'param_scheduler.gamma': number(0),
    'param_scheduler.eta_min': number(0).or_none(),
    'param_scheduler.start_factor': FACTOR,
    'param_scheduler.end_factor': number(0, 1),
    'param_scheduler.factor': number(0),
    'default_hooks': SETTINGS.or_none(),
    'default_hooks.*': SETTINGS.or_none(),
    'default_hooks.*.interval': INTERVAL,
    'default_hooks.checkpoint.max_keep_ckpts': INTERVAL,
    'default_hooks.checkpoint.save_best': NAMES.or_none(),
    'default_hooks.checkpoint.by_epoch': FLAG,
    'default_hooks.checkpoint.filename_tmpl': TEMPLATE,
    'custom_hooks': PARTS.or_none(),
    'custom_hooks.interval': INTERVAL,
    'custom_hooks.momentum': number(0, 1),
    'visualizer': SETTINGS.or_none(),
    'visualizer.vis_backends': PARTS.or_none(),
    'vis_backends': PARTS.or_none(),
    'log_processor': SETTINGS.or_none(),
    'log_processor.window_size': whole(1),
    'log_processor.by_epoch': FLAG,
    'log_level': Rule(lambda value: is_whole(value) or value in LEVELS, f'one of {", ".join(LEVELS)}'),
    'randomness': SETTINGS.or_none(),
    'randomness.seed': whole(0, 2**32 - 1).or_none(),
    'randomness.deterministic': FLAG,
    'randomness.diff_rank_seed': FLAG,
    'env_cfg': SETTINGS,
    'env_cfg.cudnn_benchmark': FLAG,
    'env_cfg.mp_cfg': SETTINGS.or_none(),
    'env_cfg.mp_cfg.mp_start_method': one_of('fork', 'spawn', 'forkserver', None),
    'env_cfg.mp_cfg.opencv_num_threads': whole(0),
    'env_cfg.dist_cfg': SETTINGS.or_none(),
    'auto_scale_lr': SETTINGS.or_none(),
    'auto_scale_lr.enable': FLAG,
    'auto_scale_lr.base_batch_size': whole(1),
    'custom_imports': SETTINGS.or_none(),
    'find_unused_parameters': FLAG,
    'default_scope': TEXT.or_none(),
    'experiment_name': TEXT.or_none(),
    'load_from': PATH.or_none(),
    'work_dir': PATH,
    'resume': FLAG,
}
_RULES = [
    (re.compile(re.escape(path).replace(r'\*\*', '.*').replace(r'\*', '[^.]*')), rule) for path, rule in RULES.items()
]


def check_values(cfg: Config) -> None:
    """Check the settings of a config that MMEngine reads.

    Raises:
        UserError: A setting has another type than MMEngine expects, or is out of its range.
    """
    if cfg.get('model') is None:
        raise UserError('the config has no model. Set model, or inherit from a config that has one with _base_.')
    for where, path, value in _settings(dict(cfg.items())):
        for pattern, rule in _RULES:
            if pattern.fullmatch(path) and not rule.accepts(value):
                raise UserError(f'{where} must be {rule.expected}; got {value!r}')
        if isinstance(value, float) and math.isnan(value):
            raise UserError(f'{where} is NaN, which is not a number')
    schedulers = cfg.get('param_scheduler') or ()
    for scheduler in schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]:
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        if end is not None and end <= begin:
            raise UserError(f'a part of param_scheduler ends at {end}, which is not after its begin at {begin}')


def _settings(part: Any, where: str = '', path: str = '') -> Iterator[tuple[str, str, Any]]:
    """The place of each setting for the message, its path without the numbers of list items, and its value."""
    if isinstance(part, Mapping):
        for name, value in part.items():
            place, below = (f'{where}.{name}', f'{path}.{name}') if path else (str(name), str(name))
            yield place, below, value
            yield from _settings(value, place, below)
    elif isinstance(part, (list, tuple)):
        for index, item in enumerate(part):
            yield from _settings(item, f'{where}[{index}]', path)
