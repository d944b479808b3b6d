"""A synthetic COCO-format dataset of textured shapes, so that everything runs with nothing to download."""
import json
import os
import tempfile
from pathlib import Path
from typing import Dict, List, Tuple

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from ..errors import UserError


def _corners(count: int, inner: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """Corners (count, 2) on the unit circle, the first at the top; every other one at radius ``inner``.

    ``turn`` is in steps from one corner to the next.
    """
    angles = 2 * np.pi * (np.arange(count) + turn) / count - np.pi / 2
    radii = np.where(np.arange(count) % 2, inner, 1.0)
    return radii[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)


# The classes in their order, each an outline in the unit circle.
OUTLINES = dict(circle=_corners(48), square=_corners(4, turn=0.5), triangle=_corners(3), star=_corners(10, inner=0.45))
# Each class has a pattern too, a network's first hold on it: which places (x, y) are darker, in periods.
PATTERNS = dict(
    circle=lambda x, y: np.zeros_like(x, bool),
    square=lambda x, y: (x % 1 < 0.5) == (y % 1 < 0.5),
    triangle=lambda x, y: (x + y) % 1 < 0.5,
    star=lambda x, y: (x % 1 - 0.5)**2 + (y % 1 - 0.5)**2 < 0.11)
# A pattern's period as a part of the image's short side.
PERIOD = 1 / 12
# How much darker, in RGB of 0 to 255.
PATTERN_DEPTH = 60

# Smallest and largest diameter of the circle around a shape, as parts of the image's short side.
DIAMETERS = (0.22, 0.85)
# How far a shape is turned from upright, in radians.
MAX_ROTATION = np.pi / 12
# How much of a shape must stay visible under those drawn later.
MIN_VISIBLE = 0.7
# How far a shape's colour is from the mean of what it covers, in RGB of 0 to 255.
MIN_COLOUR_DISTANCE = 80


def _texture(rng: np.random.Generator, height: int, width: int, colour: np.ndarray, contrast: float) -> np.ndarray:
    """A colour (3,) with noise of two scales on it, (height, width, 3) float in about [0, 255]."""
    image = np.broadcast_to(colour, (height, width, 3)).astype(np.float32)
    for cells in (4, 16):
        noise = rng.standard_normal((cells, cells, 3)).astype(np.float32)
        image = image + contrast * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return image


def _place(rng: np.random.Generator, name: str, height: int, width: int) -> np.ndarray:
    """A mask (height, width) of one shape of a random size, angle and place."""
    # The logarithm of the size is uniform, so that small shapes are not rare.
    radius = np.exp(rng.uniform(*np.log(DIAMETERS))) * min(height, width) / 2
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # Up to a third of the radius may lie outside the image.
    margin = radius * 2 / 3
    centre = rng.uniform((margin, margin), (width - margin, height - margin))
    points = OUTLINES[name] @ rotation.T * radius + centre
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 256).astype(np.int32)], 1, shift=8)
    return mask.astype(bool)


def draw_image(rng: np.random.Generator, height: int, width: int) -> Tuple[np.ndarray, List[dict]]:
    """Draw one image with 1 to 4 shapes, later ones over earlier ones.

    Returns:
        tuple[ndarray, list[dict]]: The image (height, width, 3), uint8, and a dict for each shape: ``name``
        and ``mask`` (height, width), bool, of what is visible of it.
    """
    image = _texture(rng, height, width, rng.uniform(40, 215, 3), contrast=14)
    shapes: List[dict] = []
    wanted = rng.integers(1, 5)
    for _ in range(4 * wanted):  # some hide too much of an earlier shape or are hardly seen, and are given up
        if len(shapes) == wanted:
            break
        name = str(rng.choice(list(OUTLINES)))
        mask = _place(rng, name, height, width)
        if mask.sum() < 32 or any((s['mask'] & ~mask).sum() < MIN_VISIBLE * s['full_area'] for s in shapes):
            continue
        colour = rng.uniform(40, 215, 3)
        if np.linalg.norm(colour - image[mask].mean(axis=0)) < MIN_COLOUR_DISTANCE:
            continue
        for shape in shapes:
            shape['mask'] = shape['mask'] & ~mask
        rows, columns = np.nonzero(mask)
        filling = _texture(rng, np.ptp(rows) + 1, np.ptp(columns) + 1, colour, contrast=8)
        filling = filling[rows - rows.min(), columns - columns.min()]
        period = PERIOD * min(height, width)
        filling[PATTERNS[name](columns / period, rows / period)] -= PATTERN_DEPTH
        image[mask] = filling
        shapes.append(dict(name=name, mask=mask, full_area=mask.sum()))
    image += 4 * rng.standard_normal(image.shape, np.float32)
    return image.clip(0, 255).astype(np.uint8), shapes


