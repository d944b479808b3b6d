"""Where average precision is lost: kinds of errors, class confusion, good and bad images."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval.extra import PreviewResults
from pycocotools import mask as mask_utils

from ..evaluation.coco_eval import GEOMETRY, CocoEvaluator

# The kinds of errors in TIDE (arXiv 2008.08115). An object is missed if no detection finds it, not even after the class
# or the location of a detection is fixed.
KINDS = ('class', 'location', 'both', 'duplicate', 'background', 'missed')
FOREGROUND, BACKGROUND = 0.5, 0.1  # TIDE's IoU thresholds
MAX_DETECTIONS = 100  # COCO's limit per class and image


@dataclass
class ImageMatches:
    """The detections in one image (highest score first), its objects (no crowd regions), and the matches at IoU 0.5.

    Attributes:
        image_id: The id of the image in the annotation file.
        entries: The n detections, with numbers in place of ids.
        annotations: The m objects, with numbers in place of ids.
        iou: The IoU of each detection and each object. Shape (n, m).
        found: For each detection, the index of the object of the same class that it finds, or -1. Shape (n, ).
        ignored: Whether COCO ignores the detection, because it finds no object and lies in a crowd region of its class.
            Shape (n, ).
    """

    image_id: int | str
    entries: list[dict]
    annotations: list[dict]
    iou: np.ndarray
    found: np.ndarray
    ignored: np.ndarray

    def f1(self, score_thr: float) -> float:
        """The F1 score: the harmonic mean of precision and recall.

        It is 1 if there is nothing to find and nothing was detected.

        Args:
            score_thr: The lowest score of a detection that counts.
        """
        counted = np.array([entry['score'] >= score_thr for entry in self.entries], bool)
        correct = int((self.found[counted] >= 0).sum())
        total = len(self.annotations) + int((~self.ignored[counted]).sum())
        return 2 * correct / total if total else 1.0


def match_images(evaluator: CocoEvaluator, entries: list[dict], iou_type: str) -> Iterator[ImageMatches]:
    """Match detections and objects at an IoU of 0.5, as COCO's evaluation does.

    Args:
        evaluator: The ground truth.
        entries: The content of a COCO results file.
        iou_type: 'bbox' or 'segm'.

    Yields:
        The matches of every image of the ground truth, in the order of the file.
    """
    coco = evaluator.coco
    by_image: dict[int, list[dict]] = defaultdict(list)
    for entry in sorted(evaluator.numbered(entries, iou_type), key=lambda entry: -entry['score']):
        by_image[entry['image_id']].append(entry)
    for image_id, number in zip(evaluator.image_sizes, coco.imgs):
        counts: dict[int, int] = defaultdict(int)
        kept = []
        for entry in by_image[number]:
            counts[entry['category_id']] += 1
            if counts[entry['category_id']] <= MAX_DETECTIONS:
                kept.append(entry)
        annotations = coco.imgToAnns.get(number, [])
        objects = [annotation for annotation in annotations if not annotation['iscrowd']]
        crowds = [annotation for annotation in annotations if annotation['iscrowd']]
        labels = _labels(kept)
        iou = _iou(coco, kept, objects, iou_type)
        found = _match(iou, labels[:, None] == _labels(objects))
        covered = (_iou(coco, kept, crowds, iou_type) >= FOREGROUND) & (labels[:, None] == _labels(crowds))
        yield ImageMatches(image_id, kept, objects, iou, found, (found < 0) & covered.any(axis=1))


def _labels(items: list[dict]) -> np.ndarray:
    return np.array([item['category_id'] for item in items], int)


def _iou(coco: Any, entries: list[dict], annotations: list[dict], iou_type: str) -> np.ndarray:
    """The IoU of detections and objects, shape (n, m). For a crowd region, it is the share of the detection inside it.

    Args:
        coco: The COCO object of the ground truth.
        entries: The n detections.
        annotations: The m objects or crowd regions.
        iou_type: 'bbox' or 'segm'.
    """
    if not entries or not annotations:
        return np.zeros((len(entries), len(annotations)))
    shapes: list
    if iou_type == 'bbox':
        shapes = [np.array([item['bbox'] for item in items], float) for items in (entries, annotations)]
    else:
        shapes = [[entry['segmentation'] for entry in entries], [coco.annToRLE(item) for item in annotations]]
    return np.asarray(mask_utils.iou(*shapes, [item['iscrowd'] for item in annotations]))


def _match(iou: np.ndarray, same_class: np.ndarray) -> np.ndarray:
    """Give each detection in turn the free object of its class with the highest IoU. Returns the indices, or -1."""
    found = np.full(len(iou), -1)
    possible = same_class & (iou >= FOREGROUND)
    for i in np.flatnonzero(possible.any(axis=1)):
        free = np.flatnonzero(possible[i])
        if free.size:
            # Of equal IoUs, the last one counts, as in pycocotools.
            found[i] = free[::-1][np.argmax(iou[i, free[::-1]])]
            possible[:, found[i]] = False
    return found


def find_errors(matches: list[ImageMatches]) -> dict[str, dict]:
    """Count the errors of each kind, and compute how much AP50 each kind costs, as in TIDE (arXiv 2008.08115).

    A wrong detection has the first kind that fits:

    - ``location``: its highest IoU with an object of its class is at least 0.1 and below 0.5.
    - ``class``: its IoU with an object of a different class is at least 0.5.
    - ``duplicate``: its IoU with an object of its class is at least 0.5, but a detection with a higher score found it.
    - ``background``: its IoU with every object is below 0.1.
    - ``both``: everything else.

    The cost of a kind is the AP50 gained by fixing its errors. A fixed location or class error becomes a correct
    detection, but only if no detection finds its object and no other location or class error of this object has a
    higher score. All other wrong detections of the kind are removed. The cost of ``missed`` is the AP50 gained by not
    counting these objects.

    Args:
        matches: The matches of all images.

    Returns:
        A dict from each kind to its ``count`` and its ``cost`` (AP50 between 0 and 1).
    """
    score_list: list[float] = []
    label_list: list[int] = []
    kind_list: list[int] = []
    fixed_list: list[int] = []  # the label after the error is fixed, -1 if the detection is removed
    objects: dict[int, int] = defaultdict(int)
    missed: dict[int, int] = defaultdict(int)
    for match in matches:
        gt_labels = _labels(match.annotations)
        covered = set(match.found[match.found >= 0].tolist())
        free = set(range(len(gt_labels))) - covered
        fixable = set()
        match_kinds, targets = _kinds(match, gt_labels)
        for i in np.flatnonzero(~match.ignored):
            fixed_label = -1
            if targets[i] in free:
                if targets[i] not in fixable:
                    fixed_label = gt_labels[targets[i]]
                fixable.add(targets[i])
            score_list.append(match.entries[i]['score'])
            label_list.append(match.entries[i]['category_id'])
            kind_list.append(match_kinds[i])
            fixed_list.append(fixed_label)
        for i, label in enumerate(gt_labels.tolist()):
            objects[label] += 1
            missed[label] += i in free - fixable
    scores, labels, kinds, fixed_labels = map(np.array, (score_list, label_list, kind_list, fixed_list))

    def ap50(kept: np.ndarray, correct: np.ndarray, labels: np.ndarray, not_counted: dict[int, int]) -> float:
        counts = {label: count - not_counted.get(label, 0) for label, count in objects.items()}
        precisions = [
            _average_precision(scores[kept & (labels == label)], correct[kept & (labels == label)], count)
            for label, count in counts.items()
            if count
        ] or [0.0]
        return float(np.mean(precisions))

    correct = kinds == -1
    everything = np.ones_like(correct)
    before = ap50(everything, correct, labels, {})
    errors = {}
    for number, kind in enumerate(KINDS[:-1]):
        wrong = kinds == number
        fixed = wrong & (fixed_labels >= 0)
        after = ap50(~wrong | fixed, correct | fixed, np.where(fixed, fixed_labels, labels), {})
        errors[kind] = dict(count=int(wrong.sum()), cost=float(max(after - before, 0)))
    after = ap50(everything, correct, labels, missed)
    errors['missed'] = dict(count=sum(missed.values()), cost=float(max(after - before, 0)))
    return errors


def _kinds(match: ImageMatches, gt_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classify the detections of an image.

    Args:
        match: The matches of the image.
        gt_labels: The labels of its objects.

    Returns:
        For each detection, the index of its kind, or -1 if it is correct; and the index of the object that it would
        find if its class or location were fixed, or -1.
    """
    count = len(match.entries)
    if not len(gt_labels):
        return np.full(count, KINDS.index('background')), np.full(count, -1)
    same = _labels(match.entries)[:, None] == gt_labels
    own, other = np.where(same, match.iou, -1.0), np.where(same, -1.0, match.iou)
    fits = [
        (match.found >= 0, -1),
        ((own.max(axis=1) >= BACKGROUND) & (own.max(axis=1) < FOREGROUND), KINDS.index('location')),
        (other.max(axis=1) >= FOREGROUND, KINDS.index('class')),
        (own.max(axis=1) >= FOREGROUND, KINDS.index('duplicate')),
        (match.iou.max(axis=1) < BACKGROUND, KINDS.index('background')),
    ]
    kind = np.select([condition for condition, _ in fits], [number for _, number in fits], KINDS.index('both'))
    target = np.select(
        [kind == KINDS.index('location'), kind == KINDS.index('class')], [own.argmax(axis=1), other.argmax(axis=1)], -1
    )
    return kind, target


