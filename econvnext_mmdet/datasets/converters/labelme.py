"""Conversion of LabelMe's JSON files to COCO's JSON with masks."""

from collections import defaultdict
from collections.abc import Container, Sequence
from pathlib import Path, PurePosixPath
from posixpath import normpath

import numpy as np

from ...utils.errors import UserError, is_readable
from ...utils.files import parse_json
from .common import (
    Annotated,
    ConversionSummary,
    Item,
    Picture,
    by_folder,
    choose_classes,
    find_files,
    find_pictures,
    name_splits,
    placement,
    polygon_item,
    random_splits,
    read_each,
    read_picture,
    read_splits,
    stated_size,
    unmatched,
)

COCO_KEYS = {'images', 'annotations', 'categories'}
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
    ``group_id`` are the parts of one object. Points and lines are dropped, and so are other shapes without area. What
    is outside of the image is cut off.

    Images without a JSON file are left out, and so are files in COCO's format. The first summary names them.

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
        UserError: There are no files of LabelMe, one of the files would have no objects, or would replace one that is
            converted.
    """
    folder = Path(root)
    pictures, files = find_pictures(folder), find_files(folder, ('.json',))
    found = read_each(files, read_labelme, 'JSON')
    contents = {name: content for name, content in found.items() if content is not None}
    if not any(isinstance(content, dict) for content in contents.values()):
        raise UserError(f'{root} has no JSON files of LabelMe, with a list "shapes"')

    def read(name: str, summary: ConversionSummary) -> Annotated:
        content = contents[name]
        if isinstance(content, UserError):
            raise content
        picture = read_picture(pictures, name, folder)
        check_image_path(content, name, picture, pictures, summary)
        return picture, read_shapes(content, picture, summary)

    labels = (
        label
        for content in contents.values()
        if isinstance(content, dict)
        for shape in content['shapes']
        if (label := _label(shape))
    )
    classes = choose_classes(labels, classes, order)
    names = list(contents)
    splits = name_splits(by_folder(names)) if val_fraction is None else random_splits(names, val_fraction, seed)
    left_out = {
        'images without a JSON file, left out': unmatched(pictures, contents, folder),
        "JSON files in COCO's format, left out": unmatched(files, contents, folder),
    }
    sources = [path for name in names for path in files[name]]
    return read_splits(splits, read, classes, Path(out_dir or folder / 'annotations'), strict, left_out, sources)


def read_labelme(path: Path) -> dict | None:
    """The content of a file of LabelMe, or None for a file in COCO's format, as this converter writes it.

    Raises:
        UserError: It is neither.
    """
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f'cannot read {path.name} as JSON: {error}') from None
    if isinstance(content, dict) and 'shapes' not in content and content.keys() >= COCO_KEYS:
        return None
    shapes = content.get('shapes') if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise UserError(f'{path.name} is no file of LabelMe: expected a list "shapes" of objects')
    return content


def check_image_path(
    content: dict, name: str, picture: Picture, pictures: Container[str], summary: ConversionSummary
) -> None:
    """Check that the image beside a file of LabelMe is that for which it was made.

    Args:
        content: The content of the file.
        name: The name of the file and of the image beside it.
        picture: This image.
        pictures: The names of all images.
        summary: Receives a note if the file names an image that is not there. The image may have a new name.

    Raises:
        UserError: The file names another of the images.
    """
    stated = content.get('imagePath')
    if not isinstance(stated, str):
        return
    path = PurePosixPath(stated.replace('\\', '/'))
    if path.stem in ('', PurePosixPath(picture.file_name).stem):
        return
    if normpath(PurePosixPath(name).parent / path.with_suffix('')) in pictures:
        raise UserError(
            f'its JSON file has the "imagePath" {stated}, and is beside {picture.file_name}. Correct "imagePath", or '
            'rename the file'
        )
    summary.notes['whose JSON file has the "imagePath" of an image that is not there; check the objects'].append(
        picture.file_name
    )


def _label(shape: dict) -> str | None:
    """The class of a shape, with white space reduced to single spaces, or None if it has none."""
    label = shape.get('label')
    return ' '.join(str(label).split()) if type(label) in (str, int, float) and is_readable(str(label)) else None


def read_shapes(content: dict, picture: Picture, summary: ConversionSummary) -> list[Item]:
    """The objects of a file of LabelMe.

    Args:
        content: The content of the file.
        picture: Its image.
        summary: Receives one sentence per shape that is dropped, and a note if the image was annotated at another size.
    """
    place = placement(stated_size(content.get('imageWidth'), content.get('imageHeight')), picture, summary)
    groups: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for number, shape in enumerate(content['shapes'], 1):
        label, group = _label(shape), shape.get('group_id')
        try:
            if label is None:
                raise ValueError('expected a text with visible characters as its "label"')
            polygon = place(_polygon(shape.get('shape_type', 'polygon'), np.array(shape['points'], float)))
            if not polygon_item(label, [polygon], picture, '').area:
                raise ValueError('it has no area inside the image')
        except (KeyError, TypeError, ValueError) as error:
            shown = f'{shape.get("label", "")}'[:60]
            summary.dropped.append(f'{picture.file_name}: shape {number} ({shown}): {error}')
            continue
        groups[label, f'shape {number}' if group is None else f'group {group}'].append(polygon)
    return [polygon_item(label, polygons, picture, part) for (label, part), polygons in groups.items()]


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
