"""Conversion of instance label images to COCO's JSON with masks.

In a label image, the background is 0 and the pixels of each object have a number of their own.
"""

from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from ...utils.errors import UserError
from .common import (
    Annotated,
    ConversionSummary,
    Item,
    Picture,
    annotates_stored,
    find_pictures,
    random_splits,
    read_image,
    read_picture,
    read_split,
    read_splits,
)

JPEG = b'\xff\xd8\xff'  # the first bytes of a file
AS_SHOWN = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH  # rotated according to its EXIF data, as the image is


def labels_to_coco(
    root: str,
    name: str,
    out_dir: str | None = None,
    images: str = 'images',
    labels: str = 'labels',
    val_fraction: float | None = None,
    seed: int = 0,
    strict: bool = False,
) -> dict[str, ConversionSummary]:
    """Convert a folder with images and instance label images to COCO files.

    Each object becomes an annotation with its mask as a compressed RLE, with the tight box and the number of pixels of
    this mask. An object may consist of several parts.

    Args:
        root: The folder.
        name: The name of the only class.
        out_dir: The folder of the JSON files. It is created. Defaults to None: ``annotations`` in ``root``.
        images: The folder of the images in ``root``. Defaults to 'images'.
        labels: The folder of the label images in ``root``, with the names of the images. Defaults to 'labels'.
        val_fraction: Split the images at random into train and val, with this fraction for val. Defaults to None: one
            file for each text file with names in ``root``, or else ``all.json``.
        seed: The seed of this split. Defaults to 0.
        strict: Write nothing if anything is dropped. Defaults to False.

    Returns:
        The summary of each file that was written.

    Raises:
        UserError: A folder is missing, or one of the files would have no objects.
    """
    folder = Path(root)
    for part in (images, labels):
        if not (folder / part).is_dir():
            raise UserError(f'no folder {folder / part}: expected the images in {images}/ and labels in {labels}/')
    pictures, drawn = find_pictures(folder / images), find_pictures(folder / labels)
    names = sorted({*pictures, *drawn})
    lists = sorted(folder.glob('*.txt'))
    if val_fraction is not None:
        splits = random_splits(names, val_fraction, seed)
    else:
        splits = {path.stem: read_split(path, {*names}) for path in lists} or {'all': names}

    def read(member: str, summary: ConversionSummary) -> Annotated:
        picture = read_picture(pictures, member, folder / images)
        return picture, _objects(read_numbers(drawn, member, picture, summary), name)

    return read_splits(splits, read, [name], Path(out_dir or folder / 'annotations'), strict)


def read_numbers(paths: dict[str, list[Path]], name: str, picture: Picture, summary: ConversionSummary) -> np.ndarray:
    """Read a label image.

    Args:
        paths: The label images, from :func:`~.common.find_pictures`.
        name: The name of the label image there.
        picture: Its image.
        summary: Receives a note if the label image is rotated as the image is, or should perhaps be.

    Returns:
        The numbers (height, width) of the pixels of the image.

    Raises:
        UserError: The file is missing or not readable, has another size, or has other pixels than whole numbers from 0.
    """
    path, numbers = read_image(paths, name, 'label image', AS_SHOWN)
    if numbers.ndim != 2:
        raise UserError(
            f'the label image {path.name} has {numbers.shape[2]} channels; expected one, with a number for each object'
        )
    with path.open('rb') as file:
        if file.read(len(JPEG)) == JPEG:
            raise UserError(
                f'the label image {path.name} is a JPEG, which does not keep the numbers; expected PNG or TIFF'
            )
    if not (np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers))).all():
        raise UserError(f'the label image {path.name} has other pixels than whole numbers from 0')
    size, shown = numbers.shape[::-1], (picture.width, picture.height)
    if size not in (shown, picture.stored):
        raise UserError(
            f'the label image has {size[0]} x {size[1]} pixels, and the image {picture.width} x {picture.height}'
        )
    return picture.rotate_pixels(numbers) if annotates_stored(size, picture, summary) else numbers


def _objects(numbers: np.ndarray, label: str) -> list[Item]:
    """The objects of a label image, in ascending order of their numbers."""
    items = []
    for number in np.unique(numbers[numbers > 0]):
        inside = numbers == number
        rle = mask_utils.encode(np.asfortranarray(inside, dtype=np.uint8))
        x, y, w, h = mask_utils.toBbox(rle).tolist()
        mask = dict(size=rle['size'], counts=rle['counts'].decode())
        items.append(Item(label, (x, y, x + w, y + h), f'number {number}', mask=mask, area=float(inside.sum())))
    return items
