"""Find all problems in a config's data before training. tools/check_dataset.py prints them.

The checks of :mod:`.checks` stop at the first problem. This module finds and counts all problems. A problem
is an error if it would make training or evaluation fail or give wrong results. It is a warning if MMDetection silently
accepts it. MMDetection drops boxes that have no area, are less than a pixel wide or high, or lie outside their image.
It trains on images without boxes or leaves them out. It uses duplicates twice. COCO's evaluation keeps all boxes. No
detection can match a box without area, so it always counts as missed.
"""

import hashlib
import io
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.bbox import get_box_tensor
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, Dataset

from ..evaluation.coco_format import EMPTY_MASKS, find_bad_masks, find_malformed
from ..evaluation.tables import align
from ..utils.config import datasets_of, evaluators_of, judges_parts, type_name
from ..utils.drawing import LastPicture, draw
from ..utils.errors import UserError, printable
from ..utils.files import check_pixels, is_inside, is_too_dark, no_garbage_collection, number_of_pages, whole_file
from ..utils.fonts import use_font_for
from ..utils.progress import progress_bar
from ..weights.checkpoint import use_safe_loaders
from .checks import (
    check_classes,
    check_evaluators,
    check_layout,
    check_num_classes,
    check_trained_classes,
    in_order_of,
    needs_of,
)
from .classes import configured_classes, unify_classes
from .dataset_files import classes_of, find_absent, is_local, is_xml, paths_of, read_annotations, spread
from .usable import Usable, count_usable, detection_parts

EXAMPLES = 3  # per finding
KNOWN = "local files in COCO's format or in Pascal VOC's"
# COCO's sizes, as ranges of the area in pixels.
SIZES = dict(small=(0, 32**2), medium=(32**2, 96**2), large=(96**2, float('inf')))
READERS = 4  # processes that read images, if there are as many cores
STDERR = 2  # the file descriptor of C libraries, whatever sys.stderr is


@dataclass
class Finding:
    """A kind of problem in the data.

    Attributes:
        severity: 'error' or 'warning'.
        what: The problem.
        count: The number of places where it occurs.
        examples: The first of these places. Empty if ``what`` says everything.
    """

    severity: str
    what: str
    count: int
    examples: list[str]

    def __str__(self) -> str:
        if not self.examples:
            return printable(f'{self.severity}: {self.what}')
        examples = ', '.join(self.examples) + (', ...' if self.count > len(self.examples) else '')
        return printable(f'{self.severity}: {self.what}: {self.count} ({examples})')


