"""Checks of a config's data before a model is built: COCO files, and folders of classes.

MMDetection takes the categories in the order of the annotation file, whatever order the config names them in,
and leaves out without a word a class that the file lacks: labels shift or mAP stays 0. MMPretrain numbers the
folders of each split by their names, so that one folder more or less shifts the labels of that split.
"""
import json
import os
from collections import defaultdict
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.logging import print_log

from ..errors import UserError, examples
from ..evaluation.coco_metric import OfficialCocoMetric
from ..files import no_garbage_collection
from .coco_format import check_annotations, find_bad_masks


def check_datasets(cfg: Config, splits: Sequence[str]) -> None:
    """Check the datasets and the evaluators of a config.

    Checked are local files in COCO's format: that annotations and images are there, that the annotations are
    well-formed, that the classes are those of the file in the file's order, and that the heads have as many. Of
    MMPretrain's folders of classes, that they are there, the same in each split, and as many as the head has.

    Args:
        cfg (Config): The whole config.
        splits (Sequence[str]): Which of 'train', 'val' and 'test' will be used.

    Raises:
        UserError: The first thing found that would make a run fail or be wrong.
    """
    seen = []
    for split in splits:
        evaluators = evaluators_of(cfg, split)
        files = []
        for dataset in filter(is_local_coco, datasets_of(cfg, split)):
            needs = needs_of(dataset, evaluators)
            if (dataset, needs) not in seen:
                check_dataset(dataset, **needs)
                seen.append((dataset, needs))
            check_num_classes(cfg.get('model'), classes_of(dataset))
            files.append(_path(dataset, dataset['ann_file']))
        check_evaluators(evaluators, split, files)
    if is_classification(cfg):
        check_classification(cfg, splits)


def is_classification(cfg: Config) -> bool:
    """Whether a config is one of mmpretrain's."""
    return cfg.get('default_scope') == 'mmpretrain'


def evaluators_of(cfg: Config, split: str) -> List[dict]:
    """The configs of a split's metrics; training has none."""
    evaluators = cfg.get(f'{split}_evaluator') or [] if split != 'train' else []
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def needs_of(dataset: dict, evaluators: List[dict]) -> Dict[str, bool]:
    """What a dataset's file must have for its loading and for its evaluation, as :func:`check_dataset` takes it."""
    readers = [evaluator for evaluator in evaluators if evaluator.get('ann_file')]
    return dict(
        evaluated=bool(readers),
        # OfficialCocoMetric takes what has none for no crowd; mmdet's metrics leave pycocotools to fail.
        iscrowd=any(evaluator['type'] not in ('OfficialCocoMetric', OfficialCocoMetric) for evaluator in readers),
        masks=any(step.get('with_mask') for step in dataset.get('pipeline') or ())
        or any('segm' in (evaluator.get('metric') or ()) for evaluator in evaluators))


def datasets_of(cfg: Config, split: str) -> List[dict]:
    """The configs of a split's datasets, out of their wrappers."""
    return list(_unwrapped((cfg.get(f'{split}_dataloader') or {}).get('dataset')))


def _unwrapped(dataset) -> Iterator[dict]:
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from _unwrapped(item)
    elif dataset is not None and ('dataset' in dataset or 'datasets' in dataset):
        yield from _unwrapped(dataset.get('dataset', dataset.get('datasets')))
    elif dataset is not None:
        yield dataset


def is_local_coco(dataset: dict) -> bool:
    """Whether a dataset's config reads local files in COCO's format.

    Formats that a subclass reads in its own way (LVIS, panoptic) and files of another storage are left to those
    who read them.
    """
    kind = _kind(dataset)
    return kind is not None and all(getattr(kind, name, None) is getattr(CocoDataset, name)
                                    for name in ('load_data_list', 'parse_data_info')) \
        and '://' not in _path(dataset, dataset.get('ann_file', '')) \
        and (dataset.get('backend_args') or {}).get('backend', 'local') == 'local'


