"""The files and classes that a dataset's config names."""

import json
import os
from collections import defaultdict
from typing import Any
from unicodedata import normalize

import numpy as np
from mmdet.datasets import CocoDataset, XMLDataset
from mmdet.registry import DATASETS

from ..utils.errors import UserError
from ..utils.files import load_json, stored_size
from .coco_by_name import CocoDatasetByName
from .xml_files import XMLNames

# A Mac writes an accent as a character of its own (Unicode's form NFD), other systems as one with its letter (NFC).
SAMPLED = 200  # images whose sizes are looked at before a run
OTHER_FORM = 'have another name on the disk, with accents encoded in another way (Unicode NFC or NFD)'


def registered_type(dataset: dict, scope: str = 'mmdet') -> type | None:
    """The class that a dataset's config names, or None if the registry of the scope does not have it."""
    with DATASETS.switch_scope_and_registry(scope) as registry:
        return registry.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']


def is_local(dataset: dict) -> bool:
    """Whether a dataset's config reads local files in COCO's format or in Pascal VOC's.

    The result is False if a subclass reads its own format (LVIS, panoptic), or if the files are in remote storage.
    """
    return (
        (_loads_like(dataset, CocoDataset) or is_xml(dataset))
        and '://' not in _ann_file(dataset)
        and (dataset.get('backend_args') or {}).get('backend', 'local') == 'local'
    )


def is_xml(dataset: dict) -> bool:
    """Whether a dataset's config reads XML files in Pascal VOC's format."""
    return _loads_like(dataset, XMLDataset)


def _loads_like(dataset: dict, base: type) -> bool:
    dataset_type = registered_type(dataset)
    return dataset_type is not None and all(
        getattr(dataset_type, name, None) is getattr(base, name) for name in ('load_data_list', 'parse_data_info')
    )


def paths_of(dataset: dict) -> tuple[str, str]:
    """The annotation file and the image folder of a dataset's config. Pascal VOC's annotation file lists the images."""
    if is_xml(dataset):
        return _ann_file(dataset), XMLNames(dataset).img_folder
    folder = (dataset.get('data_prefix') or {}).get('img', '')
    return _ann_file(dataset), os.path.join(dataset.get('data_root') or '', folder)


def _ann_file(dataset: dict) -> str:
    return os.path.join(dataset.get('data_root') or '', dataset.get('ann_file', ''))


def classes_of(dataset: dict) -> list[str]:
    """The classes of a dataset's config: those in its ``metainfo``, or else those of its type.

    Args:
        dataset: The config. ``metainfo.classes`` may also be a text file with one class per line.

    Raises:
        UserError: ``metainfo.classes`` is a string that is not the path of a file, or the key is not ``classes``.
    """
    # An unregistered type is an error later, when the dataset is built.
    dataset_type: Any = registered_type(dataset) or CocoDataset
    for key in dataset.get('metainfo') or ():
        if key != 'classes' and key.lower() == 'classes':
            raise UserError(f'metainfo has the key {key!r}, which nothing reads; write it as classes')
    classes = dataset_type._load_metainfo(dataset.get('metainfo')).get('classes', ())
    if isinstance(classes, str):
        raise UserError(
            f'metainfo.classes must be a tuple of names or the path of a text file with one name per line, and there '
            f'is no file {classes!r}; for a single class, write ({classes!r}, )'
        )
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        raise UserError(f'metainfo.classes must be a tuple of names; got {classes!r}')
    return list(classes)