@dataclass
class Inspection:
    """The content of one annotation file, and what was found in it.

    Attributes:
        split: 'train', 'val' or 'test'. Evaluation splits that share a file are joined, as in 'val, test'.
        ann_file: The annotation file.
        images: Number of images.
        widths: The smallest and the largest width of an image, in pixels.
        heights: The smallest and the largest height of an image, in pixels.
        crowd: Number of crowd regions. ``classes`` does not count them.
        classes: The number of boxes by class and size. Sizes follow COCO's ``area``.
        findings: The problems found, errors first.
        hashes: A dict from the hash of a file's content to the names of the images with this content. Empty if the
            images were not read.
        usable: What training uses of it. None if training does not read it, or it cannot be loaded.
    """

    split: str
    ann_file: str
    images: int = 0
    widths: tuple[int, int] = (0, 0)
    heights: tuple[int, int] = (0, 0)
    crowd: int = 0
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    hashes: dict[str, list[str]] = field(default_factory=dict)
    usable: Usable | None = None

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings that are not there yet."""
        self.findings += [finding for finding in findings if finding not in self.findings]

    def __str__(self) -> str:
        boxes = sum(sum(sizes.values()) for sizes in self.classes.values())
        lines = [printable(f'{self.split}: {self.ann_file}')]
        if self.classes:
            width, height = (' to '.join(map(str, sorted({*extent}))) for extent in (self.widths, self.heights))
            lines += [
                f'{self.images} images, {width} pixels wide and {height} high; {boxes} boxes and {self.crowd} '
                'crowd regions',
                align(
                    [['class', 'boxes', *SIZES]]
                    + [
                        [printable(name), *map(str, (sum(sizes.values()), *sizes.values()))]
                        for name, sizes in self.classes.items()
                    ]
                ),
            ]
        return '\n'.join(lines + [str(finding) for finding in self.findings])


def inspect_config(cfg: Config, read_images: bool = True) -> list[Inspection]:
    """Inspect the datasets that a config trains and evaluates on.

    Args:
        cfg: The whole config.
        read_images: Read and decode every image, to find damaged images, wrong sizes, and images that are used both
            for training and for evaluation. Defaults to True.

    Returns:
        One inspection per pair of annotation file and image folder. A pair that both training and evaluation use gets
            two. The inspection of a dataset in a different format says that it was not inspected.

    Raises:
        UserError: No split has a local dataset in COCO's format or in Pascal VOC's.
    """
    init_default_scope('mmdet')
    found: dict[tuple[tuple[str, str], bool], Inspection] = {}
    problems = _Findings()
    problems.attempt(unify_classes, cfg, ('train', 'val', 'test'))
    needs = _needs_by_file(cfg)
    others = []
    lacking: list[set[str]] = []
    for split in ('train', 'val', 'test'):
        evaluators = evaluators_of(cfg, split)
        datasets = datasets_of(cfg, split)
        files = [paths_of(dataset)[0] for dataset in datasets if is_local(dataset)]
        for dataset in datasets:
            if not is_local(dataset):
                others.append(
                    Inspection(
                        split,
                        f'{dataset["type"]} {dataset.get("ann_file", "")}'.rstrip(),
                        findings=[Finding('warning', f'not inspected: it has no {KNOWN}', 1, [])],
                    )
                )
                continue
            key = (paths_of(dataset), split == 'train')
            if key not in found:
                found[key] = _inspect(dataset, split, needs[key], read_images)
            elif split not in found[key].split:
                found[key].split += f', {split}'
            findings = _Findings()
            classes = findings.attempt(classes_of, dataset)
            if classes is not None:
                findings.attempt(check_num_classes, cfg.get('model'), classes)
                if split == 'train' and found[key].classes:
                    # Pascal VOC has no list of classes.
                    lacking.append(set() if is_xml(dataset) else {*classes} - {*found[key].classes})
            findings.attempt(check_evaluators, evaluators, split, files, judges_parts(cfg, split))
            found[key].add(findings.listed())
        if lacking and split == 'train':
            problems.attempt(check_trained_classes, set.intersection(*lacking), files)
    if not found:
        raise UserError(f'the config has no {KNOWN}; other formats cannot be inspected')
    # The model learns from all training files together.
    used = [inspection.usable for inspection in found.values() if inspection.usable is not None]
    if used:
        classes = configured_classes(cfg, ('train',))[1]
        for problem in problems.attempt(sum(used[1:], used[0]).problems, classes) or ():
            problems.state('warning', problem)
    next(iter(found.values())).add(problems.listed())
    _find_leaks(found.values())
    inspections = [*found.values(), *others]
    for inspection in inspections:
        inspection.findings.sort(key=lambda finding: finding.severity)
    return inspections


def is_among_images(cfg: Config, file: str) -> bool:
    """Whether a file is in a folder of images that :func:`inspect_config` reads."""
    place = os.path.realpath(file)
    return any(is_inside(place, os.path.realpath(folder)) for (_, folder), _ in _needs_by_file(cfg))


def has_errors(inspections: Iterable[Inspection]) -> bool:
    """Whether training or evaluation would fail or give wrong results."""
    return any(finding.severity == 'error' for inspection in inspections for finding in inspection.findings)


def as_data(inspections: Iterable[Inspection]) -> list[dict]:
    """The inspections as the content of a JSON file: what was printed."""
    hidden = ('hashes', 'usable')
    return [
        {key: value for key, value in asdict(inspection).items() if key not in hidden} for inspection in inspections
    ]


class _Findings:
    """Collects findings and merges findings of the same kind."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._counts: dict[tuple[str, str], int] = defaultdict(int)

    def add(self, severity: str, what: str, examples: Iterable, count: int | None = None) -> None:
        """Add places where a problem occurs. If there are no places, nothing is added.

        Args:
            severity: 'error' or 'warning'.
            what: The problem.
            examples: The places: all of them, or the first ones if ``count`` is given.
            count: The number of places. Defaults to None: the number of examples.
        """
        examples = list(map(str, examples))
        if examples:
            self._found[severity, what] += examples[:EXAMPLES]
            self._counts[severity, what] += len(examples) if count is None else count

    def state(self, severity: str, what: str) -> None:
        """Add a problem of the whole file, which has no places."""
        self._found[severity, what], self._counts[severity, what] = [], 1

    def attempt(self, check: Callable, *args: Any) -> Any:
        """Run a check and return its result. If it raises a UserError, add a finding and return None."""
        try:
            return check(*args)
        except UserError as error:
            self.state('error', str(error))

    def listed(self) -> list[Finding]:
        return [Finding(*kind, self._counts[kind], examples[:EXAMPLES]) for kind, examples in self._found.items()]