def _annotate(shapes: List[dict], image_id: int, first_id: int) -> List[dict]:
    """COCO annotations of one image: box (x, y, w, h) and RLE mask of what is visible of each shape."""
    annotations = []
    for shape in shapes:
        rle = mask_utils.encode(np.asfortranarray(shape['mask'], dtype=np.uint8))
        annotations.append(dict(
            id=first_id + len(annotations), image_id=image_id, category_id=list(OUTLINES).index(shape['name']) + 1,
            bbox=mask_utils.toBbox(rle).tolist(), area=float(mask_utils.area(rle)), iscrowd=0,
            segmentation=dict(size=rle['size'], counts=rle['counts'].decode())))
    return annotations


def _write_split(folder: Path, split: str, count: int, size: Tuple[int, int], seed: int) -> Dict[str, int]:
    """Write ``count`` images of ``size`` (height, width) and their annotation file."""
    (folder / split).mkdir()
    # An own stream for each split: the val images stay the same whatever the number of train images.
    rng = np.random.default_rng([seed, *split.encode()])
    coco = dict(
        info=dict(description=f'synthetic shapes, {split}, seed {seed}'),
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(OUTLINES)], images=[], annotations=[])
    for i in range(count):
        image, shapes = draw_image(rng, *size)
        name = f'{i:06d}.jpg'
        cv2.imwrite(str(folder / split / name), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        coco['images'].append(dict(id=i + 1, file_name=name, height=size[0], width=size[1]))
        coco['annotations'] += _annotate(shapes, i + 1, len(coco['annotations']) + 1)
    (folder / 'annotations' / f'{split}.json').write_text(json.dumps(coco))
    return dict(images=count, annotations=len(coco['annotations']))


def make_shapes(out: str, num_train: int, num_val: int, size: Tuple[int, int], seed: int) -> Dict[str, dict]:
    """Make the dataset: ``out/train/``, ``out/val/`` and ``out/annotations/{train,val}.json``.

    The same arguments give the same files. The folder appears when all is written.

    Args:
        out (str): The folder to make.
        num_train (int): Number of training images.
        num_val (int): Number of validation images.
        size (tuple[int, int]): Height and width of an image in pixels, each at least 64.
        seed (int): Seed of the random numbers.

    Returns:
        dict[str, dict]: The numbers of ``images`` and ``annotations`` of each split.

    Raises:
        UserError: The folder exists, the images are too small or there are none.
    """
    path = Path(out)
    if path.exists():
        raise UserError(f'{out} exists already. Remove it or give another folder.')
    if min(size) < 64 or min(num_train, num_val) < 1:
        raise UserError(f'expected images of at least 64 x 64 pixels and at least one a split; got a size of '
                        f'{size[0]} x {size[1]}, {num_train} for train and {num_val} for val.')
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.') as folder:
        whole = Path(folder) / 'whole'
        (whole / 'annotations').mkdir(parents=True)
        counts = {split: _write_split(whole, split, count, size, seed)
                  for split, count in (('train', num_train), ('val', num_val))}
        os.rename(whole, path)
    return counts