def _kind(dataset: dict, scope: str = 'mmdet') -> Optional[type]:
    """The class of a dataset's config, None where no such type is registered."""
    with DATASETS.switch_scope_and_registry(scope) as registry:
        return registry.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']


def _path(dataset: dict, path: str) -> str:
    return os.path.join(dataset.get('data_root') or '', path)


def classes_of(dataset: dict) -> List[str]:
    """The classes of a dataset's config, from the file it names, or those of its type where it names none."""
    classes = _kind(dataset)._load_metainfo(dataset.get('metainfo')).get('classes', ())
    if isinstance(classes, str):
        raise UserError(f'metainfo.classes must be a tuple of names, as ({classes!r}, ); got {classes!r}')
    return list(classes)


def check_dataset(dataset: dict, evaluated: bool = False, iscrowd: bool = False, masks: bool = False) -> None:
    """Check one COCO dataset: its files, its annotations and its classes.

    Args:
        dataset (dict): The dataset's config, with ``ann_file``, and as there are ``data_root``,
            ``data_prefix`` and ``metainfo``.
        evaluated (bool): COCO's evaluation will read the file. Defaults to False.
        iscrowd (bool): Every annotation must have ``iscrowd``. Defaults to False.
        masks (bool): Every annotation must have a mask. Defaults to False.

    Raises:
        UserError: What is wrong, in which file, and what to do.
    """
    check_layout(dataset)
    coco = read_annotations(dataset)
    ann_file, folder = paths_of(dataset)
    try:
        check_annotations(coco, evaluated, iscrowd)
        for what, ids in find_bad_masks(coco).items() if masks else ():
            if ids:
                raise UserError(f'{len(ids)} {what}, which the config loads or evaluates, as that of annotation '
                                f'{ids[0]}')
        left_out = check_classes(classes_of(dataset), [category['name'] for category in coco['categories']])
    except UserError as error:
        raise UserError(f'{ann_file}: {error}') from None
    if left_out:
        print_log(f'{len(left_out)} of the annotation file\'s categories are not among the config\'s classes and are '
                  'left out', logger='current')
    _check_images(coco['images'], folder, ann_file)


def paths_of(dataset: dict) -> Tuple[str, str]:
    """The annotation file and the folder of the images of a COCO dataset's config."""
    return (_path(dataset, dataset.get('ann_file', '')),
            _path(dataset, (dataset.get('data_prefix') or {}).get('img', '')))


def check_layout(dataset: dict) -> None:
    """Check that the annotation file and the folder of the images of a COCO dataset's config are there.

    Raises:
        UserError: Which is missing, and the layout that the config expects.
    """
    ann_file, folder = paths_of(dataset)
    layout = f'expected the annotations at {ann_file} and the images in {folder}'
    hint = 'lay the data out so or change data_root in the config; `make demo` trains with nothing to download'
    if not os.path.isfile(ann_file):
        convert = '; tools/dataset_converters/ makes such files of XML' if os.path.isdir(folder) else ''
        raise UserError(f'no annotation file {ann_file}: {layout}; {hint}{convert}')
    if not os.path.isdir(folder):
        raise UserError(f'no image folder {folder}: {layout}; {hint}')


def read_annotations(dataset: dict) -> dict:
    """The content of a COCO dataset's annotation file.

    Raises:
        UserError: The file is not readable as JSON.
    """
    ann_file, _ = paths_of(dataset)
    try:
        with open(ann_file, encoding='utf-8') as file, no_garbage_collection():
            return json.load(file)
    except (ValueError, OSError) as error:
        raise UserError(f'{ann_file} is not readable as JSON: {error}') from None


