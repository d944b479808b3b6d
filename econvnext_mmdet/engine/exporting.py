"""Exporting a checkpoint and comparing its accuracy, for tools/export.py."""

import tempfile
from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from ..deploy.export import Exported, ExportOptions, export
from ..utils.errors import UserError
from .runner import check_before_run
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
        UserError: A mistake that the user can fix, or the exported file is less accurate. Nothing is written.
    """
    if data is None:
        return export(cfg, checkpoint, options, say)
    if options.backbone:
        raise UserError('--check compares the accuracy of a whole model, and a backbone alone has none')
    check_before_run(data.copy(), ['test'])  # missing data is an error now, not after minutes

    def check(path: str, weights: str) -> None:
        say('testing the checkpoint and the exported file')
        before, after = accuracy(cfg, checkpoint, data), accuracy(cfg, path, data)
        for metric in before:
            lost, largest = (before[metric] - after[metric]) / METRICS[metric], LARGEST_LOSS[weights]
            say(f'{metric}: {before[metric]:.5f} with PyTorch, {after[metric]:.5f} with the exported file')
            if lost > largest:
                advice = {
                    'int8': ' Calibrate with more images, or with images that are more like the test set, or try the '
                    'other --format, or --half.'
                }.get(weights, '')
                raise UserError(
                    f'the exported file loses {lost:.5f} of {metric}; expected at most {largest} with {weights} '
                    f'weights. Nothing was written.{advice}'
                )

    return export(cfg, checkpoint, options, say, check)


def accuracy(cfg: Config, file: str, data: Config) -> dict[str, float]:
    """Test a checkpoint, or a file that was exported from it. Only warnings are logged.

    Args:
        cfg: The config of the checkpoint.
        file: The checkpoint or the exported file.
        data: The config whose test set and evaluator are used.

    Returns:
        The metrics of ``METRICS`` that the evaluator computes.

    Raises:
        UserError: It computes none of them.
    """
    tested = data.copy()
    tested.model, tested.log_level = cfg.model, 'WARNING'
    tested.data_preprocessor = cfg.get('data_preprocessor')  # a classifier has it beside its model
    tested.visualizer = None
    with tempfile.TemporaryDirectory() as tested.work_dir:
        result = test(tested, file)
    found = {metric: result[metric] for metric in METRICS if metric in result}
    if not found:
        raise UserError(
            f'expected an evaluator that computes {" or ".join(METRICS)} in the config of --check; it computes '
            f'{", ".join(result)}'
        )
    return found
