"""COCO's average precision and recall, computed by faster-coco-eval or by pycocotools."""

import io
import json
import time
from collections.abc import Hashable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..utils.errors import UserError, errors_in
from ..utils.files import load_json, no_garbage_collection
from .coco_format import are_polygons, check_annotations, find_bad_masks, is_rle, rle_areas
from .coco_stats import COCO_STATS, PRECISION_STATS

ENGINES = ('faster-coco-eval', 'pycocotools')
# The fields of a results file that hold boxes and masks, by COCO's iouType.
GEOMETRY = dict(bbox='bbox', segm='segmentation')


@dataclass
class CocoResult:
    """The result of an evaluation of boxes or masks. As in COCO, a number is -1 if it has no ground truth.

    Attributes:
        stats: The twelve metrics of ``COCO_STATS``.
        classes: One dict per class, in the order of the file: ``name``, ``objects`` (their number without crowd
            regions) and the numbers of ``CLASS_STATS``.
        precision: Shape (10 IoU thresholds, 101 recalls, classes, 4 area ranges, 3 limits of detections). The area
            ranges are all, small, medium and large. The limits are 1, 10 and 100 detections per class and
            image.
        scores: The score at which each precision is reached. It has the same shape as ``precision``.
        iou_thrs: The IoU thresholds.
        seconds: The time from the engine's ``evaluate`` to its ``summarize``.
        images: The number of images with detections, and the number of all images.
    """

    stats: dict[str, float]
    classes: list[dict]
    precision: np.ndarray
    scores: np.ndarray
    iou_thrs: np.ndarray
    seconds: float
    images: tuple[int, int]


def _engine(name: str) -> tuple[Any, Any]:
    """The classes COCO and COCOeval of an engine."""
    if name not in ENGINES:
        raise UserError(f'the engine must be {" or ".join(ENGINES)}; got {name!r}')
    if name == 'pycocotools':
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise UserError(
            f'cannot import faster-coco-eval ({error}); run `pip install faster-coco-eval`, or use the engine '
            "'pycocotools'"
        ) from error
    return COCO, COCOeval_faster


def coco_entries(image_id: int, instances: dict, cat_ids: Sequence[int]) -> list[dict]:
    """Convert the detections of one image to COCO's results format.

    Args:
        image_id: COCO's id of the image.
        instances: Tensors or arrays: ``labels`` (n, ), ``bboxes`` (n, 4) as x1, y1, x2, y2 in pixels of the original
            image, and ``scores`` (n, ). If the model predicts masks, also ``masks``: n compressed RLEs.
        cat_ids: COCO's category id of each label. Detections of a label whose id is None are left out.

    Returns:
        One entry per detection with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height), ``score`` and, with
        masks, ``segmentation``.
    """
    entries = []
    for label, box, score in zip(*(instances[key].tolist() for key in ('labels', 'bboxes', 'scores'))):
        entries.append(
            dict(
                image_id=image_id,
                category_id=cat_ids[label],
                bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]],
                score=score,
            )
        )
    for entry, rle in zip(entries, instances.get('masks', ())):
        counts = rle['counts']
        entry['segmentation'] = dict(
            size=list(rle['size']), counts=counts.decode() if isinstance(counts, bytes) else counts
        )
    return [entry for entry in entries if entry['category_id'] is not None]