def _needs_by_file(cfg: Config) -> dict[tuple[tuple[str, str], bool], dict[str, bool]]:
    """What training requires of each file, and what evaluation requires of it, in all splits that share the file."""
    needs: dict[tuple[tuple[str, str], bool], dict[str, bool]] = {}
    for split in ('train', 'val', 'test'):
        for dataset in filter(is_local, datasets_of(cfg, split)):
            key, more = (paths_of(dataset), split == 'train'), needs_of(dataset, evaluators_of(cfg, split))
            needs[key] = {need: needed or needs.get(key, {}).get(need, False) for need, needed in more.items()}
    return needs


def _inspect(dataset: dict, split: str, needs: dict[str, bool], read_images: bool) -> Inspection:
    """Inspect one dataset.

    Args:
        dataset: The config of a local dataset.
        split: The split that reads it.
        needs: What loading and evaluation require of the file, see :func:`needs_of`.
        read_images: Read and decode every image.
    """
    ann_file, folder = paths_of(dataset)
    inspection, findings = Inspection(split, ann_file), _Findings()
    findings.attempt(check_layout, dataset)
    coco = findings.attempt(read_annotations, dataset, needs['pycocotools']) if os.path.isfile(ann_file) else None
    if coco is not None:
        with no_garbage_collection():
            by_kind: dict[str, list[str]] = defaultdict(list)
            for kind, problem in find_malformed(coco, needs['pycocotools']):
                by_kind[kind].append(problem)
            for kind, problems in by_kind.items():
                findings.add('error', kind, problems)
            if not by_kind:
                _inspect_annotations(inspection, findings, coco, dataset, needs)
        # The images are inspected even if the annotations are malformed.
        images = coco.get('images')
        if os.path.isdir(folder) and not any(find_malformed(dict(images=images, categories=[]))):
            for what, paths in find_absent(images, folder).items():
                findings.add('error', f'images that {what}', sorted(paths))
            if read_images:
                _inspect_images(inspection, findings, images, folder, _loader(dataset))
    inspection.findings = findings.listed()
    return inspection


