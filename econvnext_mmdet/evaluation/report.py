"""A page that explains one or several results files: curves, tables, errors and pictures."""
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import jinja2
import matplotlib
import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils

from ..errors import UserError
from ..files import load_json, write_json
from ..visualization import quiet_drawing
from .analysis import KINDS, ImageMatches, confusion_matrix, find_errors, match_images
from .coco_eval import CocoEvaluator, CocoResult, iou_types_of
from .tables import MEANING, format_cell

GEOMETRY_NAMES = dict(bbox='Boxes', segm='Masks')
PICTURES = 4  # of the best images and of the worst


@dataclass
class Model:
    """One results file under a name, evaluated for boxes or masks."""
    name: str
    result: CocoResult
    matches: List[ImageMatches]
    errors: Dict[str, dict]
    confusion: np.ndarray


def write_report(annotations: str, results: Sequence[str], out: str, images: Optional[str] = None,
                 logs: Sequence[str] = (), score_thr: float = 0.3, classes: Optional[Sequence[str]] = None) -> str:
    """Write a folder with ``index.html``, its plots and pictures (PNG) and the numbers (``report.json``).

    The page needs nothing from elsewhere. The folder appears when all is written.

    Args:
        annotations (str): COCO annotation file.
        results (Sequence[str]): COCO results files, one a model.
        out (str): The folder to make.
        images (str, optional): The folder of the images, for pictures of the best and the worst. Defaults to
            None: no pictures.
        logs (Sequence[str]): Logs of trainings in JSON lines, as MMEngine writes ``vis_data/scalars.json``, for
            curves of loss and AP; as many as results are named as these, in their order. Defaults to none.
        score_thr (float): The lowest score of the detections in the confusion matrix, in the pictures and for
            which images are best and worst. Defaults to 0.3.
        classes (Sequence[str], optional): The classes to evaluate. Defaults to None: all of the annotation file.

    Returns:
        str: The page.

    Raises:
        UserError: A file is missing or malformed, files do not belong together, or the folder exists.
    """
    folder = Path(out)
    if folder.exists():
        raise UserError(f'{out} exists already. Remove it or give another folder.')
    if not 0 <= score_thr <= 1:
        raise UserError(f'the score threshold is from 0 to 1; got {score_thr}')
    if images is not None and not Path(images).is_dir():
        raise UserError(f'no image folder {images}')
    curves = [read_log(path) for path in logs]
    coco = load_json(annotations, dict)
    try:
        evaluator = CocoEvaluator(coco, classes=classes)
    except UserError as error:
        raise UserError(f'{annotations}: {error}') from None
    models = evaluate_models(evaluator, results, score_thr)
    matplotlib.rcParams.update({'axes.grid': True, 'grid.alpha': 0.3, 'axes.spines.top': False,
                                'axes.spines.right': False, 'figure.dpi': 110,
                                'text.parse_math': False})  # a class may have a dollar sign in its name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}.') as temporary:
        whole = Path(temporary) / 'whole'
        whole.mkdir()
        sections = [_section(whole, evaluator, iou_type, of_type, images, score_thr)
                    for iou_type, of_type in models.items()]
        names = unique_names(results if len(logs) == len(results) else logs)
        training = _training_plots(whole, names, curves)
        environment = jinja2.Environment(loader=jinja2.PackageLoader('econvnext_mmdet.evaluation'), autoescape=True,
                                         trim_blocks=True, lstrip_blocks=True)
        page = environment.get_template('report.html').render(
            annotations=annotations, sections=sections, training=training, stats=MEANING, kinds=KINDS,
            cell=format_cell, score_thr=score_thr)
        (whole / 'index.html').write_text(page, encoding='utf-8')
        write_json(str(whole / 'report.json'), {
            iou_type: {model.name: _numbers(model, score_thr) for model in of_type}
            for iou_type, of_type in models.items()})
        os.rename(whole, folder)
    return str(folder / 'index.html')


