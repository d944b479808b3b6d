"""Random COCO ground truth and detections that are hard to evaluate correctly."""

import numpy as np
from pycocotools import mask as mask_utils

CLASSES = ('cat', 'dog', 'bird', 'nothing')  # the last class has no objects
SIZE = 160


def _mask(box):
    """The compressed RLE of the ellipse in a box."""
    x, y, w, h = box
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
    rle = mask_utils.encode(np.asfortranarray(inside, dtype=np.uint8))
    return dict(size=rle['size'], counts=rle['counts'].decode())


def rle_counts(runs):
    """Compress the runs of an RLE as pycocotools does, but without its checks."""
    text = ''
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            code, value = value & 31, value >> 5
            more = value != (-1 if code & 16 else 0)
            text += chr(48 + code + 32 * more)
            if not more:
                break
    return text


def _box(rng):
    """A random box: x, y, width, height."""
    w, h = np.exp(rng.uniform(np.log(6), np.log(150), 2))
    return [*rng.uniform(0, (SIZE - w, SIZE - h)), w, h]


def make_scene(seed=0, images=12):
    """Make the content of an annotation file and that of a results file.

    They have crowd regions (as uncompressed RLE, as in COCO), polygons, an annotation with id 0, images without
    objects, images without detections, equal scores, objects of every size, objects with the flag ``ignore``, a class
    without objects, and an image with more than 100 detections of one class.
    """
    rng = np.random.default_rng(seed)
    coco = dict(
        images=[dict(id=10 * i + 3, file_name=f'{i}.jpg', height=SIZE, width=SIZE) for i in range(images)],
        annotations=[],
        categories=[dict(id=5 * i + 1, name=name) for i, name in enumerate(CLASSES)],
    )
    entries = []
    for i, image in enumerate(coco['images']):
        if i == 0:  # detections without objects
            objects = []
        else:
            objects = [
                (_box(rng), int(rng.integers(3)), i % 4 == 1 and j == 0, i % 5 == 2 and j == 1)
                for j in range(rng.integers(1, 7))
            ]
        for box, label, crowd, ignored in objects:
            segmentation = _mask(box)
            if crowd:
                inside = mask_utils.decode(segmentation)
                flat = inside.flatten(order='F')
                runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[1 - flat[0]], flat, [1 - flat[-1]]]))))
                segmentation = dict(size=[SIZE, SIZE], counts=([0] if flat[0] else []) + runs.tolist())
            elif label == 1:
                x, y, w, h = box
                segmentation = [[x, y, x + w, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h / 2]]
            coco['annotations'].append(
                dict(
                    id=len(coco['annotations']),
                    image_id=image['id'],
                    category_id=5 * label + 1,
                    bbox=box,
                    area=float(mask_utils.area(_mask(box))),
                    iscrowd=int(crowd),
                    segmentation=segmentation,
                    **dict(ignore=1) if ignored else {},
                )
            )
        if i == 1:  # objects without detections
            continue
        for box, label, crowd, _ in objects:
            for _ in range(6 if crowd else rng.integers(0, 4)):
                near = np.array(box) + rng.normal(0, 0.06, 4) * np.array([box[2], box[3], box[2], box[3]])
                entries.append((image['id'], label if rng.random() < 0.8 else int(rng.integers(4)), near))
        entries += [(image['id'], int(rng.integers(4)), _box(rng)) for _ in range(3)]
        if i == 2:
            entries += [(image['id'], 0, _box(rng)) for _ in range(130)]
    results = []
    for image_id, label, box in entries:
        box = [float(value) for value in box]
        results.append(
            dict(
                image_id=image_id,
                category_id=5 * label + 1,
                bbox=box,
                segmentation=_mask(box),
                score=float(np.round(rng.random(), 1)),  # rounded, so that many are equal
            )
        )
    return coco, results
