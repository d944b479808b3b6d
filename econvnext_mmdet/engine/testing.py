"""Testing a checkpoint, for tools/test.py."""

import os
import shlex
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from torch.utils.data import Dataset

from ..deploy.predictors import ExportedPredictor, use_exported
from ..deploy.runtime import is_exported
from ..evaluation.coco_metric import OfficialCocoMetric
from ..evaluation.coco_results import DumpCocoResults
from ..utils.config import evaluate_masks, evaluators_of, explain_user_errors, files_in, is_classification, type_name
from ..utils.errors import UserError, examples
from ..utils.files import check_extension, check_writable
from ..utils.model import unwrap
from ..weights.checkpoint import read_checkpoint
from ..weights.loading import check_fits
from .config_values import check_values
from .detection_hooks import FolderVisualizationHook
from .runner import build_runner, check_before_run


def test(
    cfg: Config,
    checkpoint: str,
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2,
    tta: bool = False,
) -> dict:
    """Evaluate a checkpoint and log the metrics. For a detector it also logs the COCO table.

    Args:
        cfg: The config, from :func:`~econvnext_mmdet.utils.config.load_config`.
        checkpoint: The checkpoint of its detector or classifier, or a file that was exported from it.
        out: A file for the predictions: ``.pkl`` in the format of MMDetection and MMPretrain, or ``.json`` in COCO's
            results format, for detectors. Defaults to None.
        show: Show each image with its predictions in a window. Defaults to False.
        show_dir: A folder for pictures. The pictures of a detector show ground truth and detections side by side, in
            the subfolders of their images. Defaults to None.
        wait_time: The seconds for which ``show`` shows an image. Defaults to 2.
        tta: Use test-time augmentation: ``tta_model`` and ``tta_pipeline`` of the config, or else the image and its
            mirror image. By default, a detector then merges the detections by NMS, and a classifier averages the
            scores. Defaults to False.

    Returns:
        The metrics by name.

    Raises:
        UserError: A mistake that the user can fix.
    """
    check_values(cfg)
    if out is not None:
        check_extension(out, ('.pkl', '.pickle', '.json'), '--out')
        check_writable(out, checkpoint, *files_in(cfg))
    if show_dir:
        if out is not None and os.path.abspath(out) == os.path.abspath(show_dir):
            raise UserError(f'--out {out} is a file and --show-dir a folder; give them different names')
        check_writable(os.path.join(show_dir, 'picture'))
    exported = is_exported(checkpoint)
    if exported and tta:
        raise UserError(f'--tta needs a checkpoint of PyTorch, and {checkpoint} is an exported file')
    read = None if exported else read_checkpoint(checkpoint)
    trained = read.classes if read else None
    cfg.load_from = None if exported else checkpoint
    if show or show_dir:
        _visualize(cfg, show, show_dir and os.path.abspath(show_dir), wait_time)
    with explain_user_errors():
        check_before_run(cfg, ['test'], trained)
        if tta:
            _augment(cfg)
        if exported:
            use_exported(cfg, checkpoint)
        runner = build_runner(cfg, ['test'])
        # MMEngine loads what matches and only warns about the rest, so a wrong checkpoint would just give an AP of 0.
        model = unwrap(runner.model)
        if isinstance(model, ExportedPredictor):
            trained = model.exported.metadata.names
        elif read:
            check_fits(model, read.state, checkpoint)
        if exported or is_classification(cfg):
            _check_classes(runner.test_dataloader.dataset, trained, checkpoint)
        if out is not None:
            metrics = runner.test_evaluator.metrics
            metrics.append(_dump(out, runner.test_dataloader.dataset, metrics))
        return runner.test()


def _check_classes(dataset: Dataset, trained: Sequence[str] | None, checkpoint: str) -> None:
    """Check that the test set has the classes of the training set, in the same order."""
    tested = getattr(dataset, 'metainfo', {}).get('classes')
    if trained and tested and list(trained) != list(tested):
        raise UserError(
            f'{checkpoint} was trained on the classes {examples(trained, most=5)}, and the test set has '
            f'{examples(tested, most=5)}. The labels would not match. Use the same classes in the test set, in the '
            'same order. The classes of image folders are the sorted names of the folders.'
        )


def _visualize(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Turn on the hook that draws predictions."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        library = 'mmpretrain' if is_classification(cfg) else 'mmdet'
        raise UserError(
            '--show and --show-dir need default_hooks.visualization in the config; '
            f'{library}::_base_/default_runtime.py has it'
        )
    if is_classification(cfg):
        hook.update(enable=True, interval=1, show=show, out_dir=show_dir, wait_time=wait_time)
    else:
        trigger_visualization_hook(cfg, ConfigDict(show=show, show_dir=show_dir, wait_time=wait_time))
        if type_name(hook) == 'DetVisualizationHook':
            hook.type = FolderVisualizationHook.__name__


def _dump(out: str, dataset: Dataset, metrics: list) -> DumpDetResults:
    """The metric that writes the detections to the file ``out``. The extension of ``out`` decides the format."""
    if Path(out).suffix != '.json':
        return DumpDetResults(out)
    cat_ids, metainfo = getattr(dataset, 'cat_ids', None), getattr(dataset, 'metainfo', {})
    if cat_ids is None:
        raise UserError(
            f'--out {out} writes COCO results, and the test set is a {type(dataset).__name__} without '
            "COCO's category ids; write a .pkl file instead"
        )
    classes = metainfo['classes']
    for metric in metrics:
        if isinstance(metric, OfficialCocoMetric) and set(metric.evaluator.categories.values()) - set(classes):
            print_log(
                f'the annotation file has classes that the model does not know: to evaluate {out}, run '
                f'tools/eval_coco.py with --classes {" ".join(map(shlex.quote, classes))}',
                logger='current',
            )
    return DumpCocoResults(out, cat_ids)


def _augment(cfg: Config) -> None:
    """Turn on test-time augmentation: the one in the config, or else the image and its mirror image."""
    if evaluate_masks(evaluators_of(cfg, 'test')):
        raise UserError(
            "--tta merges boxes and drops masks, and this config's evaluator evaluates masks; set "
            'test_evaluator.metric=bbox to evaluate the boxes only'
        )
    if 'tta_model' not in cfg:
        cfg.tta_model = (
            dict(type='AverageClsScoreTTA')
            if is_classification(cfg)
            else dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
        )
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'pipeline' not in dataset:
        raise UserError(
            f'--tta changes the pipeline of the test set, and a {dataset.type} does not have one; test without --tta'
        )
    if 'tta_pipeline' not in cfg:
        *load, pack = deepcopy(dataset.pipeline)
        if not is_classification(cfg):
            pack.meta_keys = (
                *pack.get('meta_keys', ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
                'flip',
                'flip_direction',
            )
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        # The ground truth is loaded after the flip, because it stays in the coordinates of the original image.
        truth = [step for step in load if type_name(step) == 'LoadAnnotations']
        steps = [flips, *([step] for step in truth), [pack]]
        cfg.tta_pipeline = [*(step for step in load if step not in truth), dict(type='TestTimeAug', transforms=steps)]
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
