"""Where average precision is lost: errors by kind, confusion of classes, good and bad images."""
from collections import defaultdict
from dataclasses import dataclass
from typing import Dict, Iterator, List

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval.extra import PreviewResults
from pycocotools import mask as mask_utils

from .coco_eval import GEOMETRY, CocoEvaluator

# The kinds of TIDE (arXiv 2008.08115). An object that no detection found, and that mending a class or a location
# would not find either, is missed.
KINDS = ('class', 'location', 'both', 'duplicate', 'background', 'missed')
FOREGROUND, BACKGROUND = 0.5, 0.1  # its thresholds of IoU
MAX_DETECTIONS = 100  # COCO's, of a class in an image


@dataclass
class ImageMatches:
    """The detections of one image, by falling score, and its objects without crowd regions, matched at IoU 0.5.

    Attributes:
        image_id (int): COCO's id.
        entries (list[dict]): The n detections.
        annotations (list[dict]): The m objects.
        iou (ndarray): Shape (n, m).
        found (ndarray): For each detection the object of its class that it finds, -1 for none. Shape (n, ).
        ignored (ndarray): Which detections COCO counts neither right nor wrong: they find no object and lie in a
            crowd region of their class. Shape (n, ).
    """
    image_id: int
    entries: List[dict]
    annotations: List[dict]
    iou: np.ndarray
    found: np.ndarray
    ignored: np.ndarray

    def f1(self, score_thr: float) -> float:
        """Harmonic mean of precision and recall of the detections from a score on; 1 where there is nothing."""
        taken = np.array([entry['score'] >= score_thr for entry in self.entries], bool)
        right = int((self.found[taken] >= 0).sum())
        total = len(self.annotations) + int((~self.ignored[taken]).sum())
        return 2 * right / total if total else 1.


def match_images(evaluator: CocoEvaluator, entries: List[dict], iou_type: str) -> Iterator[ImageMatches]:
    """Match detections and objects as COCO's evaluation does at an IoU of 0.5, image by image in the ids' order.

    Args:
        evaluator (CocoEvaluator): With the ground truth.
        entries (list[dict]): Of a COCO results file.
        iou_type (str): 'bbox' or 'segm'.

    Yields:
        ImageMatches: Of each image of the ground truth.
    """
    coco = evaluator.coco
    by_image: Dict[int, List[dict]] = defaultdict(list)
    for entry in sorted(evaluator.kept(entries), key=lambda entry: -entry['score']):
        by_image[entry['image_id']].append(entry)
    for image_id in sorted(evaluator.image_sizes):
        counts: Dict[int, int] = defaultdict(int)
        kept = []
        for entry in by_image[image_id]:
            counts[entry['category_id']] += 1
            if counts[entry['category_id']] <= MAX_DETECTIONS:
                kept.append(entry)
        annotations = coco.imgToAnns.get(image_id, [])
        objects = [annotation for annotation in annotations if not annotation['iscrowd']]
        crowds = [annotation for annotation in annotations if annotation['iscrowd']]
        labels = _labels(kept)
        iou = _iou(coco, kept, objects, iou_type)
        found = _match(iou, labels[:, None] == _labels(objects))
        covered = (_iou(coco, kept, crowds, iou_type) >= FOREGROUND) & (labels[:, None] == _labels(crowds))
        yield ImageMatches(image_id, kept, objects, iou, found, (found < 0) & covered.any(axis=1))


def _labels(items: List[dict]) -> np.ndarray:
    return np.array([item['category_id'] for item in items], int)


def _iou(coco, entries: List[dict], annotations: List[dict], iou_type: str) -> np.ndarray:
    """Shape (n, m); of a crowd region the part of the detection that lies in it."""
    if not entries or not annotations:
        return np.zeros((len(entries), len(annotations)))
    if iou_type == 'bbox':
        shapes = [np.array([item['bbox'] for item in items], float) for items in (entries, annotations)]
    else:
        shapes = [[entry['segmentation'] for entry in entries], [coco.annToRLE(item) for item in annotations]]
    return np.asarray(mask_utils.iou(*shapes, [item['iscrowd'] for item in annotations]))


def _match(iou: np.ndarray, same_class: np.ndarray) -> np.ndarray:
    """Each detection in its turn takes the object of its class with the highest IoU that is still free."""
    found = np.full(len(iou), -1)
    possible = same_class & (iou >= FOREGROUND)
    for i in np.flatnonzero(possible.any(axis=1)):
        free = np.flatnonzero(possible[i])
        if free.size:
            found[i] = free[::-1][np.argmax(iou[i, free[::-1]])]  # of equals the last, as pycocotools
            possible[:, found[i]] = False
    return found


