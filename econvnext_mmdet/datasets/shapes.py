"""Two synthetic datasets of textured shapes, so that everything runs without a download.

One dataset is for detection, in COCO's format. The other is for classification, with one folder per class.
"""

import math
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from ..utils.errors import UserError
from ..utils.files import whole_folder, write_json


def _corners(count: int, inner: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """Corners (count, 2) of a shape around the origin, starting at the top.

    Args:
        count: The number of corners.
        inner: The radius of every second corner. The others are on the unit circle.
        turn: The rotation of the shape. 1 turns each corner to the place of the next one.
    """
    angles = 2 * np.pi * (np.arange(count) + turn) / count - np.pi / 2
    radii = np.where(np.arange(count) % 2, inner, 1.0)
    return radii[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)


# The classes for detection in their order. Each is an outline in the unit circle.
OUTLINES = dict(circle=_corners(48), square=_corners(4, turn=0.5), triangle=_corners(3), star=_corners(10, inner=0.45))
# Each function says which points are darker. x and y are in units of the period.
PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = dict(
    plain=lambda x, y: np.zeros_like(x, bool),
    checked=lambda x, y: (x % 1 < 0.5) == (y % 1 < 0.5),
    striped=lambda x, y: (x + y) % 1 < 0.5,
    dotted=lambda x, y: (x % 1 - 0.5) ** 2 + (y % 1 - 0.5) ** 2 < 0.11,
)
# For detection, each outline always has the same pattern. The pattern alone gives the class away, so training is easy.
PATTERN_OF = dict(zip(OUTLINES, PATTERNS))
# For classification, each outline occurs with each pattern, so neither alone gives the class away.
COMBINATIONS = {f'{outline}-{pattern}': (outline, pattern) for outline in OUTLINES for pattern in PATTERNS}
# The period of a pattern, as a fraction of the image's short side.
PERIOD = 1 / 12
# How much darker the pattern is, in RGB values from 0 to 255.
PATTERN_DEPTH = 60

# Smallest and largest diameter of the circle around a shape, as fractions of the image's short side.
DIAMETERS = (0.22, 0.85)
CLASSIFICATION_DIAMETERS = (0.5, 0.95)
# The smallest diameter in pixels, for images of any size.
MIN_DIAMETER = 12
# The largest rotation from upright, in radians.
MAX_ROTATION = np.pi / 12
# The largest height and width of a JPEG file, in pixels.
MOST_SIDE = 65_500
# The fraction of a shape that must stay visible under the shapes drawn later.
MIN_VISIBLE = 0.7
# The smallest distance of a shape's colour from the mean colour behind it, in RGB values from 0 to 255.
MIN_COLOUR_DISTANCE = 80


def _texture(rng: np.random.Generator, height: int, width: int, colour: np.ndarray, contrast: float) -> np.ndarray:
    """Make a float image (height, width, 3) of one colour (3,) with noise of two scales, roughly in [0, 255]."""
    image = np.broadcast_to(colour, (height, width, 3)).astype(np.float32)
    for cells in (4, 16):
        noise = rng.standard_normal((cells, cells, 3)).astype(np.float32)
        image = image + contrast * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return image


def _place(rng: np.random.Generator, name: str, height: int, width: int, diameters: tuple[float, float]) -> np.ndarray:
    """Make the mask (height, width) of one shape with a random size, angle and position."""
    # The logarithm of the size is uniform, so small shapes are not rare.
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
    """Fill a mask with a random colour and a pattern, in place.

    Returns:
        False if the colour would hardly stand out. The image is then unchanged.
    """
    colour = rng.uniform(40, 215, 3)
    if np.linalg.norm(colour - image[mask].mean(axis=0)) < MIN_COLOUR_DISTANCE:
        return False
    rows, columns = np.nonzero(mask)
    filling = _texture(rng, int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, colour, contrast=8)
    filling = filling[rows - rows.min(), columns - columns.min()]
    period = PERIOD * min(mask.shape)
    filling[PATTERNS[pattern](columns / period, rows / period)] -= PATTERN_DEPTH
    image[mask] = filling
    return True


def _finish(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add noise and convert to uint8."""
    return (image + 4 * rng.standard_normal(image.shape, np.float32)).clip(0, 255).astype(np.uint8)


def draw_image(
    rng: np.random.Generator, height: int, width: int, diameters: tuple[float, float] = DIAMETERS
) -> tuple[np.ndarray, list[dict]]:
    """Draw one image with up to 4 shapes, rarely with none. Later shapes cover earlier ones.

    Args:
        rng: The random number generator.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        diameters: Smallest and largest diameter of the circle around a shape, as fractions of the image's short side.
            Defaults to (0.22, 0.85).

    Returns:
        The image (height, width, 3), uint8, and one dict per shape: ``name``; ``mask`` (height, width), bool, only the
        visible part; and ``full_area`` in pixels, which includes the covered part.
    """
    image = _background(rng, height, width)
    shapes: list[dict] = []
    wanted = rng.integers(1, 5)
    for _ in range(4 * wanted):  # a shape that covers too much of an earlier one or hardly stands out is skipped
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


def draw_shape(
    rng: np.random.Generator,
    outline: str,
    pattern: str,
    height: int,
    width: int,
    diameters: tuple[float, float] = CLASSIFICATION_DIAMETERS,
) -> np.ndarray:
    """Draw one image (height, width, 3), uint8, with one shape.

    Args:
        rng: The random number generator.
        outline: One of ``OUTLINES``.
        pattern: One of ``PATTERNS``.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        diameters: See :func:`draw_image`. Defaults to (0.5, 0.95).
    """
    image = _background(rng, height, width)
    while not _paint(rng, image, _place(rng, outline, height, width, diameters), pattern):
        pass
    return _finish(rng, image)


def _annotate(shapes: list[dict], image_id: int, first_id: int) -> list[dict]:
    """The COCO annotations of one image: a box (x, y, w, h) and an RLE mask of the visible part of each shape."""
    annotations: list[dict] = []
    for shape in shapes:
        rle = mask_utils.encode(np.asfortranarray(shape['mask'], dtype=np.uint8))
        annotations.append(
            dict(
                id=first_id + len(annotations),
                image_id=image_id,
                category_id=list(OUTLINES).index(shape['name']) + 1,
                bbox=mask_utils.toBbox(rle).tolist(),
                area=float(mask_utils.area(rle)),
                iscrowd=0,
                segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
            )
        )
    return annotations


def _write_detection(
    folder: Path, split: str, count: int, size: tuple[int, int], diameters: tuple[float, float], seed: int
) -> dict[str, int]:
    """Write ``count`` images of ``size`` (height, width) and their annotation file."""
    (folder / split).mkdir()
    rng = _generator(seed, split)
    coco: dict[str, Any] = dict(
        info=dict(description=f'synthetic shapes, {split}, seed {seed}'),
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(OUTLINES)],
        images=[],
        annotations=[],
    )
    for i in range(count):
        image, shapes = draw_image(rng, *size, diameters)
        name = f'{i:06d}.jpg'
        _write_image(folder / split / name, image)
        coco['images'].append(dict(id=i + 1, file_name=name, height=size[0], width=size[1]))
        coco['annotations'] += _annotate(shapes, i + 1, len(coco['annotations']) + 1)
    write_json(str(folder / 'annotations' / f'{split}.json'), coco)
    return dict(images=count, annotations=len(coco['annotations']))


def _write_classification(
    folder: Path, split: str, count: int, size: tuple[int, int], diameters: tuple[float, float], seed: int
) -> dict[str, int]:
    """Write ``count`` images of ``size`` (height, width) into one folder per class, taking the classes in turn."""
    rng = _generator(seed, split)
    for name in COMBINATIONS:
        (folder / split / name).mkdir(parents=True)
    for i, name in zip(range(count), cycle(COMBINATIONS)):
        _write_image(folder / split / name / f'{i:06d}.jpg', draw_shape(rng, *COMBINATIONS[name], *size, diameters))
    return dict(images=count, classes=len(COMBINATIONS))


def _generator(seed: int, split: str) -> np.random.Generator:
    # Each split has its own generator, so the number of train images does not affect the val images.
    return np.random.default_rng([seed, *split.encode()])


def _write_image(path: Path, image: np.ndarray) -> None:
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    path.write_bytes(encoded.tobytes())  # cv2.imwrite raises no error if the disk is full


def make_shapes(
    out: str, num_train: int, num_val: int, size: tuple[int, int], seed: int, diameters: tuple[float, float] = DIAMETERS
) -> dict[str, dict]:
    """Make the dataset for detection: ``out/train/``, ``out/val/`` and ``out/annotations/{train,val}.json``.

    The same arguments give the same files. The folder appears once it is complete.

    Args:
        out: The folder to make.
        num_train: Number of training images.
        num_val: Number of validation images.
        size: Height and width of an image in pixels, each at least 64.
        seed: Seed of the random numbers.
        diameters: See :func:`draw_image`. The smallest must be at least 12 pixels. Defaults to (0.22, 0.85).

    Returns:
        The numbers of ``images`` and ``annotations``, by split.

    Raises:
        UserError: The folder exists, the images or the shapes are too small, a split has too few images, or the seed
            is negative.
    """
    return _make(_write_detection, out, num_train, num_val, size, seed, diameters, at_least=1)


def make_classification(
    out: str,
    num_train: int,
    num_val: int,
    size: tuple[int, int],
    seed: int,
    diameters: tuple[float, float] = CLASSIFICATION_DIAMETERS,
) -> dict[str, dict]:
    """Make the dataset for classification: ``out/{train,val}/CLASS/``, with one shape per image.

    A class is an outline with a pattern, such as 'star-dotted'. The images take the 16 classes in turn.

    Args:
        out: The folder to make.
        num_train: Number of training images, at least one per class.
        num_val: Number of validation images, at least one per class.
        size: See :func:`make_shapes`.
        seed: See :func:`make_shapes`.
        diameters: See :func:`make_shapes`. Defaults to (0.5, 0.95).

    Returns:
        The numbers of ``images`` and ``classes``, by split.

    Raises:
        UserError: See :func:`make_shapes`.
    """
    return _make(_write_classification, out, num_train, num_val, size, seed, diameters, at_least=len(COMBINATIONS))


def _make(
    write_split: Callable[..., dict[str, int]],
    out: str,
    num_train: int,
    num_val: int,
    size: tuple[int, int],
    seed: int,
    diameters: tuple[float, float],
    at_least: int,
) -> dict[str, dict]:
    """Check the arguments and write both splits."""
    if min(size) < 64 or max(size) > MOST_SIDE or min(num_train, num_val) < at_least:
        raise UserError(
            f'expected images of at least 64 x 64 pixels, with sides of at most {MOST_SIDE}, and at least {at_least} '
            f'per split; got a size of {size[0]} x {size[1]}, {num_train} for train and {num_val} for val'
        )
    if seed < 0:
        raise UserError(f'expected a seed of 0 or more; got {seed}')
    # Smaller stars and triangles have too few pixels to be drawn.
    if not MIN_DIAMETER / min(size) <= diameters[0] <= diameters[1] <= 1:
        lowest = math.ceil(1000 * MIN_DIAMETER / min(size)) / 1000  # rounded up, so that it is accepted
        raise UserError(
            f'expected a smallest and a largest diameter from {lowest:g} ({MIN_DIAMETER} pixels) '
            f"to 1, as fractions of the image's short side; got {diameters[0]:g} and {diameters[1]:g}"
        )
    with whole_folder(out) as folder:
        return {
            split: write_split(folder, split, count, size, diameters, seed)
            for split, count in (('train', num_train), ('val', num_val))
        }
