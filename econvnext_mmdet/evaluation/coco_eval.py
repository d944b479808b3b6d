"""COCO's average precision and recall of detections, by faster-coco-eval or by pycocotools."""
import io
import json
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..datasets.coco_format import check_annotations, find_bad_masks, find_broken_rle, is_rle
from ..errors import UserError
from ..files import load_json, no_garbage_collection

ENGINES = ('faster-coco-eval', 'pycocotools')
# COCO's twelve numbers in its order: precision over IoU 0.5 to 0.95, at 0.5 and at 0.75, of small (area below
# 32^2), medium and large (from 96^2) objects; recall with 1, 10 and 100 detections an image, then by size.
STATS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl')
GEOMETRY = dict(bbox='bbox', segm='segmentation')


@dataclass
class CocoResult:
    """An evaluation of boxes or masks.

    Attributes:
        stats (dict[str, float]): The twelve numbers of ``STATS``; -1 where there is no ground truth to find.
        classes (list[dict]): For each class, in the order of their ids, ``name``, ``objects`` (crowd regions left
            out) and six of the numbers, ``AP`` to ``APl``, with ``AR`` (100 detections).
        precision (ndarray): Shape (10 IoU thresholds, 101 recalls, classes, 4 areas, 3 limits of detections).
        scores (ndarray): The score at which each of these precisions is reached, of the same shape.
        iou_thrs (ndarray): The thresholds.
        seconds (float): What the engine took, from its ``evaluate`` to its ``summarize``.
        images (tuple[int, int]): How many images have detections, and how many there are.
    """
    stats: Dict[str, float]
    classes: List[dict]
    precision: np.ndarray
    scores: np.ndarray
    iou_thrs: np.ndarray
    seconds: float
    images: Tuple[int, int]


def _engine(name: str) -> tuple:
    """The classes COCO and COCOeval of an engine."""
    if name not in ENGINES:
        raise UserError(f'the engine is one of {", ".join(ENGINES)}; got {name!r}')
    if name == 'pycocotools':
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
        return COCO, COCOeval
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise UserError(f"faster-coco-eval does not import ({error}): `pip install faster-coco-eval`, or take "
                        "the engine 'pycocotools'") from error
    return COCO, COCOeval_faster


def coco_entries(image_id: int, instances: dict, cat_ids: Sequence[int]) -> List[dict]:
    """The detections of one image in COCO's results format.

    Args:
        image_id (int): COCO's id of the image.
        instances (dict): ``labels`` (n, ), ``bboxes`` (n, 4) as x1, y1, x2, y2 in pixels of the original image,
            ``scores`` (n, ), tensors or arrays, and, where the model predicts masks, ``masks``: n compressed
            RLEs.
        cat_ids (Sequence[int]): COCO's category id of each label.

    Returns:
        list[dict]: An entry a detection with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height),
        ``score`` and, with masks, ``segmentation``.
    """
    entries = []
    for label, box, score in zip(*(instances[key].tolist() for key in ('labels', 'bboxes', 'scores'))):
        entries.append(dict(image_id=image_id, category_id=cat_ids[label],
                            bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]], score=score))
    for entry, rle in zip(entries, instances.get('masks', ())):
        counts = rle['counts']
        entry['segmentation'] = dict(
            size=list(rle['size']), counts=counts.decode() if isinstance(counts, bytes) else counts)
    return entries


