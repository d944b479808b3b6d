import copy
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pycocotools import mask

from econvnext_mmdet.benchmarks import coco_engines, device
from econvnext_mmdet.benchmarks.coco_engines import add_masks, compare_engines, comparison_table, make_boxes
from econvnext_mmdet.benchmarks.memory import check_memory
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


@pytest.mark.parametrize(
    'change',
    [
        dict(images=0),
        dict(classes=0),
        *(dict(objects=value) for value in (0.0, -1.0, math.nan, math.inf, 1e300)),
        dict(detections=1),
        dict(seed=-1),
    ],
)
def test_numbers_out_of_range_are_rejected(change):
    with pytest.raises(UserError, match='expected at least 1 image, 1 class and 2 detections per image'):
        make_boxes(**{**dict(images=2, classes=2, objects=2.0, detections=9, seed=0), **change})


@pytest.fixture(scope='module')
def masks():
    coco, entries = make_boxes(images=200, classes=20, objects=7.3, detections=100, seed=0)
    add_masks(coco, entries, seed=0)
    return coco, entries


def corners(boxes):
    """The corners x1, y1, x2, y2 of boxes x, y, w, h, cut at the image."""
    boxes = np.array(boxes)
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).clip(0, [640, 480, 640, 480])


def test_objects_have_polygons_that_fill_their_boxes(masks):
    annotations = masks[0]['annotations']
    rles = [mask.frPyObjects(annotation['segmentation'], 480, 640)[0] for annotation in annotations]
    areas = np.array([mask.decode(rle).sum() for rle in rles])
    assert [annotation['area'] for annotation in annotations] == areas.tolist()
    boxes = [annotation['bbox'] for annotation in annotations]
    np.testing.assert_allclose(corners([mask.toBbox(rle) for rle in rles]), corners(boxes), atol=1.5)
    assert 0.42 < np.mean(areas < 32**2) < 0.5 and 0.18 < np.mean(areas >= 96**2) < 0.26


def test_detections_have_masks_in_their_boxes_and_find_the_objects(masks):
    coco, entries = masks
    inner = corners([mask.toBbox(entry['segmentation']) for entry in entries])
    outer = corners([entry['bbox'] for entry in entries])
    assert (inner[:, :2] < inner[:, 2:]).all()  # an empty mask has the box 0, 0, 0, 0
    assert (inner[:, :2] > outer[:, :2] - 1.5).all() and (inner[:, 2:] < outer[:, 2:] + 1.5).all()
    stats = CocoEvaluator(copy.deepcopy(coco)).evaluate(entries, 'segm').stats
    assert 0.1 < stats['AP'] < 0.9 and stats['AR100'] > 0.3


def test_masks_depend_only_on_the_seed_and_the_class():
    def blobs(seed):
        coco, entries = make_boxes(images=20, classes=3, objects=4, detections=10, seed=1)
        add_masks(coco, entries, seed)
        return coco, entries

    assert blobs(0) == blobs(0) != blobs(1)
    polygons = {}
    for annotation in blobs(0)[0]['annotations']:
        polygon, box = np.reshape(annotation['segmentation'], (-1, 2)), np.array(annotation['bbox'])
        blob = (polygon - box[:2]) / box[2:]
        np.testing.assert_allclose(blob, polygons.setdefault(annotation['category_id'], blob), atol=0.01)
    assert not np.allclose(polygons[1], polygons[2], atol=0.05)


@pytest.mark.runs
def test_engines_agree_on_masks(masks, monkeypatch):
    # In this process, because a new one takes seconds to start.
    monkeypatch.setattr(coco_engines, 'ProcessPoolExecutor', lambda workers, _: ThreadPoolExecutor(workers))
    fast, official = compare_engines(200, 20, 7.3, 100, seed=0, iou_type='segm').values()
    coco, entries = masks
    assert fast['stats'] == pytest.approx(official['stats'], abs=1e-9)
    assert fast['stats'] == CocoEvaluator(copy.deepcopy(coco)).evaluate(entries, 'segm').stats


def test_memory_is_measured_only_on_linux(monkeypatch, tmp_path):
    monkeypatch.setattr(device, 'RESET', tmp_path / 'none')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for check in (lambda: compare_engines(2, 1, 1, 2, seed=0), check_memory):
        with pytest.raises(UserError, match='on the CPU can be measured only on Linux, which has .*none'):
            check()


@pytest.mark.runs
def test_engines_are_compared_on_the_same_boxes():
    measured = compare_engines(images=40, classes=4, objects=7, detections=100, seed=0)
    assert list(measured) == list(ENGINES)
    assert all(0 < values['engine'] < values['total'] and values['memory'] > 0 for values in measured.values())
    table = comparison_table(measured).splitlines()
    assert table[0].split() == [*ENGINES, 'ratio']
    ratio = measured['pycocotools']['engine'] / measured['faster-coco-eval']['engine']
    assert table[1].split()[-1] == f'{ratio:.1f}'
    assert table[-1].endswith('differ by at most 0.0e+00')
