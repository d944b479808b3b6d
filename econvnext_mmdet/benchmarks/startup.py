"""The time and the memory from the start of training to its first steps, beside MMDetection's own tool."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import mmdet
import numpy as np

from ..utils.errors import UserError
from ..utils.files import whole_folder
from .data_inspection import make_instances
from .watching import watch

AFTER = 10.0  # seconds after the first step, in which all workers have loaded a batch
MOST_LINKS = 10_000  # names of one file; file systems allow some ten thousand
CONFIG = """_base_ = {base!r}
data = dict(type='CocoDataset', data_root={root!r}, ann_file='train.json', data_prefix=dict(img='train/'))
classes = dict(classes=tuple(f'class {{i}}' for i in range({classes})))
model = dict(bbox_head=dict(num_classes={classes}))
train_dataloader = dict(
    batch_size=2, num_workers={workers}, persistent_workers={workers} > 0, dataset=dict(metainfo=classes, **data)
)
train_cfg = dict(max_epochs=1)
val_cfg = val_dataloader = val_evaluator = test_cfg = test_dataloader = test_evaluator = None
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best=None))
"""


class Started(NamedTuple):
    """The seconds to the first step, and the highest memory of all processes in MiB."""

    seconds: float
    memory: float


def write_dataset(folder: str, images: int, classes: int, objects: float, seed: int) -> None:
    """Write an annotation file with polygons, and images that all show the same.

    The arguments are those of :func:`~.data_inspection.make_instances`. The folder must not exist.
    """
    coco = make_instances(images, classes, objects, seed)
    for number, category in enumerate(coco['categories']):
        category['name'] = f'class {number}'
    with whole_folder(folder) as root:
        (root / 'train.json').write_text(json.dumps(coco), encoding='utf-8')
        (root / 'train').mkdir()
        noise = np.random.default_rng(seed).integers(0, 256, (480, 640, 3), np.uint8)
        for number, image in enumerate(coco['images']):
            path = root / 'train' / image['file_name']
            if number % MOST_LINKS == 0:
                first = path
                cv2.imwrite(str(first), noise)
            else:
                path.hardlink_to(first)


def time_start(tools: str, config: str, data: str, work: str, classes: int, workers: int) -> dict[str, Started]:
    """Start training with our tool and with MMDetection's, and end it after the first steps.

    Args:
        tools: The folder of our tools.
        config: The config of a detector of boxes, whose dataset is replaced.
        data: The folder of the dataset.
        work: A folder for the work directories and the logs.
        classes: The number of classes.
        workers: The number of worker processes of the data loader.

    Raises:
        UserError: A tool ended before its first step.
    """
    Path(work).mkdir(parents=True, exist_ok=True)
    file = Path(work, 'startup.py')
    file.write_text(
        CONFIG.format(
            base=str(Path(config).resolve()), root=str(Path(data).resolve()), classes=classes, workers=workers
        )
    )
    found = {}
    for name, folder in (('this package', tools), ('MMDetection', f'{mmdet.__path__[0]}/.mim/tools')):
        target = f'{work}/{name.replace(" ", "_")}'
        command = [sys.executable, f'{folder}/train.py', str(file), '--work-dir', target]
        watched = watch(command, f'{target}.log', every=0.5, awaited='Epoch(train)', then=AFTER)
        if watched.seen is None:
            (*_, last) = ['', *Path(f'{target}.log').read_text(encoding='utf-8', errors='replace').splitlines()]
            raise UserError(
                f'training with {name} ended with the exit status {watched.status} before its first step: {last}'
            )
        found[name] = Started(watched.seen, watched.peak)
    return found
