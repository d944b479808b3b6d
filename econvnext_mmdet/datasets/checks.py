"""Checks of a config's data before a model is built."""

import logging
import os
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from ..evaluation.coco_format import EMPTY_MASKS, MaskFaults, check_annotations, find_bad_masks
from ..evaluation.coco_metric import OfficialCocoMetric
from ..utils.config import datasets_of, evaluate_masks, evaluators_of, is_classification, judges_parts, type_name
from ..utils.errors import UserError, did_you_mean, errors_in, examples
from .classification_checks import check_classification
from .coco_by_name import CocoDatasetByName
from .dataset_files import (
    check_images,
    classes_of,
    find_resized,
    is_local,
    is_xml,
    paths_of,
    read_annotations,
    registered_type,
)
from .xml_files import XMLNames

# What the datasets of MMDetection read in filter_cfg, and the packages of these datasets.
FILTERS = ('filter_empty_gt', 'min_size', 'bbox_min_size')
OWNERS = ('mmdet.', __name__.partition('.')[0])


def check_datasets(cfg: Config, splits: Sequence[str]) -> None:
    """Check the datasets and the evaluators of a config.

    For local files in COCO's format or in Pascal VOC's, annotations and images must exist, the annotations must be
    well-formed, and the heads must have the same number of classes. The training files in COCO's format together must
    have all classes. For a classifier, see :func:`~.classification_checks.check_classification`.

    Args:
        cfg: The whole config, after :func:`~.classes.unify_classes`.
        splits: The splits that will be used, some of 'train', 'val' and 'test'.

    Raises:
        UserError: The first problem that would make a run fail or give wrong results.
    """
    seen = []
    for split in splits:
        evaluators = evaluators_of(cfg, split)
        files = []
        absent: set[str] | None = None
        for dataset in filter(is_local, datasets_of(cfg, split)):
            needs = needs_of(dataset, evaluators)
            if (dataset, needs) not in seen:
                lacking = check_dataset(dataset, **needs)
                absent = lacking if absent is None else absent & lacking
                seen.append((dataset, needs))
            check_num_classes(cfg.get('model'), classes_of(dataset))
            files.append(paths_of(dataset)[0])
        if split == 'train':
            check_trained_classes(absent or set(), files)
        check_evaluators(evaluators, split, files, judges_parts(cfg, split))
    if is_classification(cfg):
        check_classification(cfg, splits)


def needs_of(dataset: dict, evaluators: Sequence[dict]) -> dict[str, bool]:
    """What loading and evaluation require of an annotation file, as arguments for :func:`check_dataset`."""
    readers = [evaluator for evaluator in evaluators if evaluator.get('ann_file')]
    return dict(
        # OfficialCocoMetric treats a missing iscrowd as 0, and accepts any id.
        pycocotools=any(evaluator['type'] not in ('OfficialCocoMetric', OfficialCocoMetric) for evaluator in readers),
        masks=any(step.get('with_mask') for step in dataset.get('pipeline') or ()) or evaluate_masks(evaluators),
    )