def evaluate_models(evaluator: CocoEvaluator, results: Sequence[str], score_thr: float) -> Dict[str, List[Model]]:
    """Evaluate results files: boxes and masks, as all of them have them.

    Returns:
        dict[str, list[Model]]: By 'bbox' and 'segm'.
    """
    files = {name: load_json(path, list) for name, path in zip(unique_names(results), results)}
    models: Dict[str, List[Model]] = {}
    for iou_type in iou_types_of(evaluator, *files.values()):
        models[iou_type] = []
        for (name, entries), path in zip(files.items(), results):
            try:
                result = evaluator.evaluate(entries, iou_type)
            except UserError as error:
                raise UserError(f'{path}: {error}') from None
            matches = list(match_images(evaluator, entries, iou_type))
            models[iou_type].append(Model(name, result, matches, find_errors(matches),
                                          confusion_matrix(evaluator, matches, iou_type, score_thr)))
    return models


def unique_names(paths: Sequence[str]) -> List[str]:
    """A name for each path: its stem, with as many of its folders, and its ending, as tell the paths apart."""
    for last in ('stem', 'name'):
        parts = [(*Path(path).resolve().parts[1:-1], getattr(Path(path), last)) for path in paths]
        for depth in range(1, max(map(len, parts), default=0) + 1):
            names = ['/'.join(part[-depth:]) for part in parts]
            if len(set(names)) == len(names):
                return names
    if paths:
        raise UserError(f'the same file is given twice: {", ".join(paths)}')
    return []


def read_log(path: str) -> Dict[str, List[tuple]]:
    """The curves of a training's log, by name.

    Args:
        path (str): JSON lines, as MMEngine writes to ``vis_data/scalars.json``.

    Returns:
        dict[str, list[tuple]]: (iteration, value) of each loss and (epoch, value) of each AP.

    Raises:
        UserError: The file is missing, or no such log.
    """
    curves: Dict[str, List[tuple]] = {}
    try:
        for line in Path(path).read_text(encoding='utf-8').splitlines():
            entry = json.loads(line)
            for name, value in entry.items():
                if 'loss' in name or name.endswith('_mAP'):
                    curves.setdefault(name.rpartition('/')[2], []).append((int(entry['step']), float(value)))
    except OSError as error:
        raise UserError(f'cannot read {path} as a log: {error.strerror}') from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f'cannot read {path} as a log in JSON lines, as MMEngine writes vis_data/scalars.json in the '
                        'work directory') from None
    if not curves:
        raise UserError(f'{path} holds no loss and no AP; expected vis_data/scalars.json of a work directory')
    return curves


def _numbers(model: Model, score_thr: float) -> dict:
    """A model's part of ``report.json``."""
    result = model.result
    return dict(result.stats, classes=result.classes, errors=model.errors, confusion=model.confusion.tolist(),
                AP_by_IoU={f'{iou:.2f}': value for iou, value in zip(result.iou_thrs, _by_iou(result))},
                F1_by_image={str(match.image_id): match.f1(score_thr) for match in model.matches})


def _by_iou(result: CocoResult) -> List[float]:
    """The mean AP of the classes at each IoU."""
    return [_mean(at_iou) for at_iou in result.precision[:, :, :, 0, -1]]


def _mean(precision: np.ndarray) -> float:
    return float(precision[precision > -1].mean()) if (precision > -1).any() else -1.


def _section(folder: Path, evaluator: CocoEvaluator, iou_type: str, models: List[Model], images: Optional[str],
             score_thr: float) -> dict:
    """Draw the plots and pictures of boxes or masks; what the page says of them."""
    plots = [
        ('precision-recall', 'Precision and recall', _plot_precision_recall(models)),
        ('ap-by-iou', 'AP over IoU thresholds', _plot_by_iou(models)),
        ('ap-by-size', 'AP by size', _plot_sizes(models)),
        ('ap-by-class', 'AP by class', _plot_classes(models)),
        ('errors', 'What each kind of error costs in AP50', _plot_errors(models))]
    plots += [(f'confusion-{i}', f'Confusion of classes: {model.name}', _plot_confusion(model))
              for i, model in enumerate(models)]
    drawn = []
    for name, title, figure in plots:
        file = f'{iou_type}-{name}.png'
        figure.savefig(folder / file, bbox_inches='tight')
        drawn.append(dict(file=file, title=title))
    return dict(title=GEOMETRY_NAMES[iou_type], models=models, plots=drawn,
                pictures=[_pictures(folder, evaluator, iou_type, i, model, images, score_thr)
                          for i, model in enumerate(models)])