class CocoEvaluator:
    """Evaluates detections against a COCO ground truth.

    Both engines give the same numbers; faster-coco-eval is the faster by far.

    Args:
        coco (dict): The content of an annotation file, which it may change.
        engine (str): 'faster-coco-eval' or 'pycocotools'. Defaults to 'faster-coco-eval'.
        classes (Sequence[str], optional): The classes to evaluate; objects and detections of others are left out.
            Defaults to None: all.

    Raises:
        UserError: There is no such engine or class, the engine is not installed, or the ground truth lacks what
            COCO's evaluation reads of it.
    """

    def __init__(self, coco: dict, engine: str = 'faster-coco-eval', classes: Optional[Sequence[str]] = None):
        self._coco_class, self._eval_class = _engine(engine)
        coco.setdefault('annotations', [])  # a test set without labels may have none
        check_annotations(coco)
        if engine != 'pycocotools':
            for part in ('images', 'categories'):
                for item in coco[part]:
                    if not isinstance(item['id'], int):
                        raise UserError(f'{engine} takes numbers as ids of {part}, and here is {item["id"]!r}; take '
                                        "the engine 'pycocotools'")
        self._left_out = _leave_out(coco, classes)
        if not coco['categories']:
            raise UserError('there are no categories, and so nothing to evaluate')
        for image in coco['images']:
            image.update(height=int(image['height']), width=int(image['width']))  # 64.0 is no size of an RLE
        for i, annotation in enumerate(coco['annotations']):
            # The engines take the id of a match for true or false, and so an object with id 0 for unmatched.
            annotation['id'] = i + 1
            annotation.setdefault('iscrowd', 0)
        self.coco = self._load(coco)
        self.image_sizes = {image['id']: (image['height'], image['width']) for image in coco['images']}
        self.categories = {category['id']: category['name'] for category in coco['categories']}

    def _load(self, content: dict):
        coco = self._coco_class()
        coco.dataset = content
        with redirect_stdout(io.StringIO()):  # pycocotools prints
            coco.createIndex()
        return coco

    def evaluate(self, entries: List[dict], iou_type: str = 'bbox',
                 cat_ids: Optional[Sequence[int]] = None) -> CocoResult:
        """Evaluate detections.

        Args:
            entries (list[dict]): Of a COCO results file; left as they are. Those of classes that are left out do
                not count.
            iou_type (str): 'bbox' or 'segm'. An object's size is that of the annotation file, a detection's is
                that of its box or of its mask.
            cat_ids (Sequence[int], optional): The categories to evaluate. Defaults to None: all.

        Returns:
            CocoResult: The numbers, 0 where there are objects and no detections.

        Raises:
            UserError: An entry or an annotation lacks what the evaluation needs, or refers to no image or class.
        """
        key = GEOMETRY[iou_type]
        with no_garbage_collection(), redirect_stdout(io.StringIO()):  # pycocotools prints
            entries = self.kept(entries)
            self._check(entries, key)
            # Only what is evaluated: with a box there too, the engines would take it for the area of a mask.
            entries = [{name: entry[name] for name in ('image_id', 'category_id', 'score', key)} for entry in entries]
            if entries:
                detections = self.coco.loadRes(entries)
            else:  # which pycocotools' loadRes cannot
                detections = self._load(dict(self.coco.dataset, annotations=[]))
            engine = self._eval_class(self.coco, detections, iou_type)
            engine.params.catIds = list(self.categories if cat_ids is None else cat_ids)
            start = time.perf_counter()
            engine.evaluate()
            engine.accumulate()
            engine.summarize()
            seconds = time.perf_counter() - start
        precision, recall = engine.eval['precision'], engine.eval['recall']
        objects = np.zeros(len(engine.params.catIds), int)
        index = {category: i for i, category in enumerate(engine.params.catIds)}
        for annotation in self.coco.dataset['annotations']:
            if annotation['category_id'] in index and not annotation['iscrowd']:
                objects[index[annotation['category_id']]] += 1
        classes = [
            dict(name=self.categories[category], objects=int(objects[i]), **_precisions(precision[:, :, i, :, -1]),
                 AR=_mean(recall[:, i, 0, -1])) for category, i in index.items()]
        return CocoResult(dict(zip(STATS, map(float, engine.stats))), classes, precision, engine.eval['scores'],
                          np.asarray(engine.params.iouThrs), seconds,
                          (len({entry['image_id'] for entry in entries}), len(self.image_sizes)))

    @property
    def has_masks(self) -> bool:
        """Whether any object has a mask."""
        return any(annotation.get('segmentation') for annotation in self.coco.dataset['annotations'])

    @cached_property
    def _bad_masks(self) -> Dict[str, list]:
        return find_bad_masks(self.coco.dataset)  # once, not at each evaluation of a training

    def kept(self, entries: List[dict]) -> List[dict]:
        """The entries of a COCO results file without those of the classes that are left out."""
        if not self._left_out:
            return entries
        return [entry for entry in entries if not isinstance(entry, dict) or entry.get('category_id') not in
                self._left_out]

    def _check(self, entries: List[dict], key: str) -> None:
        """Check detections and masks of the ground truth."""
        try:
            for name, known in (('image_id', self.image_sizes), ('category_id', self.categories)):
                unknown = {entry[name] for entry in entries} - set(known)
                if unknown:
                    raise UserError(f'the annotation file has no {name} {sorted(unknown, key=str)[0]!r}, which '
                                    f'detections have, and {len(unknown)} such in all; are these the results of its '
                                    'images?')
            whole = _are_numbers([entry['score'] for entry in entries], (len(entries), ))
            if key == 'bbox':
                whole &= _are_numbers([entry[key] for entry in entries], (len(entries), 4))
            else:
                whole &= all(map(self._has_mask, entries))
        except UserError:
            raise
        except (KeyError, TypeError):
            whole = False
        if not whole:
            wrong = next(i for i, entry in enumerate(entries) if not self._is_detection(entry, key))
        elif key == 'segmentation':
            wrong = next(iter(find_broken_rle([entry[key] for entry in entries])), None)
        else:
            wrong = None
        if wrong is not None:
            raise UserError(f'entry {wrong} is no detection: expected image_id, category_id, a score and '
                            + ('a bbox of four numbers' if key == 'bbox' else
                               "a segmentation as compressed RLE of its image's size")
                            + f'; found {json.dumps(entries[wrong])[:200]}')
        if key == 'segmentation':
            for what, ids in self._bad_masks.items():
                if ids:
                    raise UserError(f'masks cannot be evaluated: the ground truth has {what}, {len(ids)} in all, as '
                                    f'that of annotation {ids[0]} (counted from 1)')

    def _has_mask(self, entry: dict) -> bool:
        mask = entry['segmentation']
        return is_rle(mask) and isinstance(mask['counts'], str) \
            and tuple(mask['size']) == self.image_sizes[entry['image_id']]

    def _is_detection(self, entry: Any, key: str) -> bool:
        try:
            return entry['image_id'] in self.image_sizes and entry['category_id'] in self.categories \
                and _are_numbers([entry['score']], (1, )) \
                and (_are_numbers(entry['bbox'], (4, )) if key == 'bbox' else self._has_mask(entry))
        except (KeyError, TypeError):
            return False


