"""Hooks: strict loading, statistics of several processes, several validation sets, the schedule, and the COCO table."""

import os

from mmengine.dist import all_reduce_params
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook, Hook, SyncBuffersHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint
from torch.utils.data import ConcatDataset, Dataset

from ..evaluation.coco_metric import OfficialCocoMetric
from ..evaluation.tables import coco_table
from ..utils.model import unwrap
from ..weights.checkpoint import check_hash
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
        lines = [f'checkpoint: {find_latest_checkpoint(runner.work_dir)}']
        best = runner.message_hub.runtime_info.get('best_ckpt')
        if best is not None:
            lines.append(f'best checkpoint: {best}')
        runner.logger.info('\n'.join(['training is done', *lines]))

    def after_run(self, runner: Runner) -> None:
        """Log the table."""
        table = coco_table(self.metrics or {})
        if table:
            runner.logger.info(f'COCO evaluation\n{table}')
