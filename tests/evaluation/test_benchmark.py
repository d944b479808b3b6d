import pytest

from econvnext_mmdet.errors import UserError
from econvnext_mmdet.evaluation.benchmark import compare_engines, comparison_table, make_boxes
from econvnext_mmdet.evaluation.coco_eval import ENGINES, CocoEvaluator


def test_boxes_have_coco_vals_shape():
    coco, entries = make_boxes(images=500, classes=80, objects=7.3, detections=100, seed=0)
    assert len(coco['images']) == 500 and len(coco['categories']) == 80 and len(entries) == 50_000
    assert 3400 < len(coco['annotations']) < 3900  # a tenth of COCO val's 36,000
    small = sum(annotation['area'] < 32**2 for annotation in coco['annotations']) / len(coco['annotations'])
    assert 0.38 < small < 0.44
    assert 0.1 < CocoEvaluator(coco).evaluate(entries).stats['AP'] < 0.9
    assert make_boxes(3, 2, 4, 20, seed=1) == make_boxes(3, 2, 4, 20, seed=1) != make_boxes(3, 2, 4, 20, seed=2)


@pytest.mark.parametrize('change', [dict(images=0), dict(classes=0), dict(objects=0.), dict(detections=1)])
def test_no_boxes_at_all(change):
    with pytest.raises(UserError, match='expected an image, a class and more than 0 objects'):
        make_boxes(**{**dict(images=2, classes=2, objects=2., detections=9, seed=0), **change})


def test_engines_are_compared_on_the_same_boxes():
    measured = compare_engines(images=200, classes=4, objects=7, detections=100, seed=0)
    assert list(measured) == list(ENGINES)
    assert all(0 < values['engine'] < values['total'] and values['memory'] > 0 for values in measured.values())
    table = comparison_table(measured).splitlines()
    assert table[0].split() == [*ENGINES, 'ratio']
    ratio = measured['pycocotools']['engine'] / measured['faster-coco-eval']['engine']
    assert table[1].split()[-1] == f'{ratio:.1f}'
    assert table[-1].endswith('differ by at most 0.0e+00')
