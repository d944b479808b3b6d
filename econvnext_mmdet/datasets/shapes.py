"""Synthetic datasets of textured shapes, so that everything runs with nothing to download.

One for detection in COCO's format, and one for classification with a folder for each class.
"""
import json
import os
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Callable, Dict, List, Tuple

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


# The classes of detection in their order, each an outline in the unit circle.
OUTLINES = dict(circle=_corners(48), square=_corners(4, turn=0.5), triangle=_corners(3), star=_corners(10, inner=0.45))
# Which places (x, y) of a pattern are darker, in periods.
PATTERNS = dict(
    plain=lambda x, y: np.zeros_like(x, bool),
    checked=lambda x, y: (x % 1 < 0.5) == (y % 1 < 0.5),
    striped=lambda x, y: (x + y) % 1 < 0.5,
    dotted=lambda x, y: (x % 1 - 0.5)**2 + (y % 1 - 0.5)**2 < 0.11)
# In detection each outline has a pattern of its own, a network's first hold on it.
PATTERN_OF = dict(zip(OUTLINES, PATTERNS))
# In classification each outline has each pattern: neither gives the class away without the other.
COMBINATIONS = {f'{outline}-{pattern}': (outline, pattern) for outline in OUTLINES for pattern in PATTERNS}
# A pattern's period as a part of the image's short side.
PERIOD = 1 / 12
# How much darker, in RGB of 0 to 255.
PATTERN_DEPTH = 60

# Smallest and largest diameter of the circle around a shape, as parts of the image's short side.
DIAMETERS = (0.22, 0.85)
CLASSIFICATION_DIAMETERS = (0.5, 0.95)
# In pixels, whatever the image's size.
MIN_DIAMETER = 12
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


def _place(rng: np.random.Generator, name: str, height: int, width: int, diameters: Tuple[float, float]) -> np.ndarray:
    """A mask (height, width) of one shape of a random size, angle and place."""
    # The logarithm of the size is uniform, so that small shapes are not rare.
    radius = np.exp(rng.uniform(*np.log(diameters))) * min(height, width) / 2
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # Up to a third of the radius may lie outside the image.
    margin = radius * 2 / 3
    centre = rng.uniform((margin, margin), (width - margin, height - margin))
    points = OUTLINES[name] @ rotation.T * radius + centre
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 256).astype(np.int32)], 1, shift=8)
    return mask.astype(bool)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return _texture(rng, height, width, rng.uniform(40, 215, 3), contrast=14)


def _paint(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, pattern: str) -> bool:
    """Fill a mask with a random colour and a pattern; False, and nothing done, where it would hardly be seen."""
    colour = rng.uniform(40, 215, 3)
    if np.linalg.norm(colour - image[mask].mean(axis=0)) < MIN_COLOUR_DISTANCE:
        return False
    rows, columns = np.nonzero(mask)
    filling = _texture(rng, np.ptp(rows) + 1, np.ptp(columns) + 1, colour, contrast=8)
    filling = filling[rows - rows.min(), columns - columns.min()]
    period = PERIOD * min(mask.shape)
    filling[PATTERNS[pattern](columns / period, rows / period)] -= PATTERN_DEPTH
    image[mask] = filling
    return True


