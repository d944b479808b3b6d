"""Comparing the two engines of COCO's evaluation on random data with the statistics of COCO's validation set."""

import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask

from ..evaluation.coco_eval import ENGINES, evaluate_files
from ..evaluation.tables import align
from ..utils.errors import UserError
from .device import check_process_memory, process_memory, reset_peak

# The size of the images, in pixels.
WIDTH, HEIGHT = 640, 480
MOST_OBJECTS = 10**6  # the mean per image; more than any image gets


def make_boxes(images: int, classes: int, objects: float, detections: int, seed: int) -> tuple[dict, list]:
    """Make random boxes like those of COCO's validation set, and detections of them.

    The sizes of the boxes are distributed roughly as in COCO: 41 % small, 34 % medium, 25 % large. Each box has two
    detections of its class near it. The other detections are anywhere and of any class.

    Args:
        images: The number of images. Their size is 640 x 480.
        classes: The number of classes.
        objects: The mean of a Poisson distribution, from which the number of objects of each image is drawn. A number
            above half of ``detections`` is reduced to that.
        detections: The number of detections per image.
        seed: The seed of the random numbers.

    Returns:
        The content of an annotation file, and the content of a results file.

    Raises:
        UserError: There would be no image, class or object, or not enough detections, or the seed is negative.
    """
    if min(images, classes) < 1 or not 0 < objects <= MOST_OBJECTS or detections < 2 or seed < 0:
        raise UserError(
            'expected at least 1 image, 1 class and 2 detections per image, more than 0 objects per image (at most '
            f'{MOST_OBJECTS}), and a seed of at least 0; got {images}, {classes}, {detections}, {objects} and {seed}'
        )
    rng = np.random.default_rng(seed)
    coco = dict(
        images=[dict(id=i + 1, file_name=f'{i:012d}.jpg', width=WIDTH, height=HEIGHT) for i in range(images)],
        annotations=[],
        categories=[dict(id=i + 1, name=f'class {i + 1}') for i in range(classes)],
    )
    entries = []
    for image in range(1, images + 1):
        count = min(rng.poisson(objects), detections // 2)
        sides = np.choose(
            rng.choice(3, count, p=(0.41, 0.34, 0.25)),
            [rng.uniform(low, high, count) for low, high in ((6, 32), (32, 96), (96, 400))],
        )
        boxes = np.stack([rng.uniform(0, WIDTH - sides), rng.uniform(0, HEIGHT - sides), sides, sides], axis=1)
        labels = rng.integers(1, classes + 1, count)
        coco['annotations'] += [
            dict(id=i, image_id=image, category_id=label, bbox=box, area=box[2] * box[3], iscrowd=0)
            for i, (label, box) in enumerate(zip(labels.tolist(), boxes.tolist()), len(coco['annotations']) + 1)
        ]
        near = np.repeat(boxes, 2, axis=0)
        near += rng.normal(0, 0.08, near.shape) * near[:, 2:3]
        others = detections - len(near)
        anywhere = np.concatenate([rng.uniform(0, 320, (others, 2)), rng.uniform(6, 160, (others, 2))], axis=1)
        found = np.concatenate([near, anywhere]).tolist()
        named = np.concatenate([np.repeat(labels, 2), rng.integers(1, classes + 1, others)]).tolist()
        scores = np.concatenate([rng.uniform(0.2, 1, len(near)), rng.uniform(0, 0.6, others)]).tolist()
        entries += [
            dict(image_id=image, category_id=label, bbox=box, score=score)
            for label, box, score in zip(named, found, scores)
        ]
    return coco, entries


def add_masks(coco: dict, entries: list, seed: int) -> None:
    """Add masks to the content of the two files that :func:`make_boxes` makes, in place.

    Each class has one random blob with 32 corners. The mask of an object or a detection is the blob of its class,
    stretched to its box. An object has a polygon, as in COCO, and its area becomes that of the mask. A detection has a
    compressed RLE, as in the results files of MMDetection. The masks cover about half of their boxes, so more objects
    are small than with boxes.

    Args:
        coco: The content of the annotation file.
        entries: The content of the results file.
        seed: The seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    classes = len(coco['categories'])
    # The logarithm of the distance from the center to a corner is a sum of five waves around the center.
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    waves = np.arange(1, 6)[:, None]
    heights = rng.normal(0, 0.4, (classes, 5, 1)) / np.sqrt(waves)
    distances = np.exp(np.sum(heights * np.cos(waves * angles + rng.uniform(0, 2 * np.pi, (classes, 5, 1))), axis=1))
    blobs = distances[..., None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    blobs -= blobs.min(axis=1, keepdims=True)
    blobs /= blobs.max(axis=1, keepdims=True)  # each blob touches all sides of the unit square
    for item in coco['annotations'] + entries:
        box = np.array(item['bbox'])
        polygon = (box[:2] + blobs[item['category_id'] - 1] * box[2:]).round(2).ravel().tolist()
        (rle,) = mask.frPyObjects([polygon], HEIGHT, WIDTH)
        if 'score' in item:
            item['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode())
        else:
            item.update(segmentation=[polygon], area=float(mask.area(rle)))


def _measure(annotations: str, results: str, iou_type: str, engine: str) -> dict[str, Any]:
    """Evaluate with one engine, and measure its time and memory."""
    reset_peak()  # so that the imports do not count
    before = process_memory('VmRSS')
    start = time.perf_counter()
    result = evaluate_files(annotations, results, [iou_type], engine)[iou_type]
    seconds = time.perf_counter() - start
    return dict(stats=result.stats, engine=result.seconds, total=seconds, memory=process_memory('VmHWM') - before)


def compare_engines(
    images: int, classes: int, objects: float, detections: int, seed: int, iou_type: str = 'bbox'
) -> dict[str, dict[str, Any]]:
    """Evaluate the same detections with both engines, one after the other, each in its own process. Needs Linux.

    The other arguments are those of :func:`make_boxes`.

    Args:
        iou_type: 'bbox' to evaluate boxes, 'segm' to evaluate masks, see :func:`add_masks`. Defaults to 'bbox'.

    Returns:
        The measurements by engine:

        - ``engine``: the seconds from the engine's ``evaluate`` to its ``summarize``.
        - ``total``: the seconds including reading and checking the files.
        - ``memory``: the peak of the memory in MiB, minus what the process used before.
        - ``stats``: COCO's twelve metrics.

    Raises:
        UserError: The system is not Linux, or the numbers are too small, see :func:`make_boxes`.
    """
    check_process_memory()
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ('annotations.json', 'results.json')]
        contents = make_boxes(images, classes, objects, detections, seed)
        if iou_type == 'segm':
            add_masks(*contents, seed)
        for name, content in zip(files, contents):
            Path(name).write_text(json.dumps(content), encoding='utf-8')
        measured = {}
        for engine in ENGINES:
            # In a new process, the memory of the other engine and of the generated data does not count.
            with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
                measured[engine] = pool.submit(_measure, files[0], files[1], iou_type, engine).result()
    return measured


def comparison_table(measured: dict[str, dict[str, Any]]) -> str:
    """Make a table of the measurements of :func:`compare_engines`, with the ratios of the two engines.

    The line below it has the largest difference between their results.
    """
    fast, official = (measured[engine] for engine in ENGINES)
    rows = [['', *ENGINES, 'ratio']]
    for key, name in (
        ('engine', 'computing the metrics, s'),
        ('total', 'with reading the files, s'),
        ('memory', 'peak memory, MiB'),
    ):
        rows.append([name, f'{fast[key]:.1f}', f'{official[key]:.1f}', f'{official[key] / fast[key]:.1f}'])
    difference = max(abs(fast['stats'][name] - official['stats'][name]) for name in fast['stats'])
    return f'{align(rows)}\nAP {fast["stats"]["AP"]:.4f}; the twelve metrics differ by at most {difference:.1e}'