def _inspect_annotations(
    inspection: Inspection, findings: _Findings, coco: dict, dataset: dict, needs: dict[str, bool]
) -> None:
    """Count well-formed annotations and find problems in them. Fills the inspection, and adds to the findings."""
    images, annotations = coco['images'], coco.get('annotations', [])
    names = {category['id']: category['name'] for category in coco['categories']}
    configured = findings.attempt(classes_of, dataset)
    classes = list(names.values()) if configured is None else configured
    in_order = in_order_of(dataset, needs['pycocotools'])
    checked = findings.attempt(check_classes, classes, list(names.values()), in_order)
    left_out, lacking = checked or ([], [])
    findings.add('warning', 'classes of the file that the config leaves out', left_out)
    findings.add('warning', 'classes of the config that the file lacks', lacking)
    findings.add(
        'warning',
        'images that are listed more than once',
        [name for name, count in Counter(image['file_name'] for image in images).items() if count > 1],
    )
    folder = paths_of(dataset)[1]
    findings.add(
        'warning',
        'images outside of the image folder, which reports do not draw',
        [image['file_name'] for image in images if not is_inside(image['file_name'], folder)],
    )
    sizes = np.array([(image['width'], image['height']) for image in images], float).reshape(-1, 2)
    inspection.images = len(images)
    if images:
        inspection.widths, inspection.heights = ((int(column.min()), int(column.max())) for column in sizes.T)

    boxes = np.array([item['bbox'] for item in annotations], float).reshape(-1, 4)
    area = np.array([item['area'] for item in annotations], float)
    ids = np.array([item['id'] for item in annotations], object)  # as numbers, large ones would be rounded
    crowd = np.array([bool(item.get('iscrowd')) for item in annotations], bool)
    label_of = {category: label for label, category in enumerate(names)}
    labels = np.array([label_of[item['category_id']] for item in annotations], int)
    inspection.crowd = int(crowd.sum())
    for label, name in enumerate(names.values()):
        own = area[(labels == label) & ~crowd]
        inspection.classes[name] = {
            size: int(((own >= low) & (own < high)).sum()) for size, (low, high) in SIZES.items()
        }
    findings.add(
        'warning',
        'classes without a box',
        [name for name, counts in inspection.classes.items() if name in classes and not any(counts.values())],
    )

    number = {image['id']: i for i, image in enumerate(images)}
    of_image = np.array([number[item['image_id']] for item in annotations], int)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    within = sizes[of_image].reshape(-1, 2)
    flat = (boxes[:, 2:] < 1).any(axis=1) | (area <= 0)
    outside = ~flat & ((corners[:, 2:] <= 0) | (corners[:, :2] >= within)).any(axis=1)
    over = ~flat & ~outside & ((corners[:, :2] < -1) | (corners[:, 2:] > within + 1)).any(axis=1)
    for what, which in (
        ('boxes without area, or less than a pixel wide or high', flat),
        ('boxes outside their image', outside),
        (
            'areas larger than their box, by which COCO decides which objects are small, medium and large',
            area > 1.01 * boxes[:, 2:].prod(axis=1) + 1,
        ),
        ('boxes that extend more than a pixel beyond their image (a bbox is x, y, width, height)', over),
    ):
        findings.add('warning', what, [f'annotation {i}' for i in ids[which][:EXAMPLES]], int(which.sum()))

    if configured is not None and checked is not None:
        inspection.usable = _inspect_usable(findings, dataset)

    # If masks are loaded or evaluated, a missing mask or a mask of the wrong size makes the run fail, and an instance
    # with a malformed mask is ignored. If masks are not used, a file without any mask is fine.
    if needs['masks'] or any(item.get('segmentation') for item in annotations):
        bad, empty = find_bad_masks(coco)
        for what, which in bad.items():
            findings.add(
                'error' if needs['masks'] else 'warning',
                what,
                [f'annotation {i}' for i in which[:EXAMPLES]],
                len(which),
            )
        findings.add('warning', EMPTY_MASKS, [f'annotation {i}' for i in empty[:EXAMPLES]], len(empty))


def _inspect_usable(findings: _Findings, dataset: dict) -> Usable | None:
    """Find what MMDetection leaves out of a well-formed file, with MMDetection's own dataset.

    Returns:
        What training uses. None if training does not read the dataset.
    """
    with redirect_stdout(io.StringIO()):  # pycocotools prints
        built = DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True, 'serialize_data': False})
        built.data_list = built.load_data_list()
    folder = paths_of(dataset)[1]
    names = {info['img_id']: os.path.relpath(info['img_path'], folder) for info in built.data_list}
    empty = [
        info['img_id'] for info in built.data_list if all(instance.get('ignore_flag') for instance in info['instances'])
    ]
    findings.add('warning', 'images without boxes', [names[i] for i in empty[:EXAMPLES]], len(empty))
    if built.test_mode:
        return None
    # As in full_init of MMEngine's BaseDataset: `indices` counts the images that are left.
    built.data_list = built.filter_data()
    used = {info['img_id'] for info in built.data_list}
    others = [name for i, name in names.items() if i not in used]
    findings.add('warning', 'images that filter_cfg leaves out of training', others)
    indices = dataset.get('indices')
    return count_usable(built, built.data_list if indices is None else built._get_unserialized_subset(indices))