def check_dataset(dataset: dict, pycocotools: bool = False, masks: bool = False) -> set[str]:
    """Check one dataset: its files, its annotations and its classes.

    Args:
        dataset: The config of a local dataset.
        pycocotools: pycocotools will evaluate the file, see :func:`check_annotations`. Defaults to False.
        masks: Every annotation must have a mask. Defaults to False.

    Returns:
        The classes that the file lacks. Empty for Pascal VOC, which has no list of classes.

    Raises:
        UserError: The first problem found. The message says in which file it is and what to do.
    """
    check_layout(dataset)
    check_filter(dataset)
    coco = read_annotations(dataset, pycocotools)
    ann_file, folder = paths_of(dataset)
    with errors_in(ann_file):
        check_annotations(coco, pycocotools)
        faults = find_bad_masks(coco) if masks else MaskFaults({}, [])
        for what, ids in faults.bad.items():
            if ids:
                raise UserError(
                    f'{what}: {len(ids)}, for example annotation {ids[0]}. The config loads or evaluates masks, so '
                    'every annotation needs a valid one. Correct the file, or use a config without masks.'
                )
        if faults.empty:
            print_log(
                f'{ann_file} has {EMPTY_MASKS}, which no detection can match: {len(faults.empty)}, for example '
                f'annotation {faults.empty[0]}',
                logger='current',
                level=logging.WARNING,
            )
        left_out, lacking = check_classes(
            classes_of(dataset),
            [category['name'] for category in coco['categories']],
            in_order_of(dataset, pycocotools),
        )
    for names, what in (
        (left_out, 'are not among the classes of the config and are left out'),
        (lacking, 'are classes of the config that the file lacks: they have no boxes there'),
    ):
        if names:
            print_log(f'{ann_file}: {examples(names, most=5)} {what}', logger='current', level=logging.WARNING)
    check_images(coco['images'], folder, ann_file)
    if resized := find_resized(coco['images'], folder):
        print_log(
            f'{ann_file} says other sizes than the images have, so its boxes may be wrong: {resized[0]}, and '
            f'{len(resized) - 1} more of those looked at. tools/check_dataset.py names all.',
            logger='current',
            level=logging.WARNING,
        )
    return set() if is_xml(dataset) else set(lacking)


def in_order_of(dataset: dict, pycocotools: bool) -> str:
    """What numbers the classes in the order of the file: the type of the dataset, the metric, or '' for neither."""
    dataset_type = registered_type(dataset)
    if is_xml(dataset):
        return ''
    if dataset_type is None or not issubclass(dataset_type, CocoDatasetByName):
        return type_name(dataset)
    return 'The metric' if pycocotools else ''


def check_layout(dataset: dict) -> None:
    """Check that the files and folders of a dataset's config exist, apart from those of single images.

    Raises:
        UserError: One of them is missing. The message has the layout that the config expects.
    """
    ann_file, folder = paths_of(dataset)
    places = {'annotation file': ann_file, 'image folder': folder}
    layout = f'expected the annotations at {ann_file} and the images in {folder}'
    if is_xml(dataset):
        places['annotation folder'] = XMLNames(dataset).xml_folder
        layout = (
            f'expected the annotations at {ann_file} (the NAME of each image) and in '
            f'{places["annotation folder"]} (NAME.xml), and the images in {folder} (NAME.jpg)'
        )
    hint = 'arrange the data like this or change data_root in the config; `make demo` trains without any download'
    if os.path.isdir(folder) and not is_xml(dataset):
        hint += '; tools/dataset_converters/ makes annotation files from XML'
    for kind, path in places.items():
        if not (os.path.isfile if kind == 'annotation file' else os.path.isdir)(path):
            raise UserError(f'no {kind} {path}: {layout}; {hint}')


def check_filter(dataset: dict) -> None:
    """Check that MMDetection knows the names in ``filter_cfg``. It ignores others, and filters nothing.

    Raises:
        UserError: It does not know one.
    """
    for name in dataset.get('filter_cfg') or ():
        if name not in FILTERS and str(getattr(registered_type(dataset), '__module__', '')).startswith(OWNERS):
            raise UserError(
                f'filter_cfg of a {type_name(dataset)} has the unknown name {name!r}; '
                + did_you_mean(name, FILTERS, f'it may have {", ".join(FILTERS)}')
            )


