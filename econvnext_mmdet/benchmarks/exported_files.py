"""Comparing exported files with their checkpoint: accuracy, size and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.config import Config

from ..datasets.dataset_files import spread
from ..deploy.export import load_model
from ..deploy.images import load_images, paths_in_dataset
from ..deploy.predictors import ExportedClassifier, ExportedDetector, ExportedPredictor
from ..deploy.runtime import is_exported
from ..engine.exporting import METRICS, accuracy
from ..evaluation.tables import markdown_table
from ..models.fuse import fuse
from ..utils.config import is_classification
from ..utils.errors import UserError
from ..utils.model import prefer_channels_last
from ..utils.progress import progress_bar
from .device import limited_threads


@dataclass(frozen=True)
class FileResult:
    """The measurements of a checkpoint or of a file that was exported from it.

    Attributes:
        file: The checkpoint, the ``.onnx`` file or OpenVINO's folder.
        runtime: 'PyTorch', 'ONNX Runtime' or 'OpenVINO'.
        weights: 'float32', 'float16' or 'int8'.
        metrics: COCO's AP of boxes and of masks, or the top-1 accuracy, from 0 to 1.
        size: Bytes.
        times: Milliseconds for each image, from its resized pixels to detections with masks of its size.
    """

    file: str
    runtime: str
    weights: str
    metrics: dict[str, float]
    size: int
    times: list[float]


def compare_files(
    cfg: Config, checkpoint: str, files: Sequence[str], images: int = 20, threads: int | None = None
) -> list[FileResult]:
    """Test a checkpoint and exported files on the config's test set, and time them in turn on single images.

    PyTorch runs the model as tools/infer.py does: fused, and with channels last if it can. The first two images are not
    counted. If stderr is a terminal, it shows a progress bar.

    Args:
        cfg: The config of the checkpoint.
        checkpoint: The checkpoint.
        files: Files that were exported from it.
        images: The number of timed images, spread evenly over the test set. Defaults to 20.
        threads: The number of CPU threads. Defaults to None: PyTorch and the runtimes decide, each for itself.

    Returns:
        The measurements: first those of the checkpoint, then those of each file.

    Raises:
        UserError: A file is not an exported one or does not fit the config, or the test set is missing.
    """
    for file in files:
        if not is_exported(file):
            raise UserError(f'{file} is no exported file: expected an .onnx file or a folder with an .xml file')
    kind = ExportedClassifier if is_classification(cfg) else ExportedDetector
    exported: list[ExportedPredictor] = [kind(file, threads).eval() for file in files]
    model = fuse(load_model(cfg, checkpoint)[0])
    prefer_channels_last(model)
    with limited_threads(threads):
        times = _time(cfg, [model, *exported], images)
    results = []
    for file, predictor, measured in zip((checkpoint, *files), (model, *exported), times):
        metrics = accuracy(cfg, file, cfg)
        if isinstance(predictor, ExportedPredictor):
            runtime, weights = predictor.exported.runtime, predictor.exported.metadata.weights
        else:
            runtime, weights = 'PyTorch', 'float32'
        results.append(
            FileResult(
                file,
                runtime,
                weights,
                {name: value / METRICS[name] for name, value in metrics.items()},
                sum(path.stat().st_size for path in _contents(Path(file))),
                measured,
            )
        )
    return results


def file_table(results: Sequence[FileResult]) -> str:
    """A Markdown table of the measurements. The time is the median, and in brackets the fastest and the slowest."""
    names = {'coco/bbox_mAP': 'box AP', 'coco/segm_mAP': 'mask AP', 'accuracy/top1': 'top-1'}
    metrics = list(results[0].metrics)
    rows = [['runtime', 'weights', *(names[metric] for metric in metrics), 'MiB', 'ms per image']]
    for result in results:
        low, middle, high = min(result.times), median(result.times), max(result.times)
        rows.append(
            [
                result.runtime,
                result.weights,
                *(f'{result.metrics[metric]:.4f}' for metric in metrics),
                f'{result.size / 2**20:.1f}',
                f'{middle:.1f} ({low:.1f} to {high:.1f})',
            ]
        )
    return markdown_table(rows)


def _time(cfg: Config, models: Sequence[Any], images: int) -> list[list[float]]:
    """The milliseconds of each model for each image. The models take turns, so other work slows all of them down."""
    paths = paths_in_dataset(cfg, 'test')
    chosen = [paths[place] for place in spread(len(paths), images)]
    sample_of = next(model.new_sample for model in models if isinstance(model, ExportedPredictor))
    times: list[list[float]] = [[] for _ in models]
    # A thread that refreshes the bar would run next to the timed code.
    with torch.no_grad(), progress_bar(auto_refresh=False) as progress:
        for image in progress.track(list(load_images(cfg, [chosen[0]] * 2 + chosen)), description='measuring'):
            for model, measured in zip(models, times):
                data = dict(inputs=[torch.from_numpy(image)], data_samples=[sample_of(image)])
                start = time.perf_counter()
                model.test_step(data)
                measured.append(1000 * (time.perf_counter() - start))
    return [measured[2:] for measured in times]


def _contents(path: Path) -> list[Path]:
    if path.suffix == '.xml':  # OpenVINO's weights are beside it
        path = path.parent
    return [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