def _inspect_images(
    inspection: Inspection, findings: _Findings, images: list[dict], folder: str, load: Callable[[dict], dict | None]
) -> None:
    """Read every existing image, and check that it decodes and has the annotated size. Collects the hashes.

    Args:
        inspection: The inspection to fill.
        findings: What was found so far.
        images: The images of the annotation file.
        folder: Their folder.
        load: The step of the pipeline that loads an image.
    """
    existing = [image for image in images if _length(os.path.join(folder, image['file_name']))]
    loader = DataLoader(
        _ImageFiles([os.path.join(folder, image['file_name']) for image in existing], load),
        num_workers=min(READERS, os.cpu_count() or 1, len(existing)),
        worker_init_fn=_keep_messages,
        collate_fn=itemgetter(0),
    )
    with progress_bar() as progress:
        places: dict[str, list[str]] = {name: [] for name in ('unreadable', 'wrong', 'dark', 'complaint', 'pages')}
        for image, read in zip(existing, progress.track(loader, len(existing), description=inspection.split)):
            name, expected = image['file_name'], (image['height'], image['width'])
            if read.digest is not None and name not in inspection.hashes.setdefault(read.digest, []):
                inspection.hashes[read.digest].append(name)
            if read.shape is None:
                places['unreadable'].append(name)
            elif read.shape != expected:
                height, width = read.shape
                places['wrong'].append(f'{name}: {width} x {height} instead of {expected[1]} x {expected[0]}')
            if read.dark:
                places['dark'].append(name)
            if read.complaint:
                places['complaint'].append(f'{name}: {read.complaint}')
            if read.pages > 1:
                places['pages'].append(f'{name}: {read.pages}')
    for severity, what, fault in (
        (
            'error',
            'images that cannot be read: damaged, too large, in an unknown format or without permission',
            'unreadable',
        ),
        ('error', 'images of a different size than annotated', 'wrong'),
        (
            'warning',
            'images of 16 bits that are nearly black, because the loader keeps the upper 8 bits: scale them to all 16',
            'dark',
        ),
        ('warning', 'images that are read, but that the decoder complains about', 'complaint'),
        ('warning', 'images with several pages, of which the first is read', 'pages'),
    ):
        findings.add(severity, what, places[fault])
    findings.add(
        'warning',
        'images with identical content',
        [' = '.join(names) for names in inspection.hashes.values() if len(names) > 1],
    )


class _ReadImage(NamedTuple):
    """What is known of an image file.

    Attributes:
        digest: The hash of the file. None if it cannot be read.
        shape: Height and width of the image. None if it cannot be decoded.
        dark: It has 16 bits, and is nearly black with the upper 8 of them.
        complaint: What the decoder printed about it, such as libjpeg's "Corrupt JPEG data". Such an image may be gray
            or shifted in part.
        pages: The number of its pages, of which the loader reads the first.
    """

    digest: str | None = None
    shape: tuple[int, int] | None = None
    dark: bool = False
    complaint: str = ''
    pages: int = 1


class _ImageFiles(Dataset):
    """Image files, to be read in worker processes as in training.

    Threads would not do: libjpeg prints what it finds without the name of the file, and all threads print to one place.
    """

    def __init__(self, paths: list[str], load: Callable[[dict], dict | None]) -> None:
        self.paths = paths
        self.load = load

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> _ReadImage:
        os.ftruncate(STDERR, 0)
        os.lseek(STDERR, 0, os.SEEK_SET)
        read = _read(self.paths[index], self.load)
        if read.shape is None:
            return read
        os.lseek(STDERR, 0, os.SEEK_SET)
        lines = os.read(STDERR, 1000).decode(errors='replace').splitlines()
        return read._replace(complaint=lines[0].strip() if lines else '')


def _keep_messages(_: int) -> None:
    """Let a worker process write to a file what C libraries print. Python's own warnings are not about the image."""
    warnings.simplefilter('ignore')
    with TemporaryFile() as messages:
        os.dup2(messages.fileno(), STDERR)


def _loader(dataset: dict) -> Callable[[dict], dict | None]:
    """The first step of a dataset's pipeline that loads images. It decides on channels and on EXIF's orientation."""
    steps = dataset.get('pipeline') or ()
    loading = [step for step in steps if type_name(step).startswith('LoadImage')]
    return TRANSFORMS.build(loading[0] if loading else dict(type='LoadImageFromFile'))


