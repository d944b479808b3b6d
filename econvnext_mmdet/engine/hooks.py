"""Hooks: strict loading, seeds, finite losses, statistics of several processes, validation sets, and the COCO table."""

import os
from functools import partial

import numpy as np
import torch
from mmengine.dist import all_reduce_params
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, EMAHook, Hook, SyncBuffersHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner, set_random_seed
from torch.utils.data import ConcatDataset, Dataset

from ..evaluation.coco_metric import OfficialCocoMetric
from ..evaluation.tables import coco_table
from ..utils.errors import UserError
from ..utils.model import prefer_channels_last, unwrap
from ..weights.checkpoint import check_finite, check_hash, tensors_of
from ..weights.loading import prepare_state


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Refuses the checkpoint of a different model in ``load_from`` and ``resume``, before any weight changes.

    MMEngine loads what matches and only warns about the rest. With ``load_from``, layers for a different number of
    classes keep their initial values. The log names them, and says how many tensors were loaded.

    Args:
        allow_partial: Load what fits, and log the names of the tensors that keep their initial values. A file of which
            no tensor fits is still refused. With ``resume``, everything must fit. Defaults to False.

    Example:
        >>> # Load partly matching weights on purpose.
        >>> default_hooks = dict(strict_load=dict(type='StrictLoadHook', allow_partial=True))
    """

    # Before EMAHook, which loads the same state into its EMA model.
    priority = 'VERY_HIGH'

    def __init__(self, allow_partial: bool = False):
        self.allow_partial = allow_partial

    def before_run(self, runner: Runner) -> None:
        """Check the hash in the name of the file, if there is one."""
        if runner._load_from is not None:
            check_hash(runner._load_from)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the tensors. MMEngine loads them next."""
        path = runner._load_from or 'the last checkpoint'
        prepare_state(unwrap(runner.model), checkpoint, path, runner._resume, self.allow_partial)


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds each epoch by the seed of the run and the number of the epoch, in this process and in the loader's workers.

    A resumed training run then has the random numbers of an undisturbed one. MMEngine seeds a run once. The workers
    start again for each epoch.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the epoch. A run that counts iterations has only one."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        seed = int(np.random.SeedSequence([runner.seed, runner.epoch]).generate_state(1)[0]) >> 1
        set_random_seed(seed, diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False))
        loader = runner.train_dataloader
        init = loader.worker_init_fn
        if isinstance(init, partial) and 'seed' in init.keywords:  # MMEngine's own
            loader.worker_init_fn = partial(init.func, *init.args, **{**init.keywords, 'seed': seed})
        loader._iterator = None  # that of persistent workers


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Trains with the channels of a pixel side by side in memory, which is faster on a CPU.

    A model with an operator of MMCV is left as it is, see :func:`~econvnext_mmdet.utils.model.prefer_channels_last`.
    """

    def before_train(self, runner: Runner) -> None:
        """Change the layout of the weights. The layers hand it on to their outputs."""
        prefer_channels_last(unwrap(runner.model))


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops training at a loss that is infinite or not a number, and saves no such weights."""

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the loss of a step.

        Raises:
            UserError: It is infinite or not a number.
        """
        loss = (outputs or {}).get('loss')
        if loss is None or bool(torch.isfinite(torch.as_tensor(loss)).all()):
            return
        samples = (data_batch or {}).get('data_samples') or ()
        images = [str(sample.get('img_path', 'an image without a path')) for sample in samples]
        values = ', '.join(f'{name} {float(value):g}' for name, value in (outputs or {}).items() if 'loss' in name)
        raise UserError(
            f'the loss is no finite number at step {batch_idx + 1} of epoch {runner.epoch + 1} ({values}), and all '
            f'weights would become so. The images of the step: {", ".join(images)}. Look at their annotations with '
            'tools/check_dataset.py, lower the learning rate, or clip the gradients with optim_wrapper.clip_grad. '
            'Checkpoints of earlier epochs are not affected.'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights.

        Raises:
            UserError: A weight is infinite or not a number.
        """
        check_finite(tensors_of(checkpoint), 'the checkpoint that would be saved')


