"""The checks before a run, and the runner. Training and testing share them."""

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from uuid import uuid4

import torch
from mmdet.registry import RUNNERS
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch import distributed

from ..datasets.checks import check_datasets
from ..datasets.classes import unify_classes
from ..deploy.predictors import ExportedPredictor
from ..models import EConvNeXt
from ..utils.config import evaluate_masks, evaluators_of, is_classification, type_name
from ..utils.errors import UserError
from ..utils.files import drop_link, is_same
from ..utils.memory import keep_freed_memory
from ..utils.model import has_cuda_operators, unwrap
from ..weights.checkpoint import use_safe_loaders
from .config_checks import check_settings
from .detection_hooks import UsableDataHook
from .hooks import CocoTableHook, DatasetPartsHook, EpochSeedHook, FiniteHook, ScheduleEndHook
from .resumed import ResumedStateHook
from .saving import WholeCheckpointHook

_EARLIER_RUNS = count()


class _Runner(Runner):
    """MMEngine's runner, but a config that lies in the work directory stays as the user wrote it."""

    def dump_config(self) -> None:
        """Write the settings of the run into the work directory. They are in ``vis_data/config.py``, too."""
        stored = Path(self.work_dir, Path(self.cfg.filename or '').name)
        if is_same(self.cfg.filename or '', stored):
            return
        drop_link(stored)
        super().dump_config()


def check_before_run(cfg: Config, splits: Sequence[str], trained: Sequence[str] | None = None) -> None:
    """Check the launcher, MMCV's operators, the settings and the data.

    In a distributed run, only the first process checks the data.

    The datasets get the same classes in the same order, see :func:`~econvnext_mmdet.datasets.classes.unify_classes`.

    Args:
        cfg: The whole config. The classes of its datasets are changed.
        splits: The splits that the run uses, some of 'train', 'val' and 'test'.
        trained: The classes of a checkpoint, in the order of its labels. Defaults to None: unknown.

    Raises:
        UserError: The run would fail or give wrong results.
    """
    if cfg.launcher in ('slurm', 'mpi') and not torch.cuda.is_available():
        raise UserError(
            f'--launcher {cfg.launcher} gives each process a GPU, and PyTorch sees none here; leave the option out, or '
            'start several processes on the CPU with tools/dist_train.sh'
        )
    if cfg.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch is for processes that torchrun starts; call tools/dist_train.sh or tools/dist_test.sh, '
            'or leave the option out'
        )
    if torch.cuda.is_available() and not has_cuda_operators():
        raise UserError(
            "PyTorch sees a GPU, but MMCV was built with CPU operators only: set CUDA_VISIBLE_DEVICES='' to use the "
            'CPU, or build MMCV with nvcc'
        )
    check_settings(cfg, splits)
    unify_classes(cfg, splits, trained)
    if is_first_process(cfg):
        check_datasets(cfg, splits)


def is_first_process(cfg: Config) -> bool:
    """Whether this is the only process of a run, or the first one. It can be called before the processes are joined."""
    # MMEngine sets RANK only when it builds the runner. Slurm gives a rank to every task, even to one that is not part
    # of a distributed training run.
    ranks = [os.environ[name] for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK') if name in os.environ]
    return cfg.launcher == 'none' or not ranks or int(ranks[0]) == 0


def build_runner(cfg: Config, splits: Sequence[str]) -> Runner:
    """Build MMEngine's runner, with the hooks that every run needs.

    Args:
        cfg: The whole config.
        splits: The splits that the run uses, some of 'train', 'val' and 'test'.

    Raises:
        UserError: Masks would be evaluated, and the model predicts none.
    """
    keep_freed_memory()
    use_safe_loaders()
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        _join_on_cpu(cfg)
    _own_log(cfg)
    _own_visualizer(cfg)
    saving = (cfg.get('default_hooks') or {}).get('checkpoint')
    if saving and type_name(saving) == 'CheckpointHook':
        saving.type = WholeCheckpointHook.__name__
    runner = _Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    model = unwrap(runner.model)
    _check_channels(model)
    _check_masks(cfg, model, splits)
    runner.register_hook(EpochSeedHook(), priority='VERY_HIGH')
    runner.register_hook(FiniteHook(), priority='VERY_HIGH')
    runner.register_hook(ResumedStateHook(), priority='VERY_HIGH')
    runner.register_hook(UsableDataHook())
    runner.register_hook(ScheduleEndHook())
    runner.register_hook(DatasetPartsHook())
    runner.register_hook(CocoTableHook(), priority='VERY_LOW')
    return runner


def _join_on_cpu(cfg: Config) -> None:
    """Join the processes that torchrun started. MMEngine gives each process a GPU."""
    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = ConfigDict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            device_ids=None,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )


def _own_log(cfg: Config) -> None:
    """Give a run its own log and history.

    MMEngine shares them by the name of the experiment and the second of the start. A second run of a process would
    write into the log of the first if it started within the same second.
    """
    earlier = next(_EARLIER_RUNS)
    if earlier:
        name = cfg.get('experiment_name') or Path(cfg.filename or 'run').stem
        cfg.experiment_name = f'{name}_{earlier + 1}'


def _own_visualizer(cfg: Config) -> None:
    """Give a run its own visualizer, which can draw what its model predicts.

    MMEngine shares visualizers by name, and its hooks take the one that was created last. A second run of a process
    would write into the folder of the first. Without a visualizer in the config, MMEngine builds one that draws
    neither boxes nor classes.
    """
    kind = 'UniversalVisualizer' if is_classification(cfg) else 'DetLocalVisualizer'
    default = dict(type=kind, vis_backends=[dict(type='LocalVisBackend')])
    settings = {'name': 'visualizer', **(cfg.get('visualizer') or default)}
    if Visualizer.check_instance_created(settings['name']):
        settings['name'] += f'_{uuid4().hex}'
    cfg.visualizer = ConfigDict(settings)


def _check_channels(model: BaseModel) -> None:
    """Check that the neck takes what our backbone gives."""
    backbone, neck = getattr(model, 'backbone', None), getattr(model, 'neck', None)
    expected = getattr(neck, 'in_channels', None)
    if not isinstance(backbone, EConvNeXt) or not isinstance(expected, (list, tuple)):
        return
    given = list(backbone.out_channels)
    if list(expected) != given:
        raise UserError(
            f'model.neck.in_channels is {list(expected)}, and the backbone gives outputs of {given} channels; set '
            f'model.neck.in_channels={given}, or change arch, widen_factor or out_indices of the backbone'
        )


def _check_masks(cfg: Config, model: BaseModel, splits: Sequence[str]) -> None:
    """Check that a model whose masks are evaluated has a part for masks. In MMDetection, its name has the word."""
    if isinstance(model, ExportedPredictor) or any('mask' in name for name, _ in model.named_modules()):
        return  # the task of an exported file was compared with the config
    for split in splits:
        if evaluate_masks(evaluators_of(cfg, split)):
            raise UserError(
                f'{split}_evaluator evaluates masks (metric segm), and the {type(model).__name__} of the config '
                f'predicts boxes only. Set {split}_evaluator.metric=bbox, or use a detector with masks.'
            )
