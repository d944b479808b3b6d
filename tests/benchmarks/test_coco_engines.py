import pytest

from econvnext_mmdet.benchmarks.coco_engines import compare_engines, comparison_table, make_boxes
from econvnext_mmdet.evaluation.coco_eval import ENGINES, CocoEvaluator
from econvnext_mmdet.utils.errors import UserError


def test_boxes_have_the_statistics_of_cocos_validation_set():
    coco, entries = make_boxes(images=500, classes=80, objects=7.3, detections=100, seed=0)
    assert len(coco['images']) == 500 and len(coco['categories']) == 80 and len(entries) == 50_000
    assert 3400 < len(coco['annotations']) < 3900  # COCO's validation set has 36,000 in ten times as many images
    small = sum(annotation['area'] < 32**2 for annotation in coco['annotations']) / len(coco['annotations'])
    assert 0.38 < small < 0.44
    assert 0.1 < CocoEvaluator(coco).evaluate(entries).stats['AP'] < 0.9
    assert make_boxes(3, 2, 4, 20, seed=1) == make_boxes(3, 2, 4, 20, seed=1) != make_boxes(3, 2, 4, 20, seed=2)


@pytest.mark.parametrize('change', [dict(images=0), dict(classes=0), dict(objects=0.0), dict(detections=1)])
def test_too_small_numbers_are_rejected(change):
    with pytest.raises(UserError, match='expected at least 1 image, 1 class and 2 detections per image'):
        make_boxes(**{**dict(images=2, classes=2, objects=2.0, detections=9, seed=0), **change})


def test_engines_are_compared_on_the_same_boxes():
    measured = compare_engines(images=200, classes=4, objects=7, detections=100, seed=0)
    assert list(measured) == list(ENGINES)
    assert all(0 < values['engine'] < values['total'] and values['memory'] > 0 for values in measured.values())
    table = comparison_table(measured).splitlines()
    assert table[0].split() == [*ENGINES, 'ratio']
    ratio = measured['pycocotools']['engine'] / measured['faster-coco-eval']['engine']
    assert table[1].split()[-1] == f'{ratio:.1f}'
    assert table[-1].endswith('differ by at most 0.0e+00')