def check_classes(classes: Sequence[str], names: Sequence[str]) -> List[str]:
    """Check the classes of a config against the categories of an annotation file.

    Args:
        classes (Sequence[str]): The config's, in its order.
        names (Sequence[str]): The file's, in its order.

    Returns:
        list[str]: The categories that the config does not name: training leaves them out, which is allowed.

    Raises:
        UserError: The file lacks a class or has them in another order.
    """
    absent = [name for name in classes if name not in names]
    if absent:
        raise UserError(f'the file lacks the class{"es" * (len(absent) > 1)} {", ".join(map(repr, absent))} of the '
                        f'config; it has {", ".join(map(repr, names))}. Name the same in metainfo.classes.')
    used = [name for name in names if name in classes]
    if used != list(classes):
        raise UserError(f'the file has the classes in another order than the config: expected {tuple(classes)}, '
                        f'found {tuple(used)}. MMDetection labels by the order of the file, so give '
                        f'metainfo.classes in that order.')
    return [name for name in names if name not in classes]


def find_absent(images: List[dict], folder: str) -> Dict[str, List[str]]:
    """The paths of images that 'are missing' from their folder and that 'are empty files'; reads no image."""
    by_folder = defaultdict(set)
    for image in images:
        path = os.path.join(folder, image['file_name'])
        by_folder[os.path.dirname(path)].add(os.path.basename(path))
    absent = {'are missing': [], 'are empty files': []}
    # One listing a folder is much quicker than a look at each file.
    for path, wanted in by_folder.items():
        there = {entry.name: entry for entry in os.scandir(path)} if os.path.isdir(path) else {}
        for name in wanted:
            if name not in there or not there[name].is_file():
                absent['are missing'].append(os.path.join(path, name))
            elif there[name].stat().st_size == 0:
                absent['are empty files'].append(os.path.join(path, name))
    return absent


def _check_images(images: List[dict], folder: str, ann_file: str) -> None:
    """Check that the images which an annotation file names are there."""
    for what, paths in find_absent(images, folder).items():
        if paths:
            raise UserError(f'{len(paths)} of the {len(images)} images of {ann_file} {what}, as {min(paths)}')


def check_num_classes(part, classes: List[str]) -> None:
    """Check the number of classes of every ``bbox_head`` and ``mask_head`` in a model's config.

    With a language model that is a number of tokens, and not checked.
    """
    if isinstance(part, (list, tuple)):
        for item in part:
            check_num_classes(item, classes)
    elif isinstance(part, dict) and 'language_model' not in part:
        for name in ('bbox_head', 'mask_head'):
            heads = part.get(name)
            for head in heads if isinstance(heads, (list, tuple)) else [heads]:
                if isinstance(head, dict) and head.get('num_classes', len(classes)) != len(classes):
                    raise UserError(f'the {name} {head.get("type")} has num_classes={head["num_classes"]}, but the '
                                    f'dataset has {len(classes)} classes {tuple(classes)}; set them equal in the '
                                    'config')
        for item in part.values():
            check_num_classes(item, classes)