def find_errors(matches: List[ImageMatches]) -> Dict[str, dict]:
    """Break the errors down by kind, and what each kind costs in AP50, as TIDE does (arXiv 2008.08115).

    A wrong detection has the first kind that fits: ``location`` with an IoU of 0.1 to 0.5 with an object of its
    class, ``class`` from 0.5 on with one of another class, ``duplicate`` from 0.5 on with one of its class that a
    higher score found, ``background`` below 0.1 with every object, else ``both``. The cost of a kind is the AP50
    gained where its errors are mended: a class or location put right (for each object the best scored of both
    kinds, the others taken out), detections of the other kinds taken out, missed objects not counted.

    Args:
        matches (list[ImageMatches]): Of all images.

    Returns:
        dict[str, dict]: By kind: ``count`` and ``cost`` (of AP50, between 0 and 1).
    """
    scores, labels, kinds, right_labels = [], [], [], []
    objects: Dict[int, int] = defaultdict(int)
    missed: Dict[int, int] = defaultdict(int)
    for match in matches:
        gt_labels = _labels(match.annotations)
        covered = set(match.found[match.found >= 0].tolist())
        free = set(range(len(gt_labels))) - covered
        mendable = set()
        kind, mended = _kinds(match, gt_labels)
        for i in np.flatnonzero(~match.ignored):
            right_label = -1
            if mended[i] in free:
                if mended[i] not in mendable:
                    right_label = gt_labels[mended[i]]
                mendable.add(mended[i])
            scores.append(match.entries[i]['score'])
            labels.append(match.entries[i]['category_id'])
            kinds.append(kind[i])
            right_labels.append(right_label)
        for i, label in enumerate(gt_labels.tolist()):
            objects[label] += 1
            missed[label] += i in free - mendable
    scores, labels, kinds, right_labels = map(np.array, (scores, labels, kinds, right_labels))

    def mean_precision(kept, correct, labels, lacking):
        counts = {label: count - lacking.get(label, 0) for label, count in objects.items()}
        return np.mean([_average_precision(scores[kept & (labels == label)], correct[kept & (labels == label)], count)
                        for label, count in counts.items() if count] or [0.])

    correct = kinds == -1
    everything = np.ones_like(correct)
    before = mean_precision(everything, correct, labels, {})
    errors = {}
    for number, kind in enumerate(KINDS[:-1]):
        wrong = kinds == number
        put_right = wrong & (right_labels >= 0)
        after = mean_precision(~wrong | put_right, correct | put_right, np.where(put_right, right_labels, labels), {})
        errors[kind] = dict(count=int(wrong.sum()), cost=float(max(after - before, 0)))
    after = mean_precision(everything, correct, labels, missed)
    errors['missed'] = dict(count=sum(missed.values()), cost=float(max(after - before, 0)))
    return errors


def _kinds(match: ImageMatches, gt_labels: np.ndarray) -> tuple:
    """For each detection the index of its kind (-1: right), and the object that mending it would find or -1."""
    count = len(match.entries)
    if not len(gt_labels):
        return np.full(count, KINDS.index('background')), np.full(count, -1)
    same = _labels(match.entries)[:, None] == gt_labels
    own, other = np.where(same, match.iou, -1.), np.where(same, -1., match.iou)
    fits = [(match.found >= 0, -1),
            ((own.max(axis=1) >= BACKGROUND) & (own.max(axis=1) < FOREGROUND), KINDS.index('location')),
            (other.max(axis=1) >= FOREGROUND, KINDS.index('class')),
            (own.max(axis=1) >= FOREGROUND, KINDS.index('duplicate')),
            (match.iou.max(axis=1) < BACKGROUND, KINDS.index('background'))]
    kind = np.select([condition for condition, _ in fits], [number for _, number in fits], KINDS.index('both'))
    mended = np.select([kind == KINDS.index('location'), kind == KINDS.index('class')],
                       [own.argmax(axis=1), other.argmax(axis=1)], -1)
    return kind, mended


def _average_precision(scores: np.ndarray, correct: np.ndarray, objects: int) -> float:
    """COCO's average precision of one class: the mean of the precision at 101 recalls."""
    right = np.cumsum(correct[np.argsort(-scores, kind='mergesort')])
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    index = np.searchsorted(right / objects, np.linspace(0, 1, 101))
    return float(np.append(precision, np.zeros(1))[index].mean())


def confusion_matrix(evaluator: CocoEvaluator, matches: List[ImageMatches], iou_type: str,
                     score_thr: float) -> np.ndarray:
    """Which class is taken for which, at an IoU of 0.5 and whatever the classes.

    Args:
        evaluator (CocoEvaluator): With the ground truth.
        matches (list[ImageMatches]): Of all images.
        iou_type (str): 'bbox' or 'segm'.
        score_thr (float): The lowest score of a detection to count.

    Returns:
        ndarray: Shape (classes + 1, classes + 1): rows are the objects' classes, columns the detections', both by
        their ids; the last row has detections of nothing, the last column missed objects.
    """
    # Crowd regions are neither found nor missed, and what lies in them is no false alarm.
    objects = [dict(annotation) for match in matches for annotation in match.annotations]
    entries = [{key: entry[key] for key in ('image_id', 'category_id', 'score', GEOMETRY[iou_type])}
               for match in matches for entry, ignored in zip(match.entries, match.ignored)
               if not ignored and entry['score'] >= score_thr]
    # By their ids, as the evaluation has the classes.
    categories = sorted(evaluator.coco.dataset['categories'], key=lambda category: category['id'])
    ground_truth = COCO(dict(evaluator.coco.dataset, annotations=objects, categories=categories))
    library = PreviewResults(ground_truth, ground_truth.loadRes(entries), iou_type, iou_tresh=FOREGROUND)
    taken = library.compute_confusion_matrix()  # of nothing and missed in its last two columns, by class
    matrix = np.zeros((len(taken) + 1, len(taken) + 1), int)
    matrix[:-1, :-1], matrix[-1, :-1], matrix[:-1, -1] = taken[:, :-2], taken[:, -2], taken[:, -1]
    return matrix
