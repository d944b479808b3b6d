"""Training a config, for tools/train.py."""

import math
from collections.abc import Sequence
from types import NoneType

import torch
from mmengine.config import Config

from ..datasets.classes import configured_classes
from ..models import EConvNeXt
from ..utils.config import explain_user_errors, type_name
from ..utils.errors import UserError
from ..weights.checkpoint import pretrained_of, read_checkpoint
from .config_values import check_values, is_whole
from .runner import build_runner, check_before_run, is_first_process
from .saving import checkpoint_folder, latest_checkpoint, own_work_dir


def train(
    cfg: Config,
    amp: bool = False,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    pretrained: str | None = None,
) -> None:
    """Train the detector or classifier of a config, evaluate it, and log the COCO table and the path of the checkpoint.

    Args:
        cfg: The config, from :func:`~econvnext_mmdet.utils.config.load_config`.
        amp: Train in mixed precision. Defaults to False.
        auto_scale_lr: Scale the learning rate to the total batch size, as ``auto_scale_lr`` in the config says.
            Defaults to False.
        resume: The checkpoint of a training run to continue, or 'auto' for the latest checkpoint in the work directory.
            If there is none, training starts from the beginning. Defaults to None.
        pretrained: A checkpoint to initialise the backbone from. It must fit. Defaults to None.

    Raises:
        UserError: A mistake that the user can fix. Most are found before the first step. Unreadable images, wrong
            labels and a last batch of one image are found during training.
    """
    check_values(cfg)  # before its parts are read and changed
    set_precision(cfg, amp)
    if auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError(
                '--auto-scale-lr needs auto_scale_lr.base_batch_size in the config: the total batch size of all GPUs '
                'for which its learning rate was chosen'
            )
        cfg.auto_scale_lr.enable = True
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from = latest_checkpoint(cfg.work_dir, checkpoint_folder(cfg))
    if cfg.get('resume') and cfg.load_from:
        _check_progress(cfg)
    if pretrained is not None:
        _start_from(cfg, pretrained)
    _check_frozen(cfg)
    # MMPretrain's val_cfg is an empty dict, which is false, so compare it with None.
    splits = ['train', 'val'] if cfg.get('val_cfg') is not None else ['train']
    with explain_user_errors():
        check_before_run(cfg, splits, _trained_classes(cfg, splits))
        with own_work_dir(cfg.work_dir, bool(cfg.get('resume')), is_first_process(cfg), checkpoint_folder(cfg)):
            build_runner(cfg, splits).train()


def _check_progress(cfg: Config) -> None:
    """Check how far the training run has come that goes on.

    Raises:
        UserError: The checkpoint does not say it, or the run has come further than the config trains.
    """
    path, settings = cfg.load_from, cfg.get('train_cfg') or {}
    meta = read_checkpoint(path).meta
    for key in ('epoch', 'iter'):
        most = settings.get(f'max_{key}s', math.inf)
        if not is_whole(meta.get(key)) or meta[key] < 0:
            raise UserError(
                f'{path} is no checkpoint of a training run: its {key} is {meta.get(key)!r}, and a whole number was '
                'expected. To start from its weights only, set load_from, without --resume.'
            )
        if meta[key] > most:
            raise UserError(
                f'{path} is from {key} {meta[key]}, and the config trains until {most}; raise train_cfg.max_{key}s, or '
                'give an earlier checkpoint'
            )
    if not isinstance(meta.get('seed'), (int, NoneType)):
        raise UserError(f'{path} is damaged: its seed is {meta["seed"]!r}. Give another checkpoint.')


def _trained_classes(cfg: Config, splits: Sequence[str]) -> Sequence[str] | None:
    """The classes of the checkpoint from which training starts, in the order of its labels, or None if it has none.

    A training run that goes on keeps its classes. One that starts from other weights may have new ones. If it has the
    same names, the labels stay the same too.
    """
    path = cfg.get('load_from')
    if not path or '://' in path:
        return None
    names = read_checkpoint(path).classes
    if names and not cfg.get('resume') and {*names} != {*configured_classes(cfg, splits)[1]}:
        return None
    return names


def set_precision(cfg: Config, amp: bool) -> None:
    """Turn on mixed precision, and check that the device supports it.

    Args:
        cfg: The config, which is changed.
        amp: Turn on mixed precision. If False, the config decides.

    Raises:
        UserError: Mixed precision is on and there is no GPU.
    """
    if amp and cfg.get('optim_wrapper'):
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    wrapper = (cfg.get('optim_wrapper') or {}).get('type', 'OptimWrapper')
    if 'Amp' in getattr(wrapper, '__name__', wrapper) and not torch.cuda.is_available():
        raise UserError(
            'mixed precision needs a GPU, and PyTorch sees none here; leave out --amp, or replace AmpOptimWrapper in '
            'the config by OptimWrapper'
        )


def _start_from(cfg: Config, pretrained: str) -> None:
    """Set the checkpoint that initialises the backbone."""
    backbone = cfg.model.get('backbone') or {}
    if not _is_ours(backbone):
        raise UserError(
            f'--pretrained initialises an EConvNeXt backbone, and this config has {backbone.get("type")}; set '
            'model.backbone.init_cfg instead'
        )
    read_checkpoint(pretrained)  # an unreadable file is an error now, before MMEngine prints the whole config
    backbone['init_cfg'] = dict(type='Pretrained', checkpoint=pretrained)


def _is_ours(backbone: dict) -> bool:
    return 'type' in backbone and type_name(backbone) == EConvNeXt.__name__


def _check_frozen(cfg: Config) -> None:
    """Check that there is a checkpoint for frozen weights and statistics."""
    backbone = cfg.model.get('backbone') or {}
    frozen = [
        name
        for name, default in (('frozen_stages', -1), ('norm_eval', False))
        if backbone.get(name, default) != default
    ]
    starts = cfg.get('load_from') or any(pretrained_of(part.get('init_cfg')) for part in (backbone, cfg.model))
    if _is_ours(backbone) and frozen and not starts:
        raise UserError(
            f'{" and ".join(frozen)} of the backbone would freeze weights or statistics that were never trained; give '
            "a checkpoint with --pretrained, in the backbone's init_cfg or in load_from"
        )