def check_classification(cfg: Config, splits: Sequence[str]) -> None:
    """Check MMPretrain's datasets of local images, labelled by their folders or by a list; opens no image.

    Args:
        cfg (Config): The whole config.
        splits (Sequence[str]): Which of 'train', 'val' and 'test' will be used.

    Raises:
        UserError: A folder, a list or an image of it is missing, the classes are not those of the config or of
            another split, or training would have one image a step.
    """
    from mmpretrain.datasets import CustomDataset
    if 'train' in splits and cfg.train_dataloader.get('batch_size', 2) < 2:
        raise UserError('train_dataloader.batch_size is 1, and the BatchNorm of a classifier needs two images')
    model = cfg.model.get('module', cfg.model)  # test-time augmentation wraps it
    expected = {'the head': (model.get('head') or {}).get('num_classes'),
                'the data_preprocessor': (cfg.get('data_preprocessor') or {}).get('num_classes')}
    for split in splits:
        for evaluator in evaluators_of(cfg, split):
            topk = evaluator.get('topk') or 1
            topk = max(topk) if isinstance(topk, (list, tuple)) else topk
            if evaluator.get('type') == 'Accuracy' and expected['the head'] and topk > expected['the head']:
                raise UserError(f'{split}_evaluator has topk={topk}, and the head has {expected["the head"]} classes; '
                                f'set {split}_evaluator.topk=(1, ) in the config')
    known: Optional[Tuple[str, List[str]]] = None
    for config in [dataset for split in splits for dataset in datasets_of(cfg, split)]:
        kind = _kind(config, 'mmpretrain')
        if getattr(kind, 'load_data_list', None) is not CustomDataset.load_data_list:  # reads in its own way
            continue
        dataset = kind(**{**{key: value for key, value in config.items() if key not in ('type', '_scope_')},
                          'pipeline': [], 'lazy_init': True})
        folder, classes = dataset.img_prefix, dataset.CLASSES
        if not dataset.with_label or '://' in folder:
            continue
        if not os.path.isdir(folder):
            raise UserError(f'no image folder {folder}: expected the images in it, in a folder for each class; lay the '
                            'data out so or change data_root in the config. `tools/make_shapes.py '
                            'data/shapes_classification --classification` makes a small set of its own')
        if dataset.ann_file:
            numbers = [number for number in (*expected.values(), classes and len(classes)) if number]
            _check_list(dataset.ann_file, folder, min(numbers, default=None))
            continue
        names = _check_folders(folder, classes, expected)
        if known is not None and names != known[1]:
            different = sorted({*names} ^ {*known[1]})
            raise UserError(f'{folder} has other folders of classes than {known[0]}, as {", ".join(different[:3])}: '
                            'the folders are numbered by their names, so the labels would not be the same')
        known = (folder, names)


def _check_folders(folder: str, classes: Optional[Sequence[str]], expected: Dict[str, Optional[int]]) -> List[str]:
    """Check a folder with a folder for each class, whose names are returned, against the numbers of classes."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    empty = [name for name in names if not any(os.scandir(os.path.join(folder, name)))]
    if empty:
        raise UserError(f'{len(empty)} of the {len(names)} folders of classes in {folder} are empty, as {empty[0]}')
    for what, number in {"the dataset's metainfo": classes and len(classes), **expected}.items():
        if number is not None and number != len(names):
            found = f' ({examples(names, most=5)})' if names else ''
            own = "; the dataset's type, which brings its classes, is to be CustomDataset" if classes else ''
            raise UserError(f'{folder} has {len(names)} folders of classes{found}, but {what} has {number} classes; '
                            f'set model.head.num_classes and data_preprocessor.num_classes in the config{own}')
    return names


def _check_list(ann_file: str, folder: str, num_classes: Optional[int]) -> None:
    """Check a list of images and labels, a line each, as 'cats/1.jpg 0'."""
    if not os.path.isfile(ann_file):
        raise UserError(f'no annotation file {ann_file}, the list of images and labels; set ann_file in the config, or '
                        'leave it out for a folder for each class')
    images = []
    with open(ann_file, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            name, _, label = line.strip().rpartition(' ')
            if not name or not label.isdecimal() or num_classes is not None and int(label) >= num_classes:
                raise UserError(f'{ann_file}, line {number}: expected the path of an image and the number of its class'
                                + (f', from 0 to {num_classes - 1}' if num_classes else '')
                                + f'; found {line.strip()!r}')
            images.append(dict(file_name=name))
    _check_images(images, folder, ann_file)


def check_evaluators(evaluators: Sequence[dict], split: str, files: List[str]) -> None:
    """Check that a split's COCO metrics read the annotation file that its dataset reads."""
    for evaluator in evaluators:
        ann_file = evaluator.get('ann_file')
        if ann_file and files and not any(os.path.realpath(ann_file) == os.path.realpath(file) for file in files):
            raise UserError(f'{split}_evaluator.ann_file is {ann_file}, but {split}_dataloader reads '
                            f'{", ".join(files)}; set them equal in the config')
