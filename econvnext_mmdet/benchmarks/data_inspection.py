"""Timing the inspection of annotations on random data with the statistics of COCO's training set."""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..datasets.inspection import Inspection, inspect_config
from .coco_engines import make_boxes


def make_instances(images: int, classes: int, objects: float, seed: int) -> dict:
    """Make the content of an annotation file with masks: each box contains a polygon of 4 to 44 points.

    Args:
        images: The number of images. Their size is 640 x 480.
        classes: The number of classes.
        objects: The mean of a Poisson distribution, from which the number of objects of each image is drawn. A number
            above 50 is reduced to 50.
        seed: The seed of the random numbers.
    """
    coco, _ = make_boxes(images, classes, objects, detections=100, seed=seed)
    rng = np.random.default_rng(seed)
    for annotation, points in zip(coco['annotations'], rng.integers(4, 45, len(coco['annotations']))):
        box = np.array(annotation['bbox'])
        polygon = rng.uniform(size=(points, 2)) * box[2:] + box[:2]
        annotation['segmentation'] = [polygon.round(2).ravel().tolist()]
    return coco


def time_inspection(images: int, classes: int, objects: float, seed: int) -> tuple[float, float, list[Inspection]]:
    """Inspect training data with masks, without reading the images.

    The arguments are those of :func:`make_instances`.

    Returns:
        The seconds, the size of the annotation file in megabytes, and the inspections.
    """
    coco = make_instances(images, classes, objects, seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / 'train.json').write_text(json.dumps(coco), encoding='utf-8')
        (root / 'train').mkdir()
        for image in coco['images']:  # the inspection checks that they exist, but does not open them
            (root / 'train' / image['file_name']).write_bytes(b' ')
        dataset = dict(
            type='CocoDataset',
            data_root=folder,
            ann_file='train.json',
            data_prefix=dict(img='train'),
            metainfo=dict(classes=[category['name'] for category in coco['categories']]),
            pipeline=[dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
        )
        del coco  # the inspection reads the file, so this copy would only take memory
        start = time.perf_counter()
        inspections = inspect_config(Config(dict(train_dataloader=dict(dataset=dataset))), read_images=False)
        seconds = time.perf_counter() - start
        return seconds, (root / 'train.json').stat().st_size / 1e6, inspections