class CocoEvaluator:
    """Evaluates detections against a COCO ground truth.

    Both engines give the same numbers. faster-coco-eval is much faster.

    An id in the file may be any whole number or string. faster-coco-eval would round large numbers, so both engines get
    numbers from 1, in the order of the file, in place of the ids.

    Args:
        coco: The content of an annotation file.
        engine: 'faster-coco-eval' or 'pycocotools'. Defaults to 'faster-coco-eval'.
        classes: The classes to evaluate. Objects and detections of other classes do not count. Defaults to None: all.

    Attributes:
        image_sizes: Height and width of each image in pixels, by the id of the file.
        file_names: The file name of each image, by the id of the file.
        categories: The name of each class to evaluate, by the id of the file.
        coco: The engine's COCO object. It has numbers in place of ids.

    Raises:
        UserError: The engine does not exist or is not installed, a class does not exist, or the ground truth lacks
            something that COCO's evaluation reads.
    """

    def __init__(self, coco: dict, engine: str = ENGINES[0], classes: Sequence[str] | None = None):
        self._coco_class, self._eval_class = _engine(engine)
        coco = {'annotations': [], **coco}  # a test set without labels may lack them
        check_annotations(coco)
        self._left_out = _leave_out(coco, classes)
        if not coco['categories']:
            raise UserError('the annotation file has no categories, so there is nothing to evaluate')
        # The size in an RLE is a whole number, so 64.0 must become 64.
        self.image_sizes = {image['id']: (int(image['height']), int(image['width'])) for image in coco['images']}
        self.file_names = {image['id']: image['file_name'] for image in coco['images']}
        self.categories = {category['id']: category['name'] for category in coco['categories']}
        self._numbers = dict(image_id=_number(self.image_sizes), category_id=_number(self.categories))
        images = [
            {**image, 'id': number, 'height': height, 'width': width}
            for number, (image, (height, width)) in enumerate(zip(coco['images'], self.image_sizes.values()), 1)
        ]
        categories = [{**category, 'id': number} for number, category in enumerate(coco['categories'], 1)]
        # The engines use the id of a match as true or false, so an object with id 0 would count as unmatched.
        annotations = [
            {'iscrowd': 0, **annotation, 'id': number} for number, annotation in enumerate(coco['annotations'], 1)
        ]
        coco = dict(coco, images=images, categories=categories, annotations=self._numbered(annotations))
        self.coco = self._load(coco)

    @classmethod
    def from_file(cls, path: str, engine: str = ENGINES[0], classes: Sequence[str] | None = None) -> 'CocoEvaluator':
        """Read the ground truth from an annotation file. Every error names the file.

        See the class for ``engine`` and ``classes``.

        Raises:
            UserError: Same as for the class, and if the file cannot be read.
        """
        _engine(engine)  # an unknown engine is not an error of the file
        coco = load_json(path, dict)
        with errors_in(path):
            return cls(coco, engine, classes)

    def _load(self, content: dict) -> Any:
        """Make the engine's COCO object from the content of an annotation file."""
        coco = self._coco_class()
        coco.dataset = content
        with redirect_stdout(io.StringIO()):  # pycocotools prints
            coco.createIndex()
        return coco

    def evaluate(self, entries: list[dict], iou_type: str = 'bbox', cat_ids: Sequence[int] | None = None) -> CocoResult:
        """Evaluate detections.

        Args:
            entries: The content of a COCO results file. It is not changed. Detections of classes that the evaluator
                leaves out do not count. A mask may also be a list of polygons.
            iou_type: 'bbox' or 'segm'. The area of an object is the one in the annotation file. The area of a detection
                is that of its box or of its mask.
            cat_ids: The categories to evaluate. Defaults to None: all.

        Returns:
            The numbers. They are 0 if there are objects but no detections.

        Raises:
            UserError: An entry or an annotation lacks something that the evaluation needs, or refers to an image or
                class that does not exist.
        """
        key = GEOMETRY[iou_type]
        with no_garbage_collection(), redirect_stdout(io.StringIO()):  # pycocotools prints
            entries = self._kept(entries, key)
            areas = self._check(entries, key)
            detections = self._detections(self._numbered(entries), key, areas)
            engine = self._eval_class(self.coco, detections, iou_type)
            numbers = self._numbers['category_id']
            engine.params.catIds = [numbers[id] for id in (self.categories if cat_ids is None else cat_ids)]
            start = time.perf_counter()
            engine.evaluate()
            engine.accumulate()
            engine.summarize()
            seconds = time.perf_counter() - start
        precision, recall = engine.eval['precision'], engine.eval['recall']
        objects = np.zeros(len(engine.params.catIds), int)
        index = {category: i for i, category in enumerate(engine.params.catIds)}  # COCO's evaluation sorts them
        names = list(self.categories.values())
        for annotation in self.coco.dataset['annotations']:
            if annotation['category_id'] in index and not annotation['iscrowd']:
                objects[index[annotation['category_id']]] += 1
        classes = [
            dict(
                name=names[category - 1],
                objects=int(objects[i]),
                **_precisions(precision[:, :, i, :, -1]),
                AR=coco_mean(recall[:, i, 0, -1]),
            )
            for category, i in index.items()
        ]
        return CocoResult(
            dict(zip(COCO_STATS, map(float, engine.stats))),
            classes,
            precision,
            engine.eval['scores'],
            np.asarray(engine.params.iouThrs),
            seconds,
            (len({entry['image_id'] for entry in entries}), len(self.image_sizes)),
        )

    @property
    def has_masks(self) -> bool:
        """Whether any object has a mask."""
        return any(annotation.get('segmentation') for annotation in self.coco.dataset['annotations'])

    @cached_property
    def _bad_masks(self) -> dict[str, list]:
        return find_bad_masks(self.coco.dataset).bad  # cached, because a training run evaluates many times

    def numbered(self, entries: list[dict], iou_type: str) -> list[dict]:
        """The entries of a COCO results file, with the numbers of ``coco`` in place of the ids, and masks as RLE.

        Entries of classes that the evaluator leaves out are missing in the result.

        Args:
            entries: The content of the file, which :meth:`evaluate` has accepted.
            iou_type: 'bbox' or 'segm'.
        """
        return self._numbered(self._kept(entries, GEOMETRY[iou_type]))

    def _numbered(self, entries: list[dict]) -> list[dict]:
        return [{**entry, **{key: numbers[entry[key]] for key, numbers in self._numbers.items()}} for entry in entries]

    def _kept(self, entries: list[dict], key: str) -> list[dict]:
        """The entries of a COCO results file, without classes that the evaluator leaves out, and with masks as RLE."""
        if self._left_out:
            entries = [
                entry
                for entry in entries
                if not isinstance(entry, dict) or entry.get('category_id') not in self._left_out
            ]
        return list(map(self._compressed, entries)) if key == 'segmentation' else entries

    def _compressed(self, entry: Any) -> Any:
        """An entry with a compressed RLE in place of polygons or of an uncompressed RLE, which other tools write."""
        image_id = entry.get('image_id') if isinstance(entry, dict) else None
        if not isinstance(image_id, Hashable) or image_id not in self.image_sizes:
            return entry
        mask: Any = entry.get('segmentation')
        if isinstance(mask, dict) and isinstance(mask.get('counts'), str):
            return entry
        from pycocotools import mask as mask_utils  # the backbone works without it

        height, width = self.image_sizes[image_id]
        if isinstance(mask, list) and are_polygons(mask):
            rle = mask_utils.merge(mask_utils.frPyObjects(mask, height, width))
        elif is_rle(mask) and [height, width] == mask['size'] and sum(mask['counts']) == height * width:
            rle = mask_utils.frPyObjects(mask, height, width)
        else:
            return entry
        return {**entry, 'segmentation': dict(size=rle['size'], counts=rle['counts'].decode())}

    def _detections(self, entries: list[dict], key: str, areas: Sequence[float]) -> Any:
        """Make the engine's COCO object from entries with numbers. The engines' ``loadRes`` is slow for masks."""
        # Without this selection, the engines would compute the area of a mask from the box in the same entry.
        names = ('image_id', 'category_id', 'score', key)
        detections = [
            {'id': number, 'iscrowd': 0, 'area': area, **{name: entry[name] for name in names}}
            for number, (entry, area) in enumerate(zip(entries, areas), 1)
        ]
        return self._load(dict(self.coco.dataset, annotations=detections))

    def _check(self, entries: list[dict], key: str) -> list[float]:
        """Check the detections, and for masks also the ground truth. Returns the areas of the boxes or masks."""
        try:
            for name, known in (('image_id', self.image_sizes), ('category_id', self.categories)):
                unknown = {entry[name] for entry in entries} - set(known)
                if unknown:
                    raise UserError(
                        f'the detections have {len(unknown)} values of {name} that are not in the annotation file, for '
                        f'example {sorted(unknown, key=str)[0]!r}; check that both files belong to the same dataset'
                    )
            whole = _as_numbers([entry['score'] for entry in entries], (len(entries),)) is not None
            if key == 'bbox':
                whole &= _are_boxes([entry[key] for entry in entries])
            else:
                whole &= all(map(self._has_mask, entries))
        except UserError:
            raise
        except (KeyError, TypeError):
            whole = False
        # After classes are left out, a position in the list is not a position in the file, so no position is given.
        wrong: int | None = None
        areas: list[float] = []
        if not whole:
            wrong = next(i for i, entry in enumerate(entries) if not self._is_detection(entry, key))
        elif key == 'bbox':
            areas = [box[2] * box[3] for box in (entry[key] for entry in entries)]
        else:
            areas = rle_areas([entry[key] for entry in entries]).tolist()
            wrong = areas.index(-1) if -1 in areas else None
        if wrong is not None:
            place = 'an entry' if self._left_out else f'entry {wrong} (counted from 0)'
            raise UserError(
                f'{place} is not a detection: expected image_id, category_id, a score and '
                + (
                    'a bbox of four numbers, with width and height of at least 0'
                    if key == 'bbox'
                    else 'a segmentation: polygons, or an RLE with the size of its image'
                )
                + f'; found {json.dumps(entries[wrong])[:200]}'
            )
        if key == 'segmentation':
            for what, ids in self._bad_masks.items():
                if ids:
                    example = '' if self._left_out else f', for example annotation {ids[0]} (counted from 1)'
                    raise UserError(
                        f'masks cannot be evaluated: the ground truth has {len(ids)} {what}{example}; correct them, or '
                        "evaluate only 'bbox'"
                    )
        return areas

    def _has_mask(self, entry: dict) -> bool:
        """Whether the mask of an entry has the form of a compressed RLE with the size of its image."""
        mask = entry['segmentation']
        return (
            is_rle(mask)
            and isinstance(mask['counts'], str)
            and tuple(mask['size']) == self.image_sizes[entry['image_id']]
        )

    def _is_detection(self, entry: Any, key: str) -> bool:
        """Whether something is an entry of a results file with a score and a box or mask."""
        try:
            return (
                entry['image_id'] in self.image_sizes
                and entry['category_id'] in self.categories
                and _as_numbers([entry['score']], (1,)) is not None
                and (_are_boxes([entry['bbox']]) if key == 'bbox' else self._has_mask(entry))
            )
        except (KeyError, TypeError):
            return False