def _axes(width: float = 6, height: float = 4, **labels: str):
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    axes.set(**labels)
    return figure, axes


def _plot_precision_recall(models: List[Model]) -> Figure:
    """Means of the classes at IoU 0.5 and 0.75; a lone model's classes at 0.5 too, where they can be told apart."""
    figure, axes = _axes(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
    recalls = np.linspace(0, 1, 101)
    for i, model in enumerate(models):
        precision = np.ma.masked_equal(model.result.precision[..., 0, -1], -1)
        for iou, style in ((0, '-'), (5, '--')):
            axes.plot(recalls, precision[iou].mean(axis=1), style, color=f'C{i}', linewidth=2,
                      label=f'{model.name}, IoU {model.result.iou_thrs[iou]:.2f}')
        if len(models) == 1 and len(model.result.classes) <= 8:
            for k, entry in enumerate(model.result.classes):
                axes.plot(recalls, precision[0, :, k], linewidth=1, color=f'C{k + 1}', label=f'{entry["name"]}, 0.50')
    axes.legend(fontsize=8)
    return figure


def _plot_by_iou(models: List[Model]) -> Figure:
    figure, axes = _axes(xlabel='IoU threshold', ylabel='AP', ylim=(0, 1))
    for model in models:
        axes.plot(model.result.iou_thrs, _by_iou(model.result), marker='o', label=model.name)
    axes.legend(fontsize=8)
    return figure


def _grouped_bars(axes, models: List[Model], names: Sequence[str], values: Sequence[Sequence[float]]) -> None:
    """A group of bars for each name, a bar in it for each model; horizontal, so that long names can be read."""
    height = 0.8 / len(models)
    for i, (model, row) in enumerate(zip(models, values)):
        places = np.arange(len(names)) + (i - (len(models) - 1) / 2) * height
        axes.barh(places, np.maximum(row, 0), height, label=model.name)
        for place, value in zip(places, row):
            axes.text(max(value, 0), place, f' {format_cell(value)}', va='center', fontsize=7)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.legend(fontsize=8)


def _plot_sizes(models: List[Model]) -> Figure:
    figure, axes = _axes(height=1.5 + 0.8 * len(models), xlabel='AP', xlim=(0, 1))
    _grouped_bars(axes, models, ['small, area below 32²', 'medium', 'large, from 96²'],
                  [[model.result.stats[name] for name in ('APs', 'APm', 'APl')] for model in models])
    return figure


def _plot_classes(models: List[Model]) -> Figure:
    classes = models[0].result.classes
    order = sorted(range(len(classes)), key=lambda k: -classes[k]['AP'])
    figure, axes = _axes(height=1.5 + 0.22 * len(classes) * len(models), xlabel='AP', xlim=(0, 1))
    _grouped_bars(axes, models, [classes[k]['name'] for k in order],
                  [[model.result.classes[k]['AP'] for k in order] for model in models])
    return figure


def _plot_errors(models: List[Model]) -> Figure:
    figure, axes = _axes(height=1.5 + 0.3 * len(KINDS) * len(models), xlabel='AP50 gained if mended')
    axes.locator_params(axis='x', nbins=5)
    _grouped_bars(axes, models, KINDS, [[model.errors[kind]['cost'] for kind in KINDS] for model in models])
    return figure


def _plot_confusion(model: Model) -> Figure:
    """Each row's shares by colour; the counts are written where they can be read."""
    names = [entry['name'] for entry in model.result.classes]
    shares = model.confusion / np.maximum(model.confusion.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.45 * min(len(names), 30)
    figure, axes = _axes(size, size, xlabel='detected as', ylabel='object')
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks(range(len(names) + 1), [*names, 'missed'], rotation=90, fontsize=8)
    axes.set_yticks(range(len(names) + 1), [*names, 'nothing'], fontsize=8)
    if len(names) <= 20:
        for (row, column), count in np.ndenumerate(model.confusion):
            axes.text(column, row, count or '', ha='center', va='center', fontsize=8,
                      color='white' if shares[row, column] > 0.5 else 'black')
    return figure


def _training_plots(folder: Path, names: List[str], curves: List[dict]) -> List[dict]:
    """Loss and AP of the trainings' logs."""
    drawn = []
    for file, title, unit, wanted in (('training-loss.png', 'Loss in training', 'iteration', 'loss'),
                                      ('training-ap.png', 'AP in training', 'epoch', '_mAP')):
        figure, axes = _axes(xlabel=unit, ylabel=title.split()[0])
        for name, curve in zip(names, curves):
            for key, points in curve.items():
                if key == wanted or wanted == '_mAP' and key.endswith(wanted):
                    axes.plot(*zip(*points), marker='.' if len(points) < 50 else '',
                              label=name if wanted == 'loss' else f'{name}, {key}')
        if axes.lines:
            axes.set_xlim(left=0)
            if wanted == '_mAP':
                axes.set_ylim(0, 1)
            axes.legend(fontsize=8)
            figure.savefig(folder / file, bbox_inches='tight')
            drawn.append(dict(file=file, title=title))
    return drawn


def _pictures(folder: Path, evaluator: CocoEvaluator, iou_type: str, number: int, model: Model,
              images: Optional[str], score_thr: float) -> Dict[str, List[dict]]:
    """A model's worst and best images, each drawn where there is a folder of images."""
    of_interest = [match for match in model.matches if match.annotations or match.entries]
    # Of equally good ones those with more objects say more.
    ranked = sorted(of_interest, key=lambda match: (match.f1(score_thr), -len(match.annotations)))
    best = sorted(ranked[PICTURES:], key=lambda match: (-match.f1(score_thr), -len(match.annotations)))
    chosen = {}
    for title, matches in (('worst', ranked[:PICTURES]), ('best', best[:PICTURES])):
        chosen[title] = []
        for match in matches:
            info = evaluator.coco.imgs[match.image_id]
            file = None
            if images is not None:
                file = f'{iou_type}-{number}-{title}-{len(chosen[title])}.png'
                _draw(folder / file, evaluator, iou_type, match, Path(images) / info['file_name'], score_thr)
            chosen[title].append(dict(file=file, name=info['file_name'], f1=match.f1(score_thr),
                                      objects=len(match.annotations)))
    return chosen


def _draw(file: Path, evaluator: CocoEvaluator, iou_type: str, match: ImageMatches, path: Path,
          score_thr: float) -> None:
    """The ground truth of an image and the detections in it, side by side."""
    image = mmcv.imread(str(path), channel_order='rgb') if path.is_file() else None
    if image is None:
        raise UserError(f'{path} is missing or no readable image; the folder of images is meant to have those of the '
                        'annotation file')
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=list(evaluator.categories.values()))
    found = [entry for entry in match.entries if entry['score'] >= score_thr]
    sample = DetDataSample(gt_instances=_instances(evaluator, iou_type, match.annotations),
                           pred_instances=_instances(evaluator, iou_type, found))
    sample.pred_instances.scores = torch.tensor([entry['score'] for entry in found])
    with quiet_drawing():
        visualizer.add_datasample('', image, sample, pred_score_thr=-1, out_file=str(file))


def _instances(evaluator: CocoEvaluator, iou_type: str, items: List[dict]) -> InstanceData:
    """Annotations or results entries as MMDetection draws them."""
    label = {category: i for i, category in enumerate(evaluator.categories)}
    # Results of masks alone have no boxes.
    boxes = torch.tensor(np.array([item['bbox'] if 'bbox' in item else mask_utils.toBbox(item['segmentation'])
                                   for item in items]), dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    instances = InstanceData(bboxes=boxes, labels=torch.tensor([label[item['category_id']] for item in items],
                                                               dtype=torch.long))
    if items and iou_type == 'segm':
        instances.masks = np.stack([evaluator.coco.annToMask(item) for item in items])
    return instances