def read_annotations(dataset: dict, pycocotools: bool = False) -> dict:
    """The annotations of a dataset, as the content of a file in COCO's format.

    Args:
        dataset: The config of a local dataset.
        pycocotools: pycocotools will read the file for the evaluation. Defaults to False.

    Raises:
        UserError: A file is missing or malformed, or it has an encoding that pycocotools cannot read and must.
    """
    if is_xml(dataset):
        files = XMLNames(dataset)
        annotations = [dict(file_name=f'{name}.xml') for name in files.names()]
        check_images(annotations, files.xml_folder, files.ann_file, 'annotations')
        return files.as_coco()
    path = paths_of(dataset)[0]
    coco = load_json(path, dict)
    dataset_type = registered_type(dataset)
    if pycocotools or dataset_type is None or not issubclass(dataset_type, CocoDatasetByName):
        with open(path, 'rb') as file:
            encoding = json.detect_encoding(file.read(4))
        if encoding != 'utf-8':
            raise UserError(
                f'{path}: expected UTF-8 without a byte order mark, which is all that pycocotools reads; found '
                f'{encoding}. Save the file in UTF-8, or use CocoDatasetByName and OfficialCocoMetric.'
            )
    return coco


def spread(length: int, number: int) -> list[int]:
    """At most ``number`` indices of a sequence, spread evenly over its ``length``."""
    return np.unique(np.linspace(0, length - 1, min(number, length)).round().astype(int)).tolist()


def find_absent(images: list[dict], folder: str) -> dict[str, list[str]]:
    """Find images that are missing or empty, without opening any image.

    Args:
        images: The entries of an annotation file, each with ``file_name``.
        folder: The folder that the file names start from.

    Returns:
        A dict with lists of paths: 'are missing', 'are empty files', and one for files whose accents and marks are
            encoded in another way on the disk.
    """
    by_folder = defaultdict(set)
    for image in images:
        path = os.path.join(folder, image['file_name'])
        by_folder[os.path.dirname(path)].add(os.path.basename(path))
    absent: dict[str, list[str]] = {'are missing': [], OTHER_FORM: [], 'are empty files': []}
    # Listing each folder once is much quicker than looking for each file.
    for path, wanted in by_folder.items():
        found = {entry.name: entry for entry in os.scandir(path)} if os.path.isdir(path) else {}
        same = {normalize('NFC', name) for name in found} if not wanted <= found.keys() else set()
        for name in wanted:
            if name not in found and normalize('NFC', name) in same:
                absent[OTHER_FORM].append(os.path.join(path, name))
            elif name not in found or not os.path.isfile(found[name]):  # also False for links in a loop
                absent['are missing'].append(os.path.join(path, name))
            elif found[name].stat().st_size == 0:
                absent['are empty files'].append(os.path.join(path, name))
    return absent


def find_resized(images: list[dict], folder: str) -> list[str]:
    """Find images whose files have another size than the annotation file says. Opens only some, spread evenly.

    Args:
        images: The entries of an annotation file, each with ``file_name``, ``width`` and ``height``.
        folder: The folder that the file names start from.

    Returns:
        The paths, each with both sizes.
    """
    found = []
    for i in spread(len(images), SAMPLED):
        stated, path = (images[i]['width'], images[i]['height']), os.path.join(folder, images[i]['file_name'])
        size = stored_size(path)
        if size and sorted(size) != sorted(stated):  # EXIF may say that width and height are swapped
            found.append(f'{path} has {size[0]} x {size[1]} pixels instead of {stated[0]} x {stated[1]}')
    return found


def check_images(images: list[dict], folder: str, ann_file: str, kind: str = 'images') -> None:
    """Check that no image of an annotation file is missing or empty. Opens no image.

    Args:
        images: The entries of the annotation file, each with ``file_name``.
        folder: The folder that the file names start from.
        ann_file: The annotation file, for the message.
        kind: What the files are, for the message. Defaults to 'images'.

    Raises:
        UserError: Images are missing or empty. The message has their number and one example.
    """
    for what, paths in find_absent(images, folder).items():
        if paths:
            advice = f'Restore the {kind}, or correct data_root or data_prefix in the config.'
            if what == OTHER_FORM:
                advice = 'Rename the files, for example with convmv, or correct the names in the annotation file.'
            raise UserError(
                f'{len(paths)} of the {len(images)} {kind} of {ann_file} {what}, for example {min(paths)}. {advice}'
            )