def _number(ids: Iterable) -> dict[Any, int]:
    """Numbers from 1 for ids."""
    return {id: number for number, id in enumerate(ids, 1)}


def _are_boxes(values: list) -> bool:
    """Whether a list holds boxes: x, y, width and height, finite numbers, the sides not negative."""
    boxes = _as_numbers(values, (len(values), 4))
    return boxes is not None and bool((boxes[:, 2:] >= 0).all())


def _as_numbers(values: list, shape: tuple) -> np.ndarray | None:
    """Nested lists as an array, or None if they do not hold finite numbers in the given shape. Texts are no numbers."""
    if not values:
        return np.empty(shape)
    try:
        array = np.array(values)
    except ValueError:  # lists of different lengths
        return None
    fits = array.dtype.kind in 'iuf' and array.shape == shape and np.isfinite(array).all()
    return array if fits else None


def _leave_out(coco: dict, classes: Sequence[str] | None) -> set:
    """Remove the classes that are not in ``classes``, with their objects, and return the ids of the removed classes."""
    if classes is None:
        return set()
    names = [category['name'] for category in coco['categories']]
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise UserError(f'the annotation file has no class {", ".join(unknown)}; it has {", ".join(names)}')
    left_out = {category['id'] for category in coco['categories'] if category['name'] not in classes}
    for part, key in (('categories', 'id'), ('annotations', 'category_id')):
        coco[part] = [item for item in coco[part] if item[key] not in left_out]
    return left_out