def _average_precision(scores: np.ndarray, correct: np.ndarray, objects: int) -> float:
    """COCO's average precision of one class: the mean precision at 101 recalls.

    Args:
        scores: The scores of the n detections of the class.
        correct: Whether each detection is correct. Shape (n, ).
        objects: The number of objects of the class.
    """
    found = np.cumsum(correct[np.argsort(-scores, kind='mergesort')])
    precision = np.maximum.accumulate((found / np.arange(1, len(found) + 1))[::-1])[::-1]
    index = np.searchsorted(found / objects, np.linspace(0, 1, 101))
    return float(np.append(precision, np.zeros(1))[index].mean())


def confusion_matrix(
    evaluator: CocoEvaluator, matches: list[ImageMatches], iou_type: str, score_thr: float
) -> np.ndarray:
    """Count which class is detected as which, with matches at an IoU of 0.5 regardless of the classes.

    Args:
        evaluator: The ground truth.
        matches: The matches of all images.
        iou_type: 'bbox' or 'segm'.
        score_thr: The lowest score of a detection that counts.

    Returns:
        The counts, shape (classes + 1, classes + 1). Rows are the classes of the objects, columns are the classes of
        the detections, both in the order of the file. The last row counts detections without an object, the last column
        missed objects.
    """
    # Crowd regions do not count as objects, and detections in them are not false alarms.
    objects = [dict(annotation) for match in matches for annotation in match.annotations]
    entries = [
        {key: entry[key] for key in ('image_id', 'category_id', 'score', GEOMETRY[iou_type])}
        for match in matches
        for entry, ignored in zip(match.entries, match.ignored)
        if not ignored and entry['score'] >= score_thr
    ]
    ground_truth = COCO(dict(evaluator.coco.dataset, annotations=objects))
    library = PreviewResults(ground_truth, ground_truth.loadRes(entries), iou_type, iou_tresh=FOREGROUND)
    # Its last two columns are, for each class, the detections without an object and the missed objects.
    counts = library.compute_confusion_matrix()
    matrix = np.zeros((len(counts) + 1, len(counts) + 1), int)
    matrix[:-1, :-1], matrix[-1, :-1], matrix[:-1, -1] = counts[:, :-2], counts[:, -2], counts[:, -1]
    return matrix
