"""The beginning of a run, strict loading, its epochs' end in several processes, and its end: the COCO table."""
from typing import Dict, Optional

from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook, Hook, SyncBuffersHook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner, find_latest_checkpoint

from ..checkpoint import check_hash, prepare_state

# COCO's names of the six, and mmdet's.
COLUMNS = dict(AP='mAP', AP50='mAP_50', AP75='mAP_75', small='mAP_s', medium='mAP_m', large='mAP_l')


def coco_table(metrics: Dict[str, float]) -> str:
    """A table of COCO's six average precisions, a row for boxes and one for masks as there are.

    Args:
        metrics (dict[str, float]): Of OfficialCocoMetric or mmdet's CocoMetric, as ``coco/bbox_mAP_50``; -1
            stands for no object of that size and is shown as '-'.

    Returns:
        str: The table, empty where ``metrics`` has no such numbers.
    """
    rows = []
    for kind in ('bbox', 'segm'):
        values = {key.rpartition('/')[2]: value for key, value in metrics.items()}
        if f'{kind}_mAP' in values:
            cells = (values.get(f'{kind}_{key}', -1) for key in COLUMNS.values())
            rows.append([kind, *('-' if value < 0 else f'{value:.3f}' for value in cells)])
    if not rows:
        return ''
    return '\n'.join(''.join(f'{cell:>8}' for cell in row) for row in [['', *COLUMNS], *rows])


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Refuses a checkpoint of another model in ``load_from`` and in resuming, before a weight is changed.

    MMEngine loads what matches and warns about the rest. Layers for another number of classes start fresh when
    ``load_from`` is used, and are named in the log, with the number of tensors that are loaded.

    Args:
        allow_partial (bool): Load what fits, and name in the log what is left at initialisation. Defaults to False.

    Example:
        >>> # partly matching weights on purpose
        >>> default_hooks = dict(strict_load=dict(type='StrictLoadHook', allow_partial=True))
    """

    # Before EMAHook, which loads the same state into its average.
    priority = 'VERY_HIGH'

    def __init__(self, allow_partial: bool = False):
        self.allow_partial = allow_partial

    def before_run(self, runner: Runner) -> None:
        """Check the hash in the file's name, if there is one."""
        if runner._load_from is not None:
            check_hash(runner._load_from)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the tensors, which are loaded next."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        prepare_state(model, checkpoint, runner._load_from or 'the last checkpoint', runner._resume,
                      self.allow_partial)


@HOOKS.register_module()
class SyncAllBuffersHook(SyncBuffersHook):
    """mmengine's averaging of BN statistics over the processes after each epoch, of an ``EMAHook``'s model too.

    Each process has statistics of its own images. The average's are evaluated and saved with its weights.
    """

    def after_train_epoch(self, runner: Runner) -> None:
        super().after_train_epoch(runner)
        for hook in runner.hooks if self.distributed else ():
            if isinstance(hook, EMAHook):
                all_reduce_params(hook.ema_model.module.buffers(), op='mean')


@HOOKS.register_module()
class CocoTableHook(Hook):
    """Logs the COCO table of the last evaluation when the run ends, and the checkpoints of a training."""

    def __init__(self):
        self.metrics: Optional[Dict[str, float]] = None

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        self.metrics = metrics

    after_test_epoch = after_val_epoch

    def after_train(self, runner: Runner) -> None:
        lines = [f'checkpoint: {find_latest_checkpoint(runner.work_dir)}']
        best = runner.message_hub.runtime_info.get('best_ckpt')
        if best is not None:
            lines.append(f'best checkpoint: {best}')
        runner.logger.info('\n'.join(['training is done', *lines]))

    def after_run(self, runner: Runner) -> None:
        if self.metrics and coco_table(self.metrics):
            runner.logger.info(f'COCO evaluation\n{coco_table(self.metrics)}')
