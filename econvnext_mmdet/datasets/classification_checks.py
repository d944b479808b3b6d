"""Checks of a classifier's data before a model is built.

MMPretrain numbers the class folders of each split by name. A missing or extra folder shifts the labels of that split.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..utils.config import datasets_of, evaluators_of
from ..utils.errors import UserError, examples
from .dataset_files import check_images, registered_type


def check_classification(cfg: Config, splits: Sequence[str]) -> None:
    """Check the local image datasets of MMPretrain, which have labels from folders or from a list. Opens no image.

    Args:
        cfg: The whole config.
        splits: The splits that will be used, some of 'train', 'val' and 'test'.

    Raises:
        UserError: A folder, a list or an image in a list is missing. The classes differ from those of the config or of
            another split. The k of a metric's top-k accuracy exceeds the number of classes. Or the training batch size
            is 1.
    """
    from mmpretrain.datasets import CustomDataset

    from .tiny_imagenet import TinyImageNet

    if 'train' in splits and cfg.train_dataloader.get('batch_size', 2) < 2:
        raise UserError('train_dataloader.batch_size is 1, but the BatchNorm of a classifier needs two images or more')
    model = cfg.model.get('module', cfg.model)  # inside the wrapper for test-time augmentation
    expected = {
        'the head': (model.get('head') or {}).get('num_classes'),
        'the data_preprocessor': (cfg.get('data_preprocessor') or {}).get('num_classes'),
    }
    for split in splits:
        for evaluator in evaluators_of(cfg, split):
            topk = evaluator.get('topk') or 1
            topk = max(topk) if isinstance(topk, (list, tuple)) else topk
            if evaluator.get('type') == 'Accuracy' and expected['the head'] and topk > expected['the head']:
                raise UserError(
                    f'{split}_evaluator has topk={topk}, but the head has {expected["the head"]} classes; '
                    f'set {split}_evaluator.topk=(1, ) in the config'
                )
    known: tuple[str, list[str]] | None = None
    for config in [dataset for split in splits for dataset in datasets_of(cfg, split)]:
        dataset_type = registered_type(config, 'mmpretrain')
        # A type with its own load_data_list reads a different layout.
        if dataset_type is None or getattr(dataset_type, 'load_data_list', None) is not CustomDataset.load_data_list:
            continue
        dataset = dataset_type(
            **{
                **{key: value for key, value in config.items() if key not in ('type', '_scope_')},
                'pipeline': [],
                'lazy_init': True,
            }
        )
        folder, classes = dataset.img_prefix, dataset.CLASSES
        if not dataset.with_label or '://' in folder:
            continue
        if not os.path.isdir(folder):
            raise UserError(
                f'no image folder {folder}: expected one folder of images per class in it; arrange the data like '
                'this or change data_root in the config. `tools/make_shapes.py data/shapes_classification '
                '--classification` makes a small set of synthetic images'
            )
        if dataset.ann_file:
            numbers = [number for number in (*expected.values(), classes and len(classes)) if number]
            _check_list(dataset.ann_file, folder, min(numbers, default=None))
            continue
        listed = dataset.listed() if isinstance(dataset, TinyImageNet) else None
        if listed is None:
            names = _class_folders(folder)
        else:
            names = sorted({name for _, name in listed})
            check_images([dict(file_name=f'images/{image}') for image, _ in listed], folder, folder)
        _check_number(folder, names, {"the dataset's metainfo": classes and len(classes), **expected})
        if known is not None and names != known[1]:
            raise UserError(
                f'{folder} and {known[0]} have different class folders: only one of them has '
                f'{examples(sorted({*names} ^ {*known[1]}))}. MMPretrain numbers the folders by name, so the labels '
                'would not agree. Make the folders of both splits the same.'
            )
        known = (folder, names)


def _class_folders(folder: str) -> list[str]:
    """The sorted names of the class folders inside a folder. There must be some, and none may be empty."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not names:
        raise UserError(f'{folder} has no class folders: expected one folder of images per class in it')
    empty = [name for name in names if not any(os.scandir(os.path.join(folder, name)))]
    if empty:
        raise UserError(
            f'{len(empty)} of the {len(names)} class folders in {folder} are empty: {examples(empty)}. Add images, or '
            'delete these folders in every split.'
        )
    return names


def _check_number(folder: str, names: Sequence[str], expected: dict[str, int | None]) -> None:
    """Check the number of classes in a folder.

    Args:
        folder: The folder.
        names: The classes in it.
        expected: The number of classes of each part of the config. None if the part has no such number.
    """
    for what, number in expected.items():
        if number is not None and number != len(names):
            own = (
                '. Also correct metainfo.classes, or use CustomDataset, which sets no classes, in place of this dataset'
                if what == "the dataset's metainfo"
                else ''
            )
            raise UserError(
                f'{folder} has {len(names)} class folders ({examples(names, most=5)}), but {what} has {number} '
                f'classes; set model.head.num_classes and data_preprocessor.num_classes in the config{own}'
            )


def _check_list(ann_file: str, folder: str, num_classes: int | None) -> None:
    """Check a list of images and labels, with lines such as 'cats/1.jpg 0'."""
    if not os.path.isfile(ann_file):
        raise UserError(
            f'no annotation file {ann_file}, the list of images and labels; set ann_file in the config, or '
            'leave it out and give the images one folder per class'
        )
    images = []
    try:
        lines = Path(ann_file).read_text(encoding='utf-8').split('\n')
    except UnicodeDecodeError as error:
        raise UserError(f'{ann_file} is not a text file in UTF-8: {error}. Save it in UTF-8.') from None
    for number, line in enumerate(lines[:-1] if lines[-1] == '' else lines, 1):
        name, _, label = line.strip().rpartition(' ')
        if not name or not label.isdecimal() or num_classes is not None and int(label) >= num_classes:
            raise UserError(
                f'{ann_file}, line {number}: expected the path of an image and the number of its class'
                + (f', from 0 to {num_classes - 1}' if num_classes else '')
                + f'; found {line.strip()!r}'
            )
        images.append(dict(file_name=name))
    check_images(images, folder, ann_file)
