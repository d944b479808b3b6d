"""Conversion of LabelMe's JSON files to COCO's JSON with masks."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from ...utils.errors import UserError
from ...utils.files import parse_json
from .common import (
    Annotated,
    ConversionSummary,
    Item,
    Picture,
    choose_classes,
    edges,
    find_pictures,
    placement,
    random_splits,
    read_picture,
    read_splits,
    stated_size,
)

CIRCLE = 64  # the corners of the polygon of a circle


def labelme_to_coco(
    root: str,
    out_dir: str | None = None,
    classes: Sequence[str] | None = None,
    order: str = 'alphabet',
    val_fraction: float | None = None,
    seed: int = 0,
    strict: bool = False,
) -> dict[str, ConversionSummary]:
    """Convert a folder with LabelMe's JSON files to COCO files.

    Polygons, rectangles and circles become objects with a box and a polygon as mask. Shapes of one class with the same
    ``group_id`` are the parts of one object. Points and lines are dropped, and so are other shapes without area.

    Args:
        root: The folder. It has a JSON file beside each image. Each subfolder with JSON files is a split.
        out_dir: The folder of the JSON files to write. It is created. Defaults to None: ``annotations`` in ``root``.
        classes: The classes in their order. Objects of other classes are dropped. Defaults to None: all classes.
        order: The order of all classes, 'alphabet' or 'appearance': that of the first object. Defaults to 'alphabet'.
        val_fraction: Split the images at random into train and val, with this fraction for val. Defaults to None.
        seed: The seed of this split. Defaults to 0.
        strict: Write nothing if anything is dropped. Defaults to False.

    Returns:
        The summary of each file that was written.

    Raises:
        UserError: There are no files of LabelMe, or one of the files would have no objects.
    """
    folder = Path(root)
    target = Path(out_dir or folder / 'annotations')
    pictures = find_pictures(folder)
    contents_of: dict[str, dict | UserError] = {}
    for path in sorted(path for path in folder.rglob('*.json') if path.is_file()):
        name = path.relative_to(folder).with_suffix('').as_posix()
        if path.parent != target:
            contents_of[name] = _read(path)
    if not any(isinstance(content, dict) for content in contents_of.values()):
        raise UserError(f'{root} has no JSON files of LabelMe, with a list "shapes"')
    names = list(contents_of)
    splits: dict[str, list[str]] = defaultdict(list)
    for name in names:
        splits[name.split('/')[0] if '/' in name else 'all'].append(name)

    def read(name: str, summary: ConversionSummary) -> Annotated:
        content = contents_of[name]
        if isinstance(content, UserError):
            raise content
        picture = read_picture(pictures, name, folder)
        return picture, read_shapes(content, picture, summary)

    labels = (
        str(shape['label'])
        for content in contents_of.values()
        if isinstance(content, dict)
        for shape in content['shapes']
        if shape.get('label')
    )
    classes = choose_classes(labels, classes, order)
    parts = splits if val_fraction is None else random_splits(names, val_fraction, seed)
    return read_splits(parts, read, classes, target, strict)


def _read(path: Path) -> dict | UserError:
    """The content of a file of LabelMe, or why it is none."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        return UserError(f'cannot read {path.name} as JSON: {error}')
    shapes = content.get('shapes') if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        return UserError(f'{path.name} is no file of LabelMe: expected a list "shapes" of objects')
    return content


def read_shapes(content: dict, picture: Picture, summary: ConversionSummary) -> list[Item]:
    """The objects of a file of LabelMe.

    Args:
        content: The content of the file.
        picture: Its image.
        summary: Receives one sentence per shape that is dropped, and a note if the image was annotated at another size.
    """
    place = placement(stated_size(content.get('imageWidth'), content.get('imageHeight')), picture, summary)
    groups: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for number, shape in enumerate(content['shapes'], 1):
        label, group = str(shape.get('label', '')), shape.get('group_id')
        try:
            polygon = place(_polygon(shape.get('shape_type', 'polygon'), np.array(shape['points'], float)))
            polygon = polygon.clip(0, (picture.width, picture.height))
            (rle,) = mask_utils.frPyObjects([polygon.ravel().tolist()], picture.height, picture.width)
            if not label or not mask_utils.area(rle):
                raise ValueError('it has no name or no area inside the image')
        except (KeyError, TypeError, ValueError) as error:
            summary.dropped.append(f'{picture.file_name}: shape {number} ({label}): {error}')
            continue
        part = f'shape {number}' if group is None else f'group {group}'
        groups[label, part].append(polygon.ravel().tolist())
    items = []
    for (label, part), polygons in groups.items():
        parts = mask_utils.frPyObjects(polygons, picture.height, picture.width)
        box = edges(np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons]))
        items.append(Item(label, box, part, mask=polygons, area=float(mask_utils.area(mask_utils.merge(parts)))))
    return items


def _polygon(kind: str, points: np.ndarray) -> np.ndarray:
    """The corners (n, 2) of a shape.

    Raises:
        ValueError: The shape has no area.
    """
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError('expected points of two numbers')
    if kind == 'polygon' and len(points) >= 3:
        return points
    if kind == 'rectangle' and len(points) == 2:
        (left, top), (right, bottom) = points
        return np.array(((left, top), (right, top), (right, bottom), (left, bottom)))
    if kind == 'circle' and len(points) == 2:
        center, border = points
        angles = np.linspace(0, 2 * np.pi, CIRCLE, endpoint=False)
        return center + np.hypot(*(border - center)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    raise ValueError(f'a {kind} of {len(points)} points is no object: expected a polygon, a rectangle or a circle')
