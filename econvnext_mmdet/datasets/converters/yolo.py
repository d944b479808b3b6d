"""Conversion of YOLO's text labels to COCO's JSON.

A line of a label file is ``CLASS X Y W H``, the center and the size of a box, or ``CLASS X1 Y1 X2 Y2 X3 Y3 ...``, a
polygon. All numbers but the class are fractions of the image.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ...utils.files import parse_yaml
from .common import (
    Annotated,
    ConversionSummary,
    Item,
    Picture,
    edges,
    find_files,
    find_pictures,
    is_fraction,
    name_splits,
    only_file,
    placement,
    polygon_item,
    read_picture,
    read_splits,
    read_text,
    to_number,
    unmatched,
)

NAME_FILES = ('data.yaml', 'dataset.yaml', 'classes.txt', 'obj.names')


def yolo_to_coco(
    root: str, out_dir: str | None = None, classes: Sequence[str] | None = None, strict: bool = False
) -> dict[str, ConversionSummary]:
    """Convert a folder with YOLO's text labels to COCO files, one per split.

    The labels of ``images/train/a.jpg`` are in ``labels/train/a.txt``, or ``train/images/a.jpg`` has
    ``train/labels/a.txt``. Without subfolders there is one split. An image without a label file has no objects.
    Label files without an image are left out, and the first summary names them.

    Args:
        root: The folder.
        out_dir: The folder of the JSON files. It is created. Defaults to None: ``annotations`` in ``root``.
        classes: The names of the classes, in the order of their numbers from 0. Defaults to None: those in
            ``data.yaml``, ``dataset.yaml``, ``classes.txt`` or ``obj.names`` in ``root``.
        strict: Write nothing if anything is dropped. Defaults to False.

    Returns:
        The summary of each file that was written.

    Raises:
        UserError: There are no label files or no names, or one of the files would have no objects.
    """
    folder = Path(root)
    pictures, texts = find_pictures(folder), find_files(folder, ('.txt',))
    classes = list(classes) if classes is not None else read_names(folder)
    folders: dict[str, list[str]] = {}
    labels: dict[str, str] = {}
    for name in pictures:
        parts = name.split('/')
        if 'images' in parts[:-1]:
            place = parts.index('images')
            labels[name] = '/'.join([*parts[:place], 'labels', *parts[place + 1 :]])
            folders.setdefault('/'.join(parts[:place] + parts[place + 1 : -1]), []).append(name)
    if not any(label in texts for label in labels.values()):
        raise UserError(
            f'{root} has no labels of YOLO: expected images in images/ and text files in labels/, beside it'
        )

    def read(name: str, summary: ConversionSummary) -> Annotated:
        picture = read_picture(pictures, name, folder)
        if labels[name] not in texts:
            summary.notes['without a label file, kept as images without objects'].append(picture.file_name)
            return picture, []
        return picture, read_labels(only_file(texts, labels[name], 'label'), picture, classes, summary)

    others = [
        path
        for path in unmatched(texts, {*labels.values()}, folder)
        if 'labels' in path.split('/')[:-1] and path.rpartition('/')[2] not in NAME_FILES
    ]
    left_out = {'label files without an image, left out': others}
    out = Path(out_dir or folder / 'annotations')
    return read_splits(name_splits(folders), read, classes, out, strict, left_out)


def read_names(folder: Path) -> list[str]:
    """The names of the classes in the files of ``NAME_FILES`` that are there.

    Raises:
        UserError: There is none of these files, one has no names, or they differ.
    """
    found = {name: _names_in(folder / name) for name in NAME_FILES if (folder / name).is_file()}
    if not found:
        raise UserError(f'{folder} has no names of classes: expected one of {", ".join(NAME_FILES)}, or --classes')
    (first, names), *others = found.items()
    for other, different in others:
        if different != names:
            raise UserError(
                f'{folder / first} names the classes {", ".join(names)}, and {other} {", ".join(different)}; remove '
                'the file that is wrong, or give --classes'
            )
    return names


def _names_in(path: Path) -> list[str]:
    if path.suffix != '.yaml':
        return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    try:
        content = parse_yaml(read_text(path), as_text=True)
    except ValueError as error:
        raise UserError(f'cannot read {path} as YAML: {error}') from error
    names = content.get('names') if isinstance(content, dict) else None
    if isinstance(names, dict) and names.keys() == {*map(str, range(len(names)))}:
        names = [names[str(number)] for number in range(len(names))]
    if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f'{path} has no list "names" of the classes; give them with --classes')
    if 'kpt_shape' in content:  # a line with key points may look like one with a polygon
        raise UserError(
            f'{path} says kpt_shape: its labels have key points. Keep the first five numbers of each line, and remove '
            'kpt_shape'
        )
    stated = content.get('nc', str(len(names)))
    if stated != str(len(names)):
        raise UserError(f'{path} says nc: {stated}, and has {len(names)} names; correct it, or give --classes')
    return names


def read_labels(path: Path, picture: Picture, classes: Sequence[str], summary: ConversionSummary) -> list[Item]:
    """Read the objects of a label file.

    Args:
        path: The file.
        picture: Its image.
        classes: The names of the classes.
        summary: Receives one sentence per line that is dropped, and a note if the image is rotated.

    Returns:
        The objects.

    Raises:
        UserError: The file is not a text file.
    """
    items = []
    lines = read_text(path).splitlines()
    place = placement(None, picture, summary, fractions=True)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            kind, *values = map(to_number, line.split())
            if len(values) != 4 and (len(values) < 6 or len(values) % 2):
                raise ValueError('expected a class and four numbers, or a class and at least three points')
            if kind not in range(len(classes)):
                raise ValueError(f'the class {kind:g} is not among the {len(classes)} names, which count from 0')
            if not all(map(is_fraction, values)):
                raise ValueError('expected fractions of the image, from 0 to 1')
        except ValueError as error:
            summary.dropped.append(f'{picture.file_name}: line {number} of {path.name} ({line.strip()[:60]}): {error}')
            continue
        label, points = classes[int(kind)], np.reshape(values, (-1, 2))
        if len(points) == 2:
            center, half = points[0], points[1].clip(0) / 2
            items.append(Item(label, edges(place(np.array((center - half, center + half)))), line.strip()))
        else:
            items.append(polygon_item(label, [place(points)], picture, 'polygon'))
    return items