def _finish(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add noise, and make pixels of it."""
    return (image + 4 * rng.standard_normal(image.shape, np.float32)).clip(0, 255).astype(np.uint8)


def draw_image(rng: np.random.Generator, height: int, width: int,
               diameters: Tuple[float, float] = DIAMETERS) -> Tuple[np.ndarray, List[dict]]:
    """Draw one image with 1 to 4 shapes, later ones over earlier ones.

    Args:
        rng (Generator): The source of chance.
        height (int): Height of the image in pixels.
        width (int): Width of the image in pixels.
        diameters (tuple[float, float]): Smallest and largest diameter of the circle around a shape, as parts of
            the image's short side. Defaults to (0.22, 0.85).

    Returns:
        tuple[ndarray, list[dict]]: The image (height, width, 3), uint8, and a dict for each shape: ``name``
        and ``mask`` (height, width), bool, of what is visible of it.
    """
    image = _background(rng, height, width)
    shapes: List[dict] = []
    wanted = rng.integers(1, 5)
    for _ in range(4 * wanted):  # some hide too much of an earlier shape or are hardly seen, and are given up
        if len(shapes) == wanted:
            break
        name = str(rng.choice(list(OUTLINES)))
        mask = _place(rng, name, height, width, diameters)
        if mask.sum() < 32 or any((s['mask'] & ~mask).sum() < MIN_VISIBLE * s['full_area'] for s in shapes):
            continue
        if not _paint(rng, image, mask, PATTERN_OF[name]):
            continue
        for shape in shapes:
            shape['mask'] = shape['mask'] & ~mask
        shapes.append(dict(name=name, mask=mask, full_area=mask.sum()))
    return _finish(rng, image), shapes


def draw_shape(rng: np.random.Generator, outline: str, pattern: str, height: int, width: int,
               diameters: Tuple[float, float] = CLASSIFICATION_DIAMETERS) -> np.ndarray:
    """Draw one image (height, width, 3), uint8, with one shape; arguments as of :func:`draw_image`."""
    image = _background(rng, height, width)
    while not _paint(rng, image, _place(rng, outline, height, width, diameters), pattern):
        pass
    return _finish(rng, image)


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


def _write_detection(folder: Path, split: str, count: int, size: Tuple[int, int], diameters: Tuple[float, float],
                     seed: int) -> Dict[str, int]:
    """Write ``count`` images of ``size`` (height, width) and their annotation file."""
    (folder / split).mkdir(parents=True)
    rng = _stream(seed, split)
    coco = dict(
        info=dict(description=f'synthetic shapes, {split}, seed {seed}'),
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(OUTLINES)], images=[], annotations=[])
    for i in range(count):
        image, shapes = draw_image(rng, *size, diameters)
        name = f'{i:06d}.jpg'
        _write_image(folder / split / name, image)
        coco['images'].append(dict(id=i + 1, file_name=name, height=size[0], width=size[1]))
        coco['annotations'] += _annotate(shapes, i + 1, len(coco['annotations']) + 1)
    (folder / 'annotations').mkdir(exist_ok=True)
    (folder / 'annotations' / f'{split}.json').write_text(json.dumps(coco))
    return dict(images=count, annotations=len(coco['annotations']))


def _write_classification(folder: Path, split: str, count: int, size: Tuple[int, int],
                          diameters: Tuple[float, float], seed: int) -> Dict[str, int]:
    """Write ``count`` images of ``size`` (height, width), the classes in turn, into a folder for each class."""
    rng = _stream(seed, split)
    for name in COMBINATIONS:
        (folder / split / name).mkdir(parents=True)
    for i, name in zip(range(count), cycle(COMBINATIONS)):
        _write_image(folder / split / name / f'{i:06d}.jpg', draw_shape(rng, *COMBINATIONS[name], *size, diameters))
    return dict(images=count, classes=len(COMBINATIONS))


def _stream(seed: int, split: str) -> np.random.Generator:
    # An own one for each split: the val images stay the same whatever the number of train images.
    return np.random.default_rng([seed, *split.encode()])


def _write_image(path: Path, image: np.ndarray) -> None:
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 95])


def make_shapes(out: str, num_train: int, num_val: int, size: Tuple[int, int], seed: int,
                diameters: Tuple[float, float] = DIAMETERS) -> Dict[str, dict]:
    """Make the dataset for detection: ``out/train/``, ``out/val/`` and ``out/annotations/{train,val}.json``.

    The same arguments give the same files. The folder appears when all is written.

    Args:
        out (str): The folder to make.
        num_train (int): Number of training images.
        num_val (int): Number of validation images.
        size (tuple[int, int]): Height and width of an image in pixels, each at least 64.
        seed (int): Seed of the random numbers.
        diameters (tuple[float, float]): As of :func:`draw_image`, of 12 pixels at least. Defaults to (0.22, 0.85).

    Returns:
        dict[str, dict]: The numbers of ``images`` and ``annotations`` of each split.

    Raises:
        UserError: The folder exists, the images or the shapes are too small or there are none.
    """
    return _make(_write_detection, out, num_train, num_val, size, seed, diameters, at_least=1)


def make_classification(out: str, num_train: int, num_val: int, size: Tuple[int, int], seed: int,
                        diameters: Tuple[float, float] = CLASSIFICATION_DIAMETERS) -> Dict[str, dict]:
    """Make the dataset for classification: ``out/{train,val}/CLASS/``, one shape an image.

    A class is an outline with a pattern, as 'star-dotted': 16 of them, in turn.

    Args:
        out (str): The folder to make.
        num_train (int): Number of training images, at least one for each class.
        num_val (int): Number of validation images, at least one for each class.
        size (tuple[int, int]): As of :func:`make_shapes`.
        seed (int): As of :func:`make_shapes`.
        diameters (tuple[float, float]): As of :func:`make_shapes`. Defaults to (0.5, 0.95).

    Returns:
        dict[str, dict]: The numbers of ``images`` and ``classes`` of each split.

    Raises:
        UserError: As of :func:`make_shapes`.
    """
    return _make(_write_classification, out, num_train, num_val, size, seed, diameters, at_least=len(COMBINATIONS))


def _make(write_split: Callable[..., Dict[str, int]], out: str, num_train: int, num_val: int, size: Tuple[int, int],
          seed: int, diameters: Tuple[float, float], at_least: int) -> Dict[str, dict]:
    path = Path(out)
    if path.exists():
        raise UserError(f'{out} exists already. Remove it or give another folder.')
    if min(size) < 64 or min(num_train, num_val) < at_least:
        raise UserError(f'expected images of at least 64 x 64 pixels and at least {at_least} a split; got a size of '
                        f'{size[0]} x {size[1]}, {num_train} for train and {num_val} for val.')
    if seed < 0:
        raise UserError(f'expected a seed from 0; got {seed}')
    # Of smaller ones stars and triangles have too few pixels to be drawn.
    if not MIN_DIAMETER / min(size) <= diameters[0] <= diameters[1] <= 1:
        raise UserError(f"expected a smallest and a largest diameter from {MIN_DIAMETER / min(size):.2g}, which is "
                        f"{MIN_DIAMETER} pixels, to 1 of the image's short side; got {diameters[0]:g} and "
                        f'{diameters[1]:g}')
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.') as folder:
        whole = Path(folder) / 'whole'
        whole.mkdir()
        counts = {split: write_split(whole, split, count, size, diameters, seed)
                  for split, count in (('train', num_train), ('val', num_val))}
        os.rename(whole, path)
    return counts