def iou_types_of(evaluator: CocoEvaluator, *results: list[dict]) -> list[str]:
    """Find what can be evaluated: 'bbox' if all results have boxes, 'segm' if they and the ground truth have masks.

    One entry with a box or mask per file is enough here, because the evaluation rejects entries without one. A file
    without detections counts as having both. If no file has a detection, only boxes are evaluated.

    Args:
        evaluator: The ground truth.
        *results: The contents of COCO results files.

    Raises:
        UserError: Neither can be evaluated.
    """
    found = [
        # Other tools write an empty segmentation beside each box.
        {key for key in GEOMETRY.values() if any(isinstance(entry, dict) and entry.get(key) for entry in entries)}
        for entries in results
        if entries
    ] or [{'bbox'}]
    common = set.intersection(*found)
    iou_types = [name for name, key in GEOMETRY.items() if key in common and (name == 'bbox' or evaluator.has_masks)]
    if not iou_types:
        raise UserError(
            'there is nothing to evaluate: expected boxes ("bbox") in all results, or masks ("segmentation") in all '
            'results and in the annotation file'
        )
    return iou_types


def evaluate_files(
    annotations: str,
    results: str,
    iou_types: Sequence[str] | None = None,
    engine: str = ENGINES[0],
    classes: Sequence[str] | None = None,
) -> dict[str, CocoResult]:
    """Evaluate a COCO results file against a COCO annotation file.

    Args:
        annotations: The annotation file.
        results: The results file.
        iou_types: 'bbox', 'segm' or both. Defaults to None: those for which :func:`iou_types_of` finds data.
        engine: 'faster-coco-eval' or 'pycocotools'. Defaults to 'faster-coco-eval'.
        classes: The classes to evaluate. Defaults to None: all classes of the annotation file.

    Returns:
        A dict from 'bbox' and 'segm' to the results.

    Raises:
        UserError: A file is missing or malformed, or the files do not belong together.
    """
    entries = load_json(results, list)
    evaluator = CocoEvaluator.from_file(annotations, engine, classes)
    with errors_in(f'{results} against {annotations}'):
        return {
            iou_type: evaluator.evaluate(entries, iou_type)
            for iou_type in iou_types or iou_types_of(evaluator, entries)
        }


def coco_mean(values: np.ndarray) -> float:
    """COCO's mean of precisions or recalls.

    A value of -1 has no ground truth and does not count. If all values are -1, the mean is -1.
    """
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0


def _precisions(precision: np.ndarray) -> dict[str, float]:
    """The numbers of ``PRECISION_STATS`` from the precision of one class, shape (10, 101, 4)."""
    all_areas = precision[..., 0]
    values = [all_areas, all_areas[0], all_areas[5], *(precision[..., i] for i in (1, 2, 3))]
    return {name: coco_mean(value) for name, value in zip(PRECISION_STATS, values)}
