"""The inspection of annotations on data of COCO train's shape."""
import json
import tempfile
import time
from pathlib import Path
from typing import List, Tuple

import numpy as np
from mmengine.config import Config

from ..evaluation.benchmark import make_boxes
from .inspection import Inspection, inspect_config


def make_instances(images: int, classes: int, objects: float, seed: int) -> dict:
    """An annotation file's content as COCO's instances have it: each box with a polygon of 4 to 44 points in it.

    Args:
        images (int): Number of images, of 640 x 480.
        classes (int): Number of classes.
        objects (float): Mean number of objects an image, a Poisson variable.
        seed (int): Seed of the random numbers.
    """
    coco, _ = make_boxes(images, classes, objects, detections=100, seed=seed)
    rng = np.random.default_rng(seed)
    for annotation, points in zip(coco['annotations'], rng.integers(4, 45, len(coco['annotations']))):
        box = np.array(annotation['bbox'])
        polygon = rng.uniform(size=(points, 2)) * box[2:] + box[:2]
        annotation['segmentation'] = [polygon.round(2).ravel().tolist()]
    return coco


def time_inspection(images: int, classes: int, objects: float, seed: int) -> Tuple[float, float, List[Inspection]]:
    """Inspect training data with masks, all but the content of the images; arguments as of :func:`make_instances`.

    Returns:
        tuple[float, float, list[Inspection]]: Seconds, megabytes of the annotation file, and what was found.
    """
    coco = make_instances(images, classes, objects, seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / 'train.json').write_text(json.dumps(coco))
        (root / 'train').mkdir()
        for image in coco['images']:  # only looked for, not opened
            (root / 'train' / image['file_name']).write_bytes(b' ')
        dataset = dict(
            type='CocoDataset', data_root=folder, ann_file='train.json', data_prefix=dict(img='train'),
            metainfo=dict(classes=[category['name'] for category in coco['categories']]),
            pipeline=[dict(type='LoadAnnotations', with_bbox=True, with_mask=True)])
        del coco  # the inspection reads its own
        start = time.perf_counter()
        inspections = inspect_config(Config(dict(train_dataloader=dict(dataset=dataset))), read_images=False)
        seconds = time.perf_counter() - start
        return seconds, (root / 'train.json').stat().st_size / 1e6, inspections