@HOOKS.register_module()
class SyncAllBuffersHook(SyncBuffersHook):
    """Averages the BatchNorm statistics over all processes after each epoch.

    Each process collects statistics from its own images. MMEngine's ``SyncBuffersHook`` leaves out the model of an
    ``EMAHook``, the exponential moving average (EMA) of the weights, although this model is evaluated and saved. This
    hook includes it.
    """

    def after_train_epoch(self, runner: Runner) -> None:
        """Average the statistics."""
        super().after_train_epoch(runner)
        for hook in runner.hooks if self.distributed else ():
            if isinstance(hook, EMAHook):
                all_reduce_params(hook.ema_model.module.buffers(), op='mean')


@HOOKS.register_module()
class DatasetPartsHook(Hook):
    """Gives each OfficialCocoMetric the images of its own annotation file, if the dataset joins several.

    MMEngine gives all images to each metric. Image ids that occur in several files would be mixed up.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Find the images of each metric of the validation."""
        _find_parts(runner.val_loop.evaluator, runner.val_dataloader.dataset)

    def before_test_epoch(self, runner: Runner) -> None:
        """Find the images of each metric of the test."""
        _find_parts(runner.test_loop.evaluator, runner.test_dataloader.dataset)


def _find_parts(evaluator: Evaluator, dataset: Dataset) -> None:
    # MMDetection's MultiDatasetsEvaluator, a subclass, gives each metric the images of its dataset.
    if type(evaluator) is not Evaluator or not isinstance(dataset, ConcatDataset):
        return
    starts = [0, *dataset.cumulative_sizes]
    for metric in evaluator.metrics:
        for number, part in enumerate(dataset.datasets if isinstance(metric, OfficialCocoMetric) else ()):
            if os.path.realpath(getattr(part, 'ann_file', '')) == os.path.realpath(metric.ann_file):
                metric.part = slice(starts[number], starts[number + 1])
                break


@HOOKS.register_module()
class ScheduleEndHook(Hook):
    """Says if a resumed training run goes on after the end of its learning rate schedule.

    A resumed run takes the schedule of its checkpoint, also where the config has another one by now. A schedule that
    ended before the run's own end from the start, such as one with a warm-up only, is meant to.
    """

    def __init__(self) -> None:
        self.planned: int | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the number of iterations that the run had planned when it wrote the checkpoint."""
        state = checkpoint.get('message_hub') or {}
        self.planned = state.get('runtime_info', {}).get('max_iters')

    def before_train(self, runner: Runner) -> None:
        """Compare the end of the schedule with the end of training, then and now."""
        schedulers = runner.param_schedulers or []
        if not runner._resume or self.planned is None or not isinstance(schedulers, list) or not schedulers:
            return
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        length, unit = (len(runner.train_dataloader), 'epoch') if by_epoch else (1, 'iteration')
        last = max(scheduler.end * (length if scheduler.by_epoch else 1) for scheduler in schedulers)
        if self.planned <= last < runner.max_iters:
            runner.logger.warning(
                f'the learning rate schedule of the checkpoint ends after {last / length:g} {unit}s, and training goes '
                f'on to {unit} {runner.max_iters / length:g} with the last learning rate. For a new schedule, start a '
                'new run from the checkpoint with load_from.'
            )


@HOOKS.register_module()
class CocoTableHook(Hook):
    """Logs the COCO table of the last evaluation at the end of a run, and the checkpoints after training."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] | None = None

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the metrics."""
        self.metrics = metrics

    after_test_epoch = after_val_epoch

    def after_train(self, runner: Runner) -> None:
        """Log the latest and the best checkpoint."""
        written = [hook.last_ckpt for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.last_ckpt]
        # A run that was resumed at its end writes none.
        lines = [f'checkpoint: {path}' for path in written or ([runner._load_from] if runner._resume else [])]
        best = runner.message_hub.runtime_info.get('best_ckpt')
        if best is not None and os.path.isfile(best):
            lines.append(f'best checkpoint: {best}')
        runner.logger.info('\n'.join(['training is done', *lines]))

    def after_run(self, runner: Runner) -> None:
        """Log the table."""
        table = coco_table(self.metrics or {})
        if table:
            runner.logger.info(f'COCO evaluation\n{table}')
