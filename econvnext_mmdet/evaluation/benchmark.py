"""The two engines of COCO's evaluation on data of COCO val's shape, each in a process of its own."""
import json
import multiprocessing
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Dict, Tuple

import numpy as np

from ..errors import UserError
from .coco_eval import ENGINES, evaluate_files
from .tables import align


def make_boxes(images: int, classes: int, objects: float, detections: int, seed: int) -> Tuple[dict, list]:
    """Boxes as COCO val has them, and detections of them.

    An image has about ``objects`` boxes, as many of each size as COCO has (41 % small, 34 % medium, 24 % large),
    and ``detections``: near each box two of its class, the others anywhere of any class.

    Args:
        images (int): Number of images, of 640 x 480.
        classes (int): Number of classes.
        objects (float): Mean number of objects an image, a Poisson variable.
        detections (int): Number of detections an image.
        seed (int): Seed of the random numbers.

    Returns:
        tuple[dict, list]: The contents of an annotation file and of a results file.

    Raises:
        UserError: There is no image, class or object, or too few detections.
    """
    if min(images, classes) < 1 or objects <= 0 or detections < 2:
        raise UserError(f'expected an image, a class and more than 0 objects at least, and 2 detections; got {images}, '
                        f'{classes}, {objects} and {detections}')
    rng = np.random.default_rng(seed)
    coco = dict(images=[dict(id=i + 1, file_name=f'{i:012d}.jpg', width=640, height=480) for i in range(images)],
                annotations=[], categories=[dict(id=i + 1, name=f'class {i + 1}') for i in range(classes)])
    entries = []
    for image in range(1, images + 1):
        count = min(rng.poisson(objects), detections // 2)
        sides = np.choose(rng.choice(3, count, p=(0.41, 0.34, 0.25)),
                          [rng.uniform(low, high, count) for low, high in ((6, 32), (32, 96), (96, 400))])
        boxes = np.stack([rng.uniform(0, 640 - sides), rng.uniform(0, 480 - sides), sides, sides], axis=1)
        labels = rng.integers(1, classes + 1, count)
        coco['annotations'] += [
            dict(id=i, image_id=image, category_id=label, bbox=box, area=box[2] * box[3], iscrowd=0)
            for i, (label, box) in enumerate(zip(labels.tolist(), boxes.tolist()), len(coco['annotations']) + 1)]
        near = np.repeat(boxes, 2, axis=0)
        near += rng.normal(0, 0.08, near.shape) * near[:, 2:3]
        others = detections - len(near)
        anywhere = np.concatenate([rng.uniform(0, 320, (others, 2)), rng.uniform(6, 160, (others, 2))], axis=1)
        found = np.concatenate([near, anywhere]).tolist()
        named = np.concatenate([np.repeat(labels, 2), rng.integers(1, classes + 1, others)]).tolist()
        scores = np.concatenate([rng.uniform(0.2, 1, len(near)), rng.uniform(0, 0.6, others)]).tolist()
        entries += [dict(image_id=image, category_id=label, bbox=box, score=score)
                    for label, box, score in zip(named, found, scores)]
    return coco, entries


def _memory(field: str) -> float:
    """A field of Linux's account of this process, in MiB."""
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'{field}:\s+(\d+) kB', status)[1]) / 1024


def _measure(annotations: str, results: str, engine: str) -> dict:
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak of the imports
    before = _memory('VmRSS')
    start = time.perf_counter()
    result = evaluate_files(annotations, results, ['bbox'], engine)['bbox']
    seconds = time.perf_counter() - start
    return dict(stats=result.stats, engine=result.seconds, total=seconds, memory=_memory('VmHWM') - before)


def compare_engines(images: int, classes: int, objects: float, detections: int, seed: int) -> Dict[str, dict]:
    """Evaluate the same boxes with both engines, one after the other; arguments as of :func:`make_boxes`.

    Returns:
        dict[str, dict]: By engine: ``engine`` seconds from its evaluate to its summarize, ``total`` seconds with
        reading and checking the files, ``memory`` in MiB, the peak above what the process had before (on
        Linux), and the ``stats``.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ('annotations.json', 'results.json')]
        for name, content in zip(files, make_boxes(images, classes, objects, detections, seed)):
            Path(name).write_text(json.dumps(content))
        measured = {}
        for engine in ENGINES:
            # A new process knows nothing of the memory that the other engine or the making of the data took.
            with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
                measured[engine] = pool.submit(_measure, *files, engine).result()
    return measured


def comparison_table(measured: Dict[str, dict]) -> str:
    """What :func:`compare_engines` measured, with the ratio of the two engines and their largest difference."""
    fast, official = (measured[engine] for engine in ENGINES)
    rows = [['', *ENGINES, 'ratio']]
    for key, name in (('engine', 'evaluate to summarize, s'), ('total', 'with reading the files, s'),
                      ('memory', 'peak memory, MiB')):
        rows.append([name, f'{fast[key]:.1f}', f'{official[key]:.1f}', f'{official[key] / fast[key]:.1f}'])
    difference = max(abs(fast['stats'][name] - official['stats'][name]) for name in fast['stats'])
    return f'{align(rows)}\nAP {fast["stats"]["AP"]:.4f}; the twelve numbers differ by at most {difference:.1e}'
