"""An HTML page that explains one or more results files with curves, tables, errors and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import mmcv
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils

from ..evaluation.coco_eval import CocoEvaluator, CocoResult, coco_mean, iou_types_of
from ..evaluation.coco_stats import CLASS_STATS, COCO_STATS
from ..evaluation.tables import format_cell
from ..utils.drawing import quiet_drawing, short_name
from ..utils.errors import UserError, errors_in
from ..utils.files import check_new_folder, is_inside, load_json, whole_folder, write_json
from ..utils.fonts import use_font_for
from .error_analysis import KINDS, ImageMatches, confusion_matrix, find_errors, match_images
from .scalars import read_scalars

GEOMETRY_NAMES = dict(bbox='Boxes', segm='Masks')
PICTURES = 4  # the number of best images to show, and the number of worst images


@dataclass
class Model:
    """A results file with its name, evaluated for boxes or for masks."""

    name: str
    result: CocoResult
    matches: list[ImageMatches]
    errors: dict[str, dict]
    confusion: np.ndarray


def write_report(
    annotations: str,
    results: Sequence[str],
    out: str,
    images: str | None = None,
    logs: Sequence[str] = (),
    score_thr: float = 0.3,
    classes: Sequence[str] | None = None,
    iou_types: Sequence[str] | None = None,
) -> str:
    """Write a folder with the page ``index.html``, its plots and pictures (PNG), and the numbers in ``report.json``.

    The page loads nothing from outside the folder. The folder appears once it is complete.

    Args:
        annotations: The COCO annotation file.
        results: COCO results files, one per model.
        out: The folder to make.
        images: The folder of the images, for pictures of the best and the worst images. An image outside of it is not
            drawn. Defaults to None: no pictures.
        logs: Training logs, ``vis_data/scalars.json`` from MMEngine's work directories, for curves of loss and AP. If
            there are as many logs as results files, each log gets the name of the results file at the same position.
            Defaults to no logs.
        score_thr: The lowest score of the detections in the confusion matrix and in the pictures. It also decides
            which images are best and worst. Defaults to 0.3.
        classes: The classes to evaluate. Defaults to None: all classes of the annotation file.
        iou_types: 'bbox', 'segm' or both. Defaults to None: those for which all files have data.

    Returns:
        The path of the page.

    Raises:
        UserError: The folder exists, a file is missing or malformed, the files do not belong together, or Jinja2 is
            not installed.
    """
    check_new_folder(out)
    if not 0 <= score_thr <= 1:
        raise UserError(f'the score threshold must be from 0 to 1; got {score_thr}')
    if images is not None and not Path(images).is_dir():
        raise UserError(f'no image folder {images}')
    template = _load_template()
    curves = [read_curves(path) for path in logs]
    evaluator = CocoEvaluator.from_file(annotations, classes=classes)
    models = evaluate_models(evaluator, results, score_thr, iou_types)
    matplotlib.rcParams.update(
        {
            'axes.grid': True,
            'grid.alpha': 0.3,
            'axes.spines.top': False,
            'axes.spines.right': False,
            'figure.dpi': 110,
        }
    )
    use_font_for(evaluator.categories.values())
    with whole_folder(out) as folder:
        sections = [
            _section(folder, evaluator, iou_type, of_type, images, score_thr) for iou_type, of_type in models.items()
        ]
        names = unique_names(results if len(logs) == len(results) else logs)
        page = template.render(
            annotations=annotations,
            sections=sections,
            training=_training_plots(folder, names, curves),
            stats=COCO_STATS,
            class_stats=CLASS_STATS,
            kinds=KINDS,
            cell=format_cell,
            score_thr=score_thr,
        )
        (folder / 'index.html').write_text(page, encoding='utf-8')
        write_json(
            str(folder / 'report.json'),
            {
                iou_type: {model.name: _numbers(model, score_thr) for model in of_type}
                for iou_type, of_type in models.items()
            },
        )
    return str(Path(out) / 'index.html')


def _load_template() -> Any:
    """The Jinja2 template of the page."""
    try:
        import jinja2
    except ImportError:
        raise UserError('the page needs Jinja2; run `pip install "econvnext_mmdet[report]"`') from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('econvnext_mmdet.reports'), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template('report.html')


def evaluate_models(
    evaluator: CocoEvaluator, results: Sequence[str], score_thr: float, iou_types: Sequence[str] | None = None
) -> dict[str, list[Model]]:
    """Evaluate results files: boxes, masks or both, depending on what all of them have.

    Args:
        evaluator: The ground truth.
        results: COCO results files.
        score_thr: The lowest score of a detection in the confusion matrix.

    Returns:
        A dict from 'bbox' and 'segm' to one model per results file.
    """
    files = {name: load_json(path, list) for name, path in zip(unique_names(results), results)}
    models: dict[str, list[Model]] = {}
    for iou_type in iou_types or iou_types_of(evaluator, *files.values()):
        models[iou_type] = []
        for (name, entries), path in zip(files.items(), results):
            with errors_in(path):
                result = evaluator.evaluate(entries, iou_type)
            matches = list(match_images(evaluator, entries, iou_type))
            models[iou_type].append(
                Model(
                    name,
                    result,
                    matches,
                    find_errors(matches),
                    confusion_matrix(evaluator, matches, iou_type, score_thr),
                )
            )
    return models


def unique_names(paths: Sequence[str]) -> list[str]:
    """Make a short, unique name for each path.

    The name is that of the file without its extension. If names are equal, parent folders are added, and if that is not
    enough, the extension.

    Args:
        paths: The paths.

    Raises:
        UserError: A file is given twice.
    """
    for last in ('stem', 'name'):
        parts = [(*Path(path).resolve().parts[1:-1], getattr(Path(path), last)) for path in paths]
        for depth in range(1, max(map(len, parts), default=0) + 1):
            names = ['/'.join(part[-depth:]) for part in parts]
            if len(set(names)) == len(names):
                return names
    if paths:
        resolved = [Path(path).resolve() for path in paths]
        repeated = [path for path, place in zip(paths, resolved) if resolved.count(place) > 1]
        raise UserError(f'the same file is given twice: {", ".join(repeated)}')
    return []


def read_curves(path: str) -> dict[str, list[tuple[int, float]]]:
    """Read the curves of loss and AP from a training log.

    Args:
        path: The log, ``vis_data/scalars.json`` from MMEngine's work directory.

    Returns:
        A dict from the name of each curve to its points: (iteration, value) for a loss, (epoch, value) for an AP.

    Raises:
        UserError: The file is missing, is not such a log, or holds neither loss nor AP.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    scalars = read_scalars(path)
    try:
        for entry in scalars:
            for name, value in entry.items():
                if 'loss' in name or name.endswith('_mAP'):
                    curves.setdefault(name.rpartition('/')[2], []).append((int(entry['step']), float(value)))
    except (KeyError, OverflowError, TypeError, ValueError):
        raise UserError(
            f'cannot read {path} as a training log: expected numbers for every loss, AP and step, as in '
            'vis_data/scalars.json from a work directory'
        ) from None
    if not curves:
        raise UserError(f'{path} holds no loss and no AP; expected vis_data/scalars.json from a work directory')
    return curves


