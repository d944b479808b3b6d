import numpy as np
import pytest

from econvnext_mmdet.evaluation.coco_eval import CocoEvaluator
from econvnext_mmdet.reports.error_analysis import KINDS, confusion_matrix, find_errors, match_images

from ..scenes import make_scene

# Numbers from tidecv 1.0.1, the code of TIDE's authors, for the scene below: AP50, then the number and the cost of each
# kind. AP50 and costs are in per cent. tidecv counts the class without objects as an AP of 0, so its means are 3/4 of
# COCO's.
TIDE = dict(
    bbox=(
        18.679360762,
        (19, 2.97971413),
        (18, 0.63033545),
        (16, 0.19958717),
        (48, 1.50888199),
        (188, 15.48452649),
        (23, 6.85696367),
    ),
    segm=(
        17.658433919,
        (19, 2.97057553),
        (19, 1.77024274),
        (15, 0.18830351),
        (46, 1.28477980),
        (191, 15.67772179),
        (23, 6.51665472),
    ),
)


def scene_without_ties():
    """A scene without equal scores or crowd regions, and with at most 100 detections per image.

    tidecv and COCO differ in all three.
    """
    coco, entries = make_scene(0, images=30)
    coco['annotations'] = [annotation for annotation in coco['annotations'] if not annotation['iscrowd']]
    rng = np.random.default_rng(0)
    for entry in entries:
        entry['score'] = float(rng.random())
    kept, counts = [], {}
    for entry in sorted(entries, key=lambda entry: -entry['score']):
        counts[entry['image_id']] = counts.get(entry['image_id'], 0) + 1
        if counts[entry['image_id']] <= 100:
            kept.append(entry)
    return coco, kept


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_errors_equal_those_of_tidecv(iou_type):
    coco, entries = scene_without_ties()
    evaluator = CocoEvaluator(coco)
    errors = find_errors(list(match_images(evaluator, entries, iou_type)))
    ap50, *kinds = TIDE[iou_type]
    assert evaluator.evaluate(entries, iou_type).stats['AP50'] * 75 == pytest.approx(ap50, abs=1e-6)
    for kind, (count, cost) in zip(KINDS, kinds):
        assert errors[kind]['count'] == count, kind
        assert errors[kind]['cost'] * 75 == pytest.approx(cost, abs=1e-6), kind


def scene(objects, detections, crowds=()):
    """Evaluate one image of 100 x 100 pixels.

    Args:
        objects: (box, class) of each object.
        detections: (box, class, score) of each detection.
        crowds: (box, class) of each crowd region.

    Returns:
        The evaluator, the matches and the detections as entries of a results file.
    """
    coco = dict(
        images=[dict(id=1, file_name='a.jpg', height=100, width=100)],
        categories=[dict(id=i, name=f'class {i}') for i in (1, 2)],
        annotations=[],
    )
    for crowd, items in ((0, objects), (1, crowds)):
        coco['annotations'] += [
            dict(
                id=len(coco['annotations']) + i,
                image_id=1,
                bbox=box,
                category_id=label,
                area=box[2] * box[3],
                iscrowd=crowd,
            )
            for i, (box, label) in enumerate(items, 1)
        ]
    entries = [dict(image_id=1, bbox=box, category_id=label, score=score) for box, label, score in detections]
    evaluator = CocoEvaluator(coco)
    return evaluator, list(match_images(evaluator, entries, 'bbox')), entries


@pytest.mark.parametrize(
    'detection, kind',
    [
        (([0, 0, 20, 20], 2, 0.5), 'class'),
        (([0, 0, 20, 6], 1, 0.5), 'location'),
        (([0, 0, 20, 6], 2, 0.5), 'both'),
        (([50, 50, 20, 20], 1, 0.5), 'duplicate'),
        (([80, 0, 10, 10], 1, 0.5), 'background'),
    ],
)
def test_a_wrong_detection_counts_as_its_kind_of_error(detection, kind):
    """There are two objects, a correct detection of one of them, and a wrong detection."""
    _, matches, _ = scene([([50, 50, 20, 20], 1), ([0, 0, 20, 20], 1)], [([50, 50, 20, 20], 1, 0.9), detection])
    errors = find_errors(matches)
    assert {name for name in KINDS[:-1] if errors[name]['count']} == {kind}
    # With the class or location fixed, the wrong detection would find the other object. Otherwise it is missed.
    assert errors['missed']['count'] == (kind not in ('class', 'location'))


def test_detections_in_a_crowd_region_of_their_class_are_not_errors():
    evaluator, matches, entries = scene(
        [([0, 0, 20, 20], 1)],
        [([0, 0, 20, 20], 1, 0.9), ([60, 60, 10, 10], 1, 0.8), ([60, 60, 10, 10], 2, 0.8)],
        crowds=[([50, 50, 50, 50], 1)],
    )
    errors = find_errors(matches)
    assert {kind: error['count'] for kind, error in errors.items() if error['count']} == {'background': 1}
    assert matches[0].f1(0.5) == pytest.approx(2 / 3) and matches[0].f1(0.85) == 1
    assert confusion_matrix(evaluator, matches, 'bbox', 0.3).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_the_confusion_matrix_has_a_row_for_no_object_and_a_column_for_missed_objects():
    evaluator, matches, _ = scene(
        [([0, 0, 20, 20], 1), ([50, 50, 20, 20], 2), ([0, 50, 20, 20], 2)],
        [([0, 0, 20, 20], 2, 0.9), ([50, 50, 20, 18], 2, 0.8), ([80, 0, 10, 10], 1, 0.7), ([0, 50, 20, 20], 2, 0.1)],
    )
    assert confusion_matrix(evaluator, matches, 'bbox', 0.3).tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_the_confusion_matrix_counts_each_object_and_each_detection_once(iou_type):
    coco, entries = make_scene(1)
    evaluator = CocoEvaluator(coco)
    matches = list(match_images(evaluator, entries, iou_type))
    matrix = confusion_matrix(evaluator, matches, iou_type, 0.25)
    labels = [annotation['category_id'] for match in matches for annotation in match.annotations]
    detected = [
        entry['category_id']
        for match in matches
        for entry, ignored in zip(match.entries, match.ignored)
        if entry['score'] >= 0.25 and not ignored
    ]
    numbers = range(1, len(coco['categories']) + 1)
    assert matrix[:-1].sum(axis=1).tolist() == [labels.count(i) for i in numbers]
    assert matrix[:, :-1].sum(axis=0).tolist() == [detected.count(i) for i in numbers]


def test_the_confusion_matrix_does_not_depend_on_the_order_of_the_categories():
    coco, entries = make_scene(1)
    matrices = []
    for categories in (coco['categories'], coco['categories'][::-1]):
        evaluator = CocoEvaluator(dict(coco, categories=categories))
        names = [entry['name'] for entry in evaluator.evaluate(entries).classes]
        matrix = confusion_matrix(evaluator, list(match_images(evaluator, entries, 'bbox')), 'bbox', 0.3)
        matrices.append(
            {(a, b): matrix[i, j] for i, a in enumerate([*names, 'nothing']) for j, b in enumerate([*names, 'missed'])}
        )
    assert matrices[0] == matrices[1]


def test_an_object_without_any_detection_is_missed():
    _, matches, _ = scene([([0, 0, 20, 20], 1)], [])
    errors = find_errors(matches)
    assert errors['missed'] == dict(count=1, cost=0.0) and sum(error['count'] for error in errors.values()) == 1