def _are_numbers(values: list, shape: tuple) -> bool:
    """Whether nested lists hold finite numbers in an array's shape; texts of numbers are none."""
    if values == []:
        return shape[0] == 0
    try:
        array = np.array(values)
    except ValueError:  # lists of different lengths
        return False
    return array.dtype.kind in 'iuf' and array.shape == shape and bool(np.isfinite(array).all())


def _leave_out(coco: dict, classes: Optional[Sequence[str]]) -> set:
    """Take all but some classes out of a ground truth; the ids of those that are taken out."""
    if classes is None:
        return set()
    names = [category['name'] for category in coco['categories']]
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise UserError(f'there is no class {", ".join(unknown)}; there are {", ".join(names)}')
    left_out = {category['id'] for category in coco['categories'] if category['name'] not in classes}
    for part, key in (('categories', 'id'), ('annotations', 'category_id')):
        coco[part] = [item for item in coco[part] if item[key] not in left_out]
    return left_out


def iou_types_of(evaluator: CocoEvaluator, *results: List[dict]) -> List[str]:
    """Of 'bbox' and 'segm' those that all of some results have, and, for masks, the ground truth too.

    A kind that some entries have and others lack is had: evaluating it says which lacks it. Results without one
    detection have both kinds, but alone boxes only.

    Raises:
        UserError: There is none.
    """
    had = [{key for key in GEOMETRY.values() if any(isinstance(entry, dict) and key in entry for entry in entries)}
           for entries in results if entries] or [{'bbox'}]
    common = set.intersection(*had)
    iou_types = [name for name, key in GEOMETRY.items()
                 if key in common and (name == 'bbox' or evaluator.has_masks)]
    if not iou_types:
        raise UserError('there is nothing to compare: neither do all results and the annotations have masks '
                        '("segmentation"), nor have all results boxes ("bbox")')
    return iou_types


def evaluate_files(annotations: str, results: str, iou_types: Optional[Sequence[str]] = None,
                   engine: str = ENGINES[0], classes: Optional[Sequence[str]] = None) -> Dict[str, CocoResult]:
    """Evaluate a COCO results file against a COCO annotation file.

    Args:
        annotations (str): The annotation file.
        results (str): The results file.
        iou_types (Sequence[str], optional): Of 'bbox' and 'segm'. Defaults to None: boxes or masks or both, as
            the files have them; boxes where there is not one detection.
        engine (str): 'faster-coco-eval' or 'pycocotools'. Defaults to 'faster-coco-eval'.
        classes (Sequence[str], optional): The classes to evaluate. Defaults to None: all of the annotation file.

    Returns:
        dict[str, CocoResult]: By kind of geometry.

    Raises:
        UserError: A file is missing, is malformed or does not belong to the other one.
    """
    coco, entries = load_json(annotations, dict), load_json(results, list)
    try:
        evaluator = CocoEvaluator(coco, engine, classes)
    except UserError as error:
        raise UserError(f'{annotations}: {error}') from None
    try:
        return {iou_type: evaluator.evaluate(entries, iou_type)
                for iou_type in iou_types or iou_types_of(evaluator, entries)}
    except UserError as error:
        raise UserError(f'{results} against {annotations}: {error}') from None


def _mean(values: np.ndarray) -> float:
    """COCO's mean: entries of -1 have no ground truth and do not count; -1 if none does."""
    there = values[values > -1]
    return float(there.mean()) if there.size else -1.0


def _precisions(precision: np.ndarray) -> Dict[str, float]:
    """The first six of ``STATS`` of one class's precision (10, 101, 4)."""
    everything = precision[..., 0]
    values = [everything, everything[0], everything[5], *(precision[..., i] for i in (1, 2, 3))]
    return {name: _mean(value) for name, value in zip(STATS, values)}
