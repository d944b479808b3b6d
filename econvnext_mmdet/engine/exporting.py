"""Exporting a checkpoint and comparing its accuracy, for tools/export.py."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..deploy.export import Exported, ExportOptions, export
from ..utils.errors import UserError
from .testing import test

# The largest loss of AP or of top-1 accuracy, from 0 to 1, by the weights of the exported file.
LARGEST_LOSS = dict(float32=0.0005, float16=0.002, int8=0.005)
# The metrics to compare, and the value of each for a perfect result.
METRICS = {'coco/bbox_mAP': 1, 'coco/segm_mAP': 1, 'accuracy/top1': 100}


def export_and_check(
    cfg: Config,
    checkpoint: str,
    options: ExportOptions,
    data: Config | None = None,
    say: Callable[[str], Any] = lambda text: None,
) -> Exported:
    """Export a checkpoint, and compare the accuracy of the file with that of the checkpoint on a test set.

    Args:
        cfg: The config of the checkpoint.
        checkpoint: The checkpoint.
        options: The options of the export.
        data: The config whose test set and evaluator are used. Defaults to None: the accuracy is not compared.
        say: It is called with a sentence before each step. Defaults to a function that does nothing.

    Raises:
        UserError: A mistake that the user can fix, or the exported file is less accurate. It is then removed.
    """
    if data is not None and options.backbone:
        raise UserError('--check compares the accuracy of a whole model, and a backbone alone has none')
    exported = export(cfg, checkpoint, options, say)
    if data is not None:
        try:
            for metric, (before, after) in compare_accuracy(cfg, checkpoint, exported.path, data).items():
                lost = (before - after) / METRICS[metric]
                say(f'{metric}: {before:.5f} with PyTorch, {after:.5f} with the exported file')
                largest = LARGEST_LOSS[exported.metadata.weights]
                if lost > largest:
                    raise UserError(
                        f'the exported file loses {lost:.5f} of {metric}; expected at most {largest} with '
                        f'{exported.metadata.weights} weights. {exported.path} was removed.'
                    )
        except BaseException:
            shutil.rmtree(exported.path) if Path(exported.path).is_dir() else Path(exported.path).unlink()
            raise
    return exported


def compare_accuracy(cfg: Config, checkpoint: str, path: str, data: Config) -> dict[str, tuple[float, float]]:
    """Test a checkpoint and the file that was exported from it. The logs go into the work directory of ``data``.

    Args:
        cfg: The config of the checkpoint.
        checkpoint: The checkpoint.
        path: The exported file.
        data: The config whose test set and evaluator are used.

    Returns:
        The results of the checkpoint and of the file, by metric.

    Raises:
        UserError: The evaluator computes none of the metrics that can be compared.
    """
    results = []
    for file in (checkpoint, path):
        tested = data.copy()
        tested.model = cfg.model
        results.append(test(tested, file))
    found = {metric: (results[0][metric], results[1][metric]) for metric in METRICS if metric in results[0]}
    if not found:
        raise UserError(
            f'expected an evaluator that computes {" or ".join(METRICS)} in the config of --check; it computes '
            f'{", ".join(results[0])}'
        )
    return found