def _length(path: str) -> int:
    """The size of a file in bytes, or 0 if it is missing."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _read(path: str, load: Callable[[dict], dict | None]) -> _ReadImage:
    """Read an image file, and decode it with the loader of the config."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return _ReadImage()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    try:
        check_pixels(path)
        loaded = load(dict(img_path=path))
        image = None if loaded is None else loaded['img']
    except Exception:  # each decoder has its own exceptions
        image = None
    if image is None:
        return _ReadImage(digest)
    return _ReadImage(digest, image.shape[:2], is_too_dark(path, image), pages=number_of_pages(path))


def _find_leaks(inspections: Iterable[Inspection]) -> None:
    """Find images that training shares with evaluation, or that two training files share.

    The content of a file decides, not its name. Adds to the findings of each inspection.
    """
    trained: dict[str, str] = {}
    files = []
    for inspection in sorted(inspections, key=lambda inspection: inspection.split != 'train'):
        training, findings = inspection.split == 'train', _Findings()
        if not training and os.path.realpath(inspection.ann_file) in files:
            # Users may do this on purpose, for example to see a model overfit. It is therefore a warning, not an error.
            findings.state(
                'warning', 'training reads the same file, so evaluation only shows what the model has memorized'
            )
        else:
            severity, where = ('warning', 'another training file') if training else ('error', 'the training data')
            findings.add(
                severity,
                f'images that are also in {where}',
                [
                    f'{name} = {trained[digest]}'
                    for digest, names in inspection.hashes.items()
                    if digest in trained
                    for name in names
                ],
            )
        inspection.findings += findings.listed()
        if training:
            trained.update({digest: names[0] for digest, names in inspection.hashes.items()})
            files.append(os.path.realpath(inspection.ann_file))


def draw_samples(cfg: Config, file: str, count: int = 9) -> None:
    """Draw training samples as the pipeline delivers them: after augmentation, with boxes, classes and masks.

    Args:
        cfg: The whole config. Its training data must have no errors.
        file: The picture to write. Its folder is created.
        count: The number of samples, spread evenly over the dataset. Defaults to 9.

    Raises:
        UserError: ``count`` is below 1.
    """
    if count < 1:
        raise UserError(f'expected at least 1 sample to draw; got {count}')
    use_safe_loaders()
    init_default_scope('mmdet')
    with redirect_stdout(io.StringIO()):  # pycocotools prints
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    chosen = spread(len(dataset), count)
    columns = int(np.ceil(np.sqrt(len(chosen))))
    figure = Figure(figsize=(4 * columns, 4 * -(-len(chosen) // columns)), layout='tight')
    for place, image in enumerate(_drawn(dataset, chosen), 1):
        axes = figure.add_subplot(-(-len(chosen) // columns), columns, place)
        axes.imshow(image)
        axes.axis('off')
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(file)) as part:
        figure.savefig(part, dpi=200)  # enough to read the labels in images of 1333 pixels


def _drawn(dataset: BaseDataset, indices: Iterable[int]) -> Iterator[np.ndarray]:
    """Draw samples of a dataset as RGB images."""
    # The metainfo of a ConcatDataset is a list if its parts differ.
    metainfo = next(detection_parts(dataset)).metainfo
    use_font_for(metainfo['classes'])
    visualizer = DetLocalVisualizer(vis_backends=[dict(type=LastPicture)])
    visualizer.dataset_meta = metainfo
    for i in indices:
        sample = dataset[int(i)]
        truth = sample['data_samples'].gt_instances
        truth.bboxes = get_box_tensor(truth.bboxes)
        # Pipelines load BGR, and photometric augmentation makes floats outside 0 to 255.
        # Those of one channel would be drawn in false colours.
        pixels = sample['inputs'].expand(3, -1, -1) if len(sample['inputs']) == 1 else sample['inputs']
        image = pixels.clamp(0, 255).byte().permute(1, 2, 0).numpy()[..., ::-1]
        yield draw(visualizer, np.ascontiguousarray(image), sample['data_samples'], draw_pred=False)