def _numbers(model: Model, score_thr: float) -> dict:
    """The numbers of a model in ``report.json``."""
    result = model.result
    return dict(
        result.stats,
        classes=result.classes,
        errors=model.errors,
        confusion=model.confusion.tolist(),
        AP_by_IoU={f'{iou:.2f}': value for iou, value in zip(result.iou_thrs, _by_iou(result))},
        F1_by_image={str(match.image_id): match.f1(score_thr) for match in model.matches},
    )


def _by_iou(result: CocoResult) -> list[float]:
    """The AP at each IoU threshold, averaged over the classes."""
    return [coco_mean(at_iou) for at_iou in result.precision[:, :, :, 0, -1]]


def _section(
    folder: Path, evaluator: CocoEvaluator, iou_type: str, models: list[Model], images: str | None, score_thr: float
) -> dict:
    """Draw the plots and pictures for boxes or masks, and collect what the page shows about them."""
    plots = [
        ('precision-recall', 'Precision and recall', _plot_precision_recall(models)),
        ('ap-by-iou', 'AP by IoU threshold', _plot_by_iou(models)),
        ('ap-by-size', 'AP by size', _plot_sizes(models)),
        ('ap-by-class', 'AP by class', _plot_classes(models)),
        ('errors', 'AP50 lost by each kind of error', _plot_errors(models)),
    ]
    plots += [
        (f'confusion-{i}', f'Class confusion: {model.name}', _plot_confusion(model)) for i, model in enumerate(models)
    ]
    drawn = []
    for name, title, figure in plots:
        file = f'{iou_type}-{name}.png'
        with quiet_drawing():
            figure.savefig(folder / file, bbox_inches='tight')
        drawn.append(dict(file=file, title=title))
    return dict(
        title=GEOMETRY_NAMES[iou_type],
        models=models,
        plots=drawn,
        pictures=[
            _pictures(folder, evaluator, iou_type, i, model, images, score_thr) for i, model in enumerate(models)
        ],
    )


