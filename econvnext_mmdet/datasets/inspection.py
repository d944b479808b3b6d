"""Everything that can be seen of a config's COCO data before training: what tools/check_dataset.py calls.

The checks of :mod:`.checks` stop a training at the first thing wrong; here all is found and counted. An error is what
makes a training or an evaluation fail or be wrong. A warning is what MMDetection passes over: it drops boxes without
area, narrower or lower than a pixel, or outside their image, trains on images without boxes or leaves them out, and
takes twice what is there twice. COCO's evaluation keeps all boxes; one without area can only be missed there.
"""
import hashlib
import io
import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import cv2
import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from mmdet.registry import DATASETS
from mmdet.structures.bbox import get_box_tensor
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress

from ..errors import UserError
from ..evaluation.tables import align
from ..files import no_garbage_collection, whole_file
from ..visualization import quiet_drawing
from .checks import (
    check_classes,
    check_evaluators,
    check_layout,
    check_num_classes,
    classes_of,
    datasets_of,
    evaluators_of,
    find_absent,
    is_local_coco,
    needs_of,
    paths_of,
    read_annotations,
)
from .coco_format import find_bad_masks, find_malformed

EXAMPLES = 3  # of each finding
# COCO's sizes, by the area in pixels.
SIZES = dict(small=(0, 32**2), medium=(32**2, 96**2), large=(96**2, float('inf')))
READERS = 4  # threads that read images: hashing and decoding leave the interpreter free


@dataclass
class Finding:
    """Something found: its severity ('error' or 'warning'), what, how often, and where a few times."""
    severity: str
    what: str
    count: int
    examples: List[str]

    def __str__(self) -> str:
        if not self.examples:
            return f'{self.severity}: {self.what}'
        examples = ', '.join(self.examples) + (', ...' if self.count > len(self.examples) else '')
        return f'{self.severity}: {self.what}: {self.count} ({examples})'


