"""Everything that can be seen of a config's COCO data before training: what tools/check_dataset.py calls.

The checks of :mod:`.checks` stop a training at the first thing wrong; here all is found and counted. An error is what
makes a training or an evaluation fail or be wrong. A warning is what MMDetection passes over: it drops boxes without
area or outside their image, trains on images without boxes or leaves them out, and takes twice what is there twice.
"""
import hashlib
import io
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from mmdet.registry import DATASETS
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress

from ..errors import UserError
from ..evaluation.tables import align
from ..visualization import quiet_drawing
from .checks import (
    check_classes,
    check_evaluators,
    check_num_classes,
    classes_of,
    coco_datasets,
    find_absent,
    paths_of,
    read_annotations,
)
from .coco_format import find_malformed

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
            lines += [f'{self.images} images, {self.widths[0]} to {self.widths[1]} pixels wide, {self.heights[0]} to '
                      f'{self.heights[1]} high; {boxes} boxes and {self.crowd} crowd regions',
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
        dataloader = cfg.get(f'{split}_dataloader')
        evaluators = cfg.get(f'{split}_evaluator') or [] if split != 'train' else []
        evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
        datasets = list(coco_datasets(dataloader['dataset'] if dataloader else None))
        if dataloader and not datasets:
            others.append(Inspection(split, str(dataloader['dataset']['type']), findings=[
                Finding('warning', 'not inspected, as it has no local files in COCO\'s format', 1, [])]))
        for dataset in datasets:
            key = (paths_of(dataset), split == 'train')
            if key in found:
                found[key].split += f', {split}'
            else:
                found[key] = _inspect(cfg, dataset, split, read_images)
            findings = _Findings()
            findings.attempt(check_num_classes, cfg.model, classes_of(dataset))
            findings.attempt(check_evaluators, evaluators, split, [paths_of(item)[0] for item in datasets])
            found[key].findings += [f for f in findings.listed() if f not in found[key].findings]
    if not found:
        raise UserError('the config has no local dataset in COCO\'s format, and only such can be inspected')
    inspections = [*found.values(), *others]
    _find_leaks(inspections)
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

    def attempt(self, check, *args) -> bool:
        """Run a check that raises an error of the user's; whether it passed."""
        try:
            check(*args)
        except UserError as error:
            self._found['error', str(error)], self._counts['error', str(error)] = [], 1
            return False
        return True

    def listed(self) -> List[Finding]:
        return [Finding(*kind, self._counts[kind], examples[:EXAMPLES]) for kind, examples in self._found.items()]


def _inspect(cfg: Config, dataset: dict, split: str, read_images: bool) -> Inspection:
    """Inspect one dataset."""
    ann_file, folder = paths_of(dataset)
    inspection, findings = Inspection(split, ann_file), _Findings()
    try:
        coco = read_annotations(dataset)
    except UserError as error:
        inspection.findings = [Finding('error', str(error), 1, [])]
        return inspection
    by_kind: Dict[str, List[str]] = defaultdict(list)
    for kind, problem in find_malformed(coco, evaluated=split != 'train'):
        by_kind[kind].append(problem)
    for kind, problems in by_kind.items():
        findings.add('error', kind, problems)
    if not by_kind:
        _inspect_annotations(inspection, findings, coco, dataset, split)
        for what, paths in find_absent(coco['images'], folder).items():
            findings.add('error', f'images that {what}', sorted(paths))
        if read_images:
            _inspect_images(inspection, findings, coco['images'], folder)
    inspection.findings = findings.listed()
    return inspection


def _inspect_annotations(inspection: Inspection, findings: _Findings, coco: dict, dataset: dict, split: str) -> None:
    """Count well-formed annotations, and find what is odd in them."""
    images, annotations = coco['images'], coco.get('annotations', [])
    names = {category['id']: category['name'] for category in coco['categories']}
    classes = classes_of(dataset)
    findings.attempt(check_classes, classes, list(names.values()))
    findings.add('warning', 'classes of the file that the config leaves out',
                 [name for name in names.values() if name not in classes])
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
    empty = np.setdiff1d(np.arange(len(images)), of_image[~crowd])
    findings.add('warning', 'images without boxes', [images[i]['file_name'] for i in empty[:EXAMPLES]], len(empty))
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    within = sizes[of_image].reshape(-1, 2)
    flat = (boxes[:, 2:] <= 0).any(axis=1) | (area <= 0)
    outside = ~flat & ((corners[:, 2:] <= 0) | (corners[:, :2] >= within)).any(axis=1)
    over = ~flat & ~outside & ((corners[:, :2] < -1) | (corners[:, 2:] > within + 1)).any(axis=1)
    for what, which in (('boxes without area, which training drops', flat),
                        ('boxes outside their image, which training drops', outside),
                        ('boxes that reach over the border of their image by more than a pixel', over)):
        findings.add('warning', what, [f'annotation {i}' for i in ids[which][:EXAMPLES]], int(which.sum()))

    # Where masks are loaded, one that is missing is a failure, and an instance with one that is none is ignored.
    loads_masks = any(step.get('with_mask') for step in dataset.get('pipeline') or ())
    masks = [(item['id'], item.get('segmentation')) for item in annotations]
    missing = [i for i, mask in masks if mask is None]
    for what, which in (('masks that are missing', missing),
                        ('masks that are neither polygons nor RLE',
                         [i for i, mask in masks if mask is not None and not _is_mask(mask)])):
        if loads_masks or len(missing) < len(annotations):  # boxes alone are no fault where no masks are wanted
            findings.add('error' if loads_masks else 'warning', what,
                         [f'annotation {i}' for i in which[:EXAMPLES]], len(which))


def _is_mask(mask) -> bool:
    """Whether a segmentation is a list of polygons (three points or more each) or an RLE."""
    if isinstance(mask, list):
        return bool(mask) and all(isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
                                  for polygon in mask)
    return isinstance(mask, dict) and isinstance(mask.get('size'), list) and len(mask['size']) == 2 \
        and isinstance(mask.get('counts'), (str, list)) and len(mask['counts']) > 0


def _inspect_images(inspection: Inspection, findings: _Findings, images: List[dict], folder: str) -> None:
    """Read every image that is there: whether it decodes, its size, its hash."""
    there = [image for image in images if _length(os.path.join(folder, image['file_name']))]
    console = Console(stderr=True)
    with ThreadPoolExecutor(READERS) as pool, Progress(console=console, disable=not console.is_terminal) as progress:
        read = pool.map(lambda image: _read(os.path.join(folder, image['file_name'])), there)
        unreadable, wrong = [], []
        for image, (digest, shape) in zip(there, progress.track(read, len(there), description=inspection.split)):
            inspection.hashes.setdefault(digest, []).append(image['file_name'])
            expected = (image['height'], image['width'])
            if shape is None:
                unreadable.append(image['file_name'])
            elif shape != expected:
                wrong.append(f'{image["file_name"]}: {shape[1]} x {shape[0]} instead of {expected[1]} x {expected[0]}')
    findings.add('error', 'images that are damaged or of an unknown format', unreadable)
    findings.add('error', 'images of another size than annotated', wrong)
    findings.add('warning', 'images that are the same file',
                 [' = '.join(names) for names in inspection.hashes.values() if len(names) > 1])


def _length(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _read(path: str) -> Tuple[str, Optional[tuple]]:
    """The hash of an image file, and its (height, width) as training sees it, None where it cannot be decoded."""
    content = Path(path).read_bytes()
    image = mmcv.imfrombytes(content)
    return hashlib.blake2b(content, digest_size=16).hexdigest(), None if image is None else image.shape[:2]


def _find_leaks(inspections: List[Inspection]) -> None:
    """Images that training and an evaluation share, whatever their names."""
    trained: Dict[str, str] = {}
    for inspection in inspections:
        if inspection.split == 'train':
            trained.update({digest: names[0] for digest, names in inspection.hashes.items()})
    for inspection in inspections:
        if inspection.split != 'train':
            findings = _Findings()
            findings.add('error', 'images that training has too', [
                f'{name} = {trained[digest]}' for digest, names in inspection.hashes.items() if digest in trained
                for name in names])
            inspection.findings += findings.listed()


def draw_samples(cfg: Config, file: str, count: int = 9) -> None:
    """Draw training samples as the pipeline delivers them: after augmentation, with boxes, classes and masks.

    Args:
        cfg (Config): The whole config, whose training data have no errors.
        file (str): The picture to write; its folder is made.
        count (int): How many samples, from the whole of the data set. Defaults to 9.
    """
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
    figure.savefig(file)


def _drawn(dataset: torch.utils.data.Dataset, indices: Iterable[int]) -> Iterator[np.ndarray]:
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dataset.metainfo
    for i in indices:
        sample = dataset[int(i)]
        sample['data_samples'].gt_instances.bboxes = sample['data_samples'].gt_instances.bboxes.tensor
        image = sample['inputs'].permute(1, 2, 0).numpy()[..., ::-1]  # pipelines load BGR
        with quiet_drawing():
            visualizer.add_datasample('', np.ascontiguousarray(image), sample['data_samples'], draw_pred=False)
        yield visualizer.get_image()