def _axes(width: float = 6, height: float = 4, **settings: Any) -> tuple[Figure, Axes]:
    """Make a figure of the given size in inches, and axes with the given settings."""
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    axes.set(**settings)
    return figure, axes


def _plot_precision_recall(models: list[Model]) -> Figure:
    """Plot the class means at IoU 0.5 and 0.75. For a single model with few classes, also plot each class at 0.5."""
    figure, axes = _axes(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
    recalls = np.linspace(0, 1, 101)
    for i, model in enumerate(models):
        precision = np.ma.masked_equal(model.result.precision[..., 0, -1], -1)
        for iou, style in ((0, '-'), (5, '--')):
            axes.plot(
                recalls,
                precision[iou].mean(axis=1),
                style,
                color=f'C{i}',
                linewidth=2,
                label=f'{model.name}, IoU {model.result.iou_thrs[iou]:.2f}',
            )
        if len(models) == 1 and len(model.result.classes) <= 8:
            for k, entry in enumerate(model.result.classes):
                axes.plot(
                    recalls,
                    precision[0, :, k],
                    linewidth=1,
                    color=f'C{k + 1}',
                    label=f'{short_name(entry["name"])}, 0.50',
                )
    axes.legend(fontsize=8)
    return figure


def _plot_by_iou(models: list[Model]) -> Figure:
    figure, axes = _axes(xlabel='IoU threshold', ylabel='AP', ylim=(0, 1))
    for model in models:
        axes.plot(model.result.iou_thrs, _by_iou(model.result), marker='o', label=model.name)
    axes.legend(fontsize=8)
    return figure


def _grouped_bars(axes: Axes, models: list[Model], names: Sequence[str], values: Sequence[Sequence[float]]) -> None:
    """Plot one group of bars per name, with one bar per model. Bars are horizontal to keep long names readable.

    Args:
        axes: The axes.
        models: The models.
        names: The names of the groups.
        values: The values of each model, in the order of the names.
    """
    height = 0.8 / len(models)
    for i, (model, row) in enumerate(zip(models, values)):
        places = np.arange(len(names)) + (i - (len(models) - 1) / 2) * height
        axes.barh(places, np.maximum(row, 0), height, label=model.name)
        for place, value in zip(places, row):
            axes.text(max(value, 0), place, f' {format_cell(value)}', va='center', fontsize=7)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.legend(fontsize=8)


def _plot_sizes(models: list[Model]) -> Figure:
    figure, axes = _axes(height=1.5 + 0.8 * len(models), xlabel='AP', xlim=(0, 1))
    _grouped_bars(
        axes,
        models,
        ['small (area at most 32²)', 'medium', 'large (area at least 96²)'],
        [[model.result.stats[name] for name in ('APs', 'APm', 'APl')] for model in models],
    )
    return figure


def _plot_classes(models: list[Model]) -> Figure:
    classes = models[0].result.classes
    order = sorted(range(len(classes)), key=lambda k: -classes[k]['AP'])
    figure, axes = _axes(height=1.5 + 0.22 * len(classes) * len(models), xlabel='AP', xlim=(0, 1))
    _grouped_bars(
        axes,
        models,
        [short_name(classes[k]['name']) for k in order],
        [[model.result.classes[k]['AP'] for k in order] for model in models],
    )
    return figure


def _plot_errors(models: list[Model]) -> Figure:
    figure, axes = _axes(height=1.5 + 0.3 * len(KINDS) * len(models), xlabel='AP50 gained if fixed')
    axes.locator_params(axis='x', nbins=5)
    _grouped_bars(axes, models, KINDS, [[model.errors[kind]['cost'] for kind in KINDS] for model in models])
    return figure


def _plot_confusion(model: Model) -> Figure:
    """Show the share of each count in its row by colour, and the counts as numbers if there are at most 20 classes."""
    names = [short_name(entry['name']) for entry in model.result.classes]
    shares = model.confusion / np.maximum(model.confusion.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.45 * min(len(names), 30)
    figure, axes = _axes(size, size, xlabel='detected as', ylabel='object')
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks(range(len(names) + 1), [*names, 'missed'], rotation=90, fontsize=8)
    axes.set_yticks(range(len(names) + 1), [*names, 'nothing'], fontsize=8)
    if len(names) <= 20:
        for (row, column), count in np.ndenumerate(model.confusion):
            axes.text(
                column,
                row,
                count or '',
                ha='center',
                va='center',
                fontsize=8,
                color='white' if shares[row, column] > 0.5 else 'black',
            )
    return figure


def _training_plots(folder: Path, names: list[str], curves: list[dict]) -> list[dict]:
    """Plot the loss and the AP of the training logs."""
    drawn = []
    for file, title, unit, wanted in (
        ('training-loss.png', 'Loss during training', 'iteration', 'loss'),
        ('training-ap.png', 'AP during training', 'epoch', '_mAP'),
    ):
        figure, axes = _axes(xlabel=unit, ylabel=title.split()[0])
        for name, curve in zip(names, curves):
            for key, points in curve.items():
                if key == wanted or wanted == '_mAP' and key.endswith(wanted):
                    axes.plot(
                        *zip(*points),
                        marker='.' if len(points) < 50 else '',
                        label=name if wanted == 'loss' else f'{name}, {key}',
                    )
        if axes.lines:
            axes.set_xlim(left=0)
            if wanted == '_mAP':
                axes.set_ylim(0, 1)
            axes.legend(fontsize=8)
            figure.savefig(folder / file, bbox_inches='tight')
            drawn.append(dict(file=file, title=title))
    return drawn


def _pictures(
    folder: Path,
    evaluator: CocoEvaluator,
    iou_type: str,
    number: int,
    model: Model,
    images: str | None,
    score_thr: float,
) -> dict[str, list[dict]]:
    """Choose the worst and the best images of a model, and draw them if there is a folder of images."""
    of_interest = [match for match in model.matches if match.annotations or match.entries]
    # Among equally good images, images with more objects come first.
    ranked = sorted(of_interest, key=lambda match: (match.f1(score_thr), -len(match.annotations)))
    best = sorted(ranked[PICTURES:], key=lambda match: (-match.f1(score_thr), -len(match.annotations)))
    chosen: dict[str, list[dict]] = {}
    for title, matches in (('worst', ranked[:PICTURES]), ('best', best[:PICTURES])):
        chosen[title] = []
        for match in matches:
            name = evaluator.file_names[match.image_id]
            file = None
            # The annotation file of a stranger could name any picture of the user, and the page is passed on.
            outside = images is not None and not is_inside(name, images)
            if images is not None and not outside:
                file = f'{iou_type}-{number}-{title}-{len(chosen[title])}.png'
                _draw(folder / file, evaluator, iou_type, match, Path(images) / name, score_thr)
            chosen[title].append(
                dict(file=file, outside=outside, name=name, f1=match.f1(score_thr), objects=len(match.annotations))
            )
    return chosen


def _draw(
    file: Path, evaluator: CocoEvaluator, iou_type: str, match: ImageMatches, path: Path, score_thr: float
) -> None:
    """Draw the ground truth and the detections of an image side by side."""
    image = mmcv.imread(str(path)) if path.is_file() else None
    if image is not None and image.shape[:2] != evaluator.image_sizes[match.image_id]:
        # It was annotated as it is stored, without the rotation in its EXIF data.
        image = mmcv.imread(str(path), 'color_ignore_orientation')
    if image is None:
        raise UserError(
            f'{path} is missing or is not a readable image; --images must be the folder of the annotated images'
        )
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=[short_name(name) for name in evaluator.categories.values()])
    found = [entry for entry in match.entries if entry['score'] >= score_thr]
    sample = DetDataSample(
        gt_instances=_instances(evaluator, iou_type, match.annotations, image.shape[:2]),
        pred_instances=_instances(evaluator, iou_type, found, image.shape[:2]),
    )
    sample.pred_instances.scores = torch.tensor([entry['score'] for entry in found])
    with quiet_drawing():
        visualizer.add_datasample('', image[..., ::-1], sample, pred_score_thr=-1, out_file=str(file))


def _instances(evaluator: CocoEvaluator, iou_type: str, items: list[dict], size: tuple[int, int]) -> InstanceData:
    """Convert annotations or results entries, with the evaluator's numbers, for MMDetection's visualizer.

    Boxes are cut off at the border of the image, whose ``size`` is (height, width).
    """
    # Results may have masks without boxes.
    boxes = torch.tensor(
        np.array([item.get('bbox') or mask_utils.toBbox(item['segmentation']) for item in items]),
        dtype=torch.float32,
    ).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    height, width = size
    boxes.clamp_(min=torch.zeros(4), max=torch.tensor([width, height, width, height]))  # matplotlib cannot draw 1e30
    instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([item['category_id'] - 1 for item in items], dtype=torch.long)
    )
    if items and iou_type == 'segm':
        instances.masks = np.stack([evaluator.coco.annToMask(item) for item in items])
    return instances