@dataclass
class Inspection:
    """What is in one annotation file, and what was found in it.

    Attributes:
        split (str): 'train', 'val' or 'test'; those that share a file are one, as 'val, test'.
        ann_file (str): The file.
        images (int): Number of images.
        widths (tuple[int, int]): The smallest and the largest, in pixels.
        heights (tuple[int, int]): The smallest and the largest, in pixels.
        crowd (int): Number of crowd regions; they are no boxes below.
        classes (dict[str, dict[str, int]]): For each class of the file the boxes by size (COCO's ``area``).
        findings (list[Finding]): Errors first.
        hashes (dict[str, list[str]]): The images by the hash of their file's content, where they were read.
    """
    split: str
    ann_file: str
    images: int = 0
    widths: Tuple[int, int] = (0, 0)
    heights: Tuple[int, int] = (0, 0)
    crowd: int = 0
    classes: Dict[str, Dict[str, int]] = field(default_factory=dict)
    findings: List[Finding] = field(default_factory=list)
    hashes: Dict[str, List[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        boxes = sum(sum(sizes.values()) for sizes in self.classes.values())
        lines = [f'{self.split}: {self.ann_file}']
        if self.classes:
            width, height = (' to '.join(map(str, sorted({*extent}))) for extent in (self.widths, self.heights))
            lines += [f'{self.images} images, {width} pixels wide and {height} high; {boxes} boxes and {self.crowd} '
                      'crowd regions',
                      align([['class', 'boxes', *SIZES]] + [[name, *map(str, (sum(sizes.values()), *sizes.values()))]
                                                            for name, sizes in self.classes.items()])]
        return '\n'.join(lines + [str(finding) for finding in self.findings])


def inspect_config(cfg: Config, read_images: bool = True) -> List[Inspection]:
    """Inspect the COCO datasets that a config trains and evaluates on.

    Args:
        cfg (Config): The whole config.
        read_images (bool): Read and decode every image, to find damaged ones, wrong sizes, and images that are both
            in training and in evaluation. Defaults to True.

    Returns:
        list[Inspection]: One for each annotation file.

    Raises:
        UserError: No split has a local dataset in COCO's format, which alone can be inspected.
    """
    init_default_scope('mmdet')
    found: Dict[tuple, Inspection] = {}
    others = []
    for split in ('train', 'val', 'test'):
        evaluators = evaluators_of(cfg, split)
        datasets = datasets_of(cfg, split)
        files = [paths_of(dataset)[0] for dataset in datasets if is_local_coco(dataset)]
        for dataset in datasets:
            if not is_local_coco(dataset):
                others.append(Inspection(split, f'{dataset["type"]} {dataset.get("ann_file", "")}'.rstrip(), findings=[
                    Finding('warning', 'not inspected, as it has no local files in COCO\'s format', 1, [])]))
                continue
            key = (paths_of(dataset), split == 'train')
            if key not in found:
                found[key] = _inspect(dataset, split, evaluators, read_images)
            elif split not in found[key].split:
                found[key].split += f', {split}'
            findings = _Findings()
            classes = findings.attempt(classes_of, dataset)
            if classes is not None:
                findings.attempt(check_num_classes, cfg.get('model'), classes)
            findings.attempt(check_evaluators, evaluators, split, files)
            found[key].findings += [f for f in findings.listed() if f not in found[key].findings]
    if not found:
        raise UserError('the config has no local dataset in COCO\'s format, and only such can be inspected')
    _find_leaks(found.values())
    inspections = [*found.values(), *others]
    for inspection in inspections:
        inspection.findings.sort(key=lambda finding: finding.severity)
    return inspections


def has_errors(inspections: Iterable[Inspection]) -> bool:
    """Whether training or evaluation would fail or be wrong."""
    return any(finding.severity == 'error' for inspection in inspections for finding in inspection.findings)


def as_data(inspections: Iterable[Inspection]) -> List[dict]:
    """The inspections for a JSON file, without the hashes."""
    return [{key: value for key, value in asdict(inspection).items() if key != 'hashes'}
            for inspection in inspections]


class _Findings:
    """Collects findings by severity and kind."""

    def __init__(self):
        self._found: Dict[Tuple[str, str], List[str]] = defaultdict(list)
        self._counts: Dict[Tuple[str, str], int] = defaultdict(int)

    def add(self, severity: str, what: str, examples: Iterable, count: Optional[int] = None) -> None:
        examples = list(map(str, examples))
        if examples:
            self._found[severity, what] += examples[:EXAMPLES]
            self._counts[severity, what] += len(examples) if count is None else count

    def attempt(self, check, *args) -> Any:
        """What a check returns, or None and one more finding where it raises an error of the user's."""
        try:
            return check(*args)
        except UserError as error:
            self._found['error', str(error)], self._counts['error', str(error)] = [], 1

    def listed(self) -> List[Finding]:
        return [Finding(*kind, self._counts[kind], examples[:EXAMPLES]) for kind, examples in self._found.items()]


def _inspect(dataset: dict, split: str, evaluators: List[dict], read_images: bool) -> Inspection:
    """Inspect one dataset."""
    ann_file, folder = paths_of(dataset)
    inspection, findings = Inspection(split, ann_file), _Findings()
    findings.attempt(check_layout, dataset)
    coco = findings.attempt(read_annotations, dataset) if os.path.isfile(ann_file) else None
    if coco is not None:
        with no_garbage_collection():
            needs = needs_of(dataset, evaluators)
            by_kind: Dict[str, List[str]] = defaultdict(list)
            for kind, problem in find_malformed(coco, needs['evaluated'], needs['iscrowd']):
                by_kind[kind].append(problem)
            for kind, problems in by_kind.items():
                findings.add('error', kind, problems)
            if not by_kind:
                _inspect_annotations(inspection, findings, coco, dataset, needs['masks'])
        # Malformed annotations hide no fault of the images.
        images = coco.get('images') if isinstance(coco, dict) else None
        if os.path.isdir(folder) and not any(find_malformed(dict(images=images, categories=[]))):
            for what, paths in find_absent(images, folder).items():
                findings.add('error', f'images that {what}', sorted(paths))
            if read_images:
                _inspect_images(inspection, findings, images, folder)
    inspection.findings = findings.listed()
    return inspection


def _inspect_annotations(inspection: Inspection, findings: _Findings, coco: dict, dataset: dict,
                         need_masks: bool) -> None:
    """Count well-formed annotations, and find what is odd in them."""
    images, annotations = coco['images'], coco.get('annotations', [])
    names = {category['id']: category['name'] for category in coco['categories']}
    classes = findings.attempt(classes_of, dataset)
    if classes is None:
        classes = list(names.values())
    findings.add('warning', 'classes of the file that the config leaves out',
                 findings.attempt(check_classes, classes, list(names.values())) or [])
    findings.add('warning', 'images that are listed more than once', [
        name for name, count in Counter(image['file_name'] for image in images).items() if count > 1])
    sizes = np.array([(image['width'], image['height']) for image in images], float).reshape(-1, 2)
    inspection.images = len(images)
    if images:
        inspection.widths, inspection.heights = (
            (int(column.min()), int(column.max())) for column in sizes.T)

    boxes = np.array([item['bbox'] for item in annotations], float).reshape(-1, 4)
    area = np.array([item['area'] for item in annotations], float)
    ids = np.array([item['id'] for item in annotations])
    crowd = np.array([bool(item.get('iscrowd')) for item in annotations], bool)
    label_of = {category: label for label, category in enumerate(names)}
    labels = np.array([label_of[item['category_id']] for item in annotations], int)
    inspection.crowd = int(crowd.sum())
    for label, name in enumerate(names.values()):
        own = area[(labels == label) & ~crowd]
        inspection.classes[name] = {size: int(((own >= low) & (own < high)).sum())
                                    for size, (low, high) in SIZES.items()}
    findings.add('warning', 'classes without a box',
                 [name for name, counts in inspection.classes.items() if name in classes and not any(counts.values())])

    number = {image['id']: i for i, image in enumerate(images)}
    of_image = np.array([number[item['image_id']] for item in annotations], int)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    within = sizes[of_image].reshape(-1, 2)
    flat = (boxes[:, 2:] < 1).any(axis=1) | (area <= 0)
    outside = ~flat & ((corners[:, 2:] <= 0) | (corners[:, :2] >= within)).any(axis=1)
    over = ~flat & ~outside & ((corners[:, :2] < -1) | (corners[:, 2:] > within + 1)).any(axis=1)
    for what, which in (('boxes without area, or narrower or lower than a pixel', flat),
                        ('boxes outside their image', outside),
                        ('boxes that reach over the border of their image by more than a pixel (a bbox is x, y, width, '
                         'height)', over)):
        findings.add('warning', what, [f'annotation {i}' for i in ids[which][:EXAMPLES]], int(which.sum()))

    used = np.isin(labels, [label for label, name in enumerate(names.values()) if name in classes])
    empty = np.setdiff1d(np.arange(len(images)), of_image[used & ~(crowd | flat | outside)])
    findings.add('warning', 'images without boxes', [images[i]['file_name'] for i in empty[:EXAMPLES]], len(empty))
    filters = dataset.get('filter_cfg') or {}
    kept = sizes.min(axis=1) >= filters.get('min_size', 0)
    if filters.get('filter_empty_gt'):
        kept &= np.isin(np.arange(len(images)), of_image[used])
    if not kept.any() and not dataset.get('test_mode'):
        findings.add('error', 'no image is left to train on, by the config\'s filter_cfg and classes', [dict(filters)])

    # Where masks are loaded or evaluated, one that is missing or of another size is a failure, and an instance with
    # one that is none is ignored.
    masks = find_bad_masks(coco)
    for what, which in masks.items():
        # Boxes alone are no fault where no masks are wanted.
        if need_masks or len(masks['masks that are missing']) < len(annotations):
            findings.add('error' if need_masks else 'warning', what,
                         [f'annotation {i}' for i in which[:EXAMPLES]], len(which))


def _inspect_images(inspection: Inspection, findings: _Findings, images: List[dict], folder: str) -> None:
    """Read every image that is there: whether it decodes, its size, its hash."""
    there = [image for image in images if _length(os.path.join(folder, image['file_name']))]
    console = Console(stderr=True)
    # Closed on Ctrl-C, the results cancel what is not yet read; else the pool would read on to the last image.
    with ThreadPoolExecutor(READERS) as pool, Progress(console=console, disable=not console.is_terminal) as progress, \
            closing(pool.map(lambda image: _read(os.path.join(folder, image['file_name'])), there)) as read:
        unreadable, wrong = [], []
        for image, (digest, shape) in zip(there, progress.track(read, len(there), description=inspection.split)):
            if digest is not None and image['file_name'] not in inspection.hashes.setdefault(digest, []):
                inspection.hashes[digest].append(image['file_name'])
            expected = (image['height'], image['width'])
            if shape is None:
                unreadable.append(image['file_name'])
            elif shape != expected:
                wrong.append(f'{image["file_name"]}: {shape[1]} x {shape[0]} instead of {expected[1]} x {expected[0]}')
    findings.add('error', 'images that cannot be read: damaged, of an unknown format or without permission', unreadable)
    findings.add('error', 'images of another size than annotated', wrong)
    findings.add('warning', 'images that are the same file',
                 [' = '.join(names) for names in inspection.hashes.values() if len(names) > 1])


def _length(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _read(path: str) -> Tuple[Optional[str], Optional[tuple]]:
    """The hash of an image file, and its (height, width) as training sees it; None where there is none."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return None, None
    try:
        image = mmcv.imfrombytes(content)
    except cv2.error:  # as of an image with more pixels than OpenCV takes
        image = None
    return hashlib.blake2b(content, digest_size=16).hexdigest(), None if image is None else image.shape[:2]


def _find_leaks(inspections: Iterable[Inspection]) -> None:
    """Images that training and an evaluation share, or two files of training, whatever their names."""
    trained: Dict[str, str] = {}
    files = []
    for inspection in sorted(inspections, key=lambda inspection: inspection.split != 'train'):
        training, findings = inspection.split == 'train', _Findings()
        if not training and os.path.realpath(inspection.ann_file) in files:  # on purpose, as to see a model overfit
            findings.add('warning', 'training reads the same file, so this evaluates what was learnt by heart',
                         [inspection.ann_file])
        else:
            severity, what = ('warning', 'another file of training') if training else ('error', 'training')
            findings.add(severity, f'images that {what} has too', [
                f'{name} = {trained[digest]}' for digest, names in inspection.hashes.items() if digest in trained
                for name in names])
        inspection.findings += findings.listed()
        if training:
            trained.update({digest: names[0] for digest, names in inspection.hashes.items()})
            files.append(os.path.realpath(inspection.ann_file))


def draw_samples(cfg: Config, file: str, count: int = 9) -> None:
    """Draw training samples as the pipeline delivers them: after augmentation, with boxes, classes and masks.

    Args:
        cfg (Config): The whole config, whose training data have no errors.
        file (str): The picture to write; its folder is made.
        count (int): How many samples, from the whole of the data set. Defaults to 9.

    Raises:
        UserError: ``count`` is below 1.
    """
    if count < 1:
        raise UserError(f'expected 1 sample or more to draw; got {count}')
    init_default_scope('mmdet')
    with redirect_stdout(io.StringIO()):  # pycocotools prints
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    columns = int(np.ceil(np.sqrt(len(chosen))))
    figure = Figure(figsize=(4 * columns, 4 * -(-len(chosen) // columns)), layout='tight')
    for place, image in enumerate(_drawn(dataset, chosen), 1):
        axes = figure.add_subplot(-(-len(chosen) // columns), columns, place)
        axes.imshow(image)
        axes.axis('off')
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(file)) as part:
        figure.savefig(part, dpi=200)  # labels of boxes can be read in images of 1333 pixels


def _drawn(dataset: torch.utils.data.Dataset, indices: Iterable[int]) -> Iterator[np.ndarray]:
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dataset.metainfo
    for i in indices:
        sample = dataset[int(i)]
        truth = sample['data_samples'].gt_instances
        truth.bboxes = get_box_tensor(truth.bboxes)
        # Pipelines load BGR, and photometric augmentation makes floats beyond 0 to 255.
        image = sample['inputs'].clamp(0, 255).byte().permute(1, 2, 0).numpy()[..., ::-1]
        with quiet_drawing():
            visualizer.add_datasample('', np.ascontiguousarray(image), sample['data_samples'], draw_pred=False)
        yield visualizer.get_image()