def check_classes(classes: Sequence[str], names: Sequence[str], in_order: str = '') -> tuple[list[str], list[str]]:
    """Check the classes of a config against the categories of an annotation file.

    Args:
        classes: The classes of the config, in its order.
        names: The names of the categories in the annotation file, in its order.
        in_order: What numbers the classes in the order of the file, such as MMDetection's CocoMetric. Then the file
            must have all classes in the order of the config. Defaults to '': nothing.

    Returns:
        The categories that are not classes of the config, and the classes that the file lacks. Both are allowed.

    Raises:
        UserError: The file has none of the classes, or a similar name in place of one, or another order if the order
            matters.
    """
    left_out = [name for name in names if name not in classes]
    lacking = [name for name in classes if name not in names]
    similar = {name.lower(): name for name in left_out}
    for name in lacking:
        for found in get_close_matches(name.lower(), similar, n=1, cutoff=0.8):
            raise UserError(
                f'the file lacks the class {name!r} of the config and has {similar[found]!r}; use the same name in the '
                'file and in metainfo.classes'
            )
    if lacking and (in_order or len(lacking) == len(classes)):
        raise UserError(
            f'the file lacks the class{"es" * (len(lacking) > 1)} {", ".join(map(repr, lacking))} of the '
            f'config; it has {", ".join(map(repr, names)) or "none"}. Use the same names in metainfo.classes.'
        )
    used = [name for name in names if name in classes]
    if in_order and used != list(classes):
        raise UserError(
            f'the file has the classes in a different order than the config: expected {tuple(classes)}, found '
            f'{tuple(used)}. {in_order} numbers the classes in the order of the file. With CocoDataset and the metric '
            'OfficialCocoMetric, the order does not matter: use them in the config.'
        )
    return left_out, lacking


def check_trained_classes(lacking: Collection[str], files: Sequence[str]) -> None:
    """Check that the training files together have all classes.

    Args:
        lacking: The classes that none of the files has.
        files: The annotation files.

    Raises:
        UserError: A class has no category in any file.
    """
    if lacking:
        raise UserError(
            f'no training file has the class{"es" * (len(lacking) > 1)} {", ".join(sorted(map(repr, lacking)))} of the '
            f'config ({", ".join(files)}). Correct metainfo.classes and num_classes, or the file.'
        )


def check_num_classes(part: Any, classes: Sequence[str]) -> None:
    """Check the number of classes of every ``bbox_head`` and ``mask_head`` in a model's config.

    In a model with a language model, ``num_classes`` is a number of tokens. It is not checked there.

    Args:
        part: The model's config, or a part of it. The check visits its dicts and lists.
        classes: The classes of the dataset.

    Raises:
        UserError: A head has a different number of classes.
    """
    if isinstance(part, (list, tuple)):
        for item in part:
            check_num_classes(item, classes)
    elif isinstance(part, dict) and 'language_model' not in part:
        for name in ('bbox_head', 'mask_head'):
            heads = part.get(name)
            for head in heads if isinstance(heads, (list, tuple)) else [heads]:
                if isinstance(head, dict) and head.get('num_classes', len(classes)) != len(classes):
                    raise UserError(
                        f'the {name} {head.get("type")} has num_classes={head["num_classes"]}, but the '
                        f'dataset has {len(classes)} classes {tuple(classes)}; make them equal in the config'
                    )
        for item in part.values():
            check_num_classes(item, classes)


def check_evaluators(evaluators: Sequence[dict], split: str, files: Sequence[str], by_part: bool = False) -> None:
    """Check that each of a split's COCO metrics reads the annotation file of one of its datasets.

    Args:
        evaluators: The configs of the split's metrics.
        split: 'train', 'val' or 'test', for the message.
        files: The annotation files that the split's datasets read.
        by_part: The evaluator gives each metric the images of one dataset. Defaults to False.

    Raises:
        UserError: A metric reads a different file, or would mix the images of several datasets.
    """
    for evaluator in evaluators:
        ann_file = evaluator.get('ann_file')
        if ann_file and files and not any(os.path.realpath(ann_file) == os.path.realpath(file) for file in files):
            raise UserError(
                f'{split}_evaluator.ann_file is {ann_file}, but {split}_dataloader reads '
                f'{", ".join(files)}; make them equal in the config'
            )
        # OfficialCocoMetric takes the images of its own file.
        if ann_file and len(set(files)) > 1 and not by_part and type_name(evaluator) != OfficialCocoMetric.__name__:
            raise UserError(
                f'{split}_dataloader joins {len(set(files))} annotation files, and {type_name(evaluator)} of '
                f'{split}_evaluator would mix their images. Use OfficialCocoMetric, or MultiDatasetsEvaluator.'
            )
