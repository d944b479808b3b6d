import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from pycocotools import mask as mask_utils

from econvnext_mmdet.evaluation import coco_metric
from econvnext_mmdet.evaluation.coco_eval import ENGINES, CocoEvaluator
from econvnext_mmdet.evaluation.coco_stats import COCO_STATS
from econvnext_mmdet.utils.errors import UserError

from ..scenes import CLASSES, make_scene


@pytest.fixture
def scene(tmp_path):
    """The path of a scene's annotation file, the scene, and its detections in the form of a model's output."""
    coco, entries = make_scene()
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(coco))
    samples = []
    for image in coco['images']:
        found = [entry for entry in entries if entry['image_id'] == image['id']]
        boxes = torch.tensor([entry['bbox'] for entry in found], dtype=torch.float64).reshape(-1, 4)
        masks = [mask_utils.decode(entry['segmentation']).astype(bool) for entry in found]
        samples.append(
            dict(
                img_id=image['id'],
                pred_instances=dict(
                    bboxes=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
                    labels=torch.tensor([(entry['category_id'] - 1) // 5 for entry in found], dtype=torch.long),
                    scores=torch.tensor([entry['score'] for entry in found], dtype=torch.float64),
                    masks=torch.from_numpy(np.array(masks).reshape(-1, image['height'], image['width'])),
                ),
            )
        )
    return str(path), coco, entries, samples


def evaluate(path, samples, **kwargs):
    """Evaluate samples with the metric, which MMDetection's registry finds, in batches of five."""
    metric = METRICS.build(dict(type='OfficialCocoMetric', ann_file=path, **kwargs))
    metric.dataset_meta = dict(classes=CLASSES)
    for i in range(0, len(samples), 5):
        metric.process({}, samples[i : i + 5])
    return metric.evaluate(len(samples))


@pytest.mark.parametrize('engine', ENGINES)
def test_metrics_equal_the_evaluation_of_the_results(scene, engine):
    path, coco, entries, samples = scene
    metrics = evaluate(path, samples, metric=['bbox', 'segm'], engine=engine)
    evaluator = CocoEvaluator(coco)
    expected = {
        f'coco/{iou_type}_{COCO_STATS[name].mmdet_name}': value
        for iou_type in ('bbox', 'segm')
        for name, value in evaluator.evaluate(entries, iou_type).stats.items()
    }
    assert len(metrics) == 24 and metrics == pytest.approx(expected, abs=1e-9)
    assert any(value != round(value, 3) for value in metrics.values())  # unrounded
    # The first metric chooses the best checkpoint.
    assert next(iter(metrics)) == 'coco/bbox_mAP'


def test_masks_are_ranked_by_their_separate_scores(scene):
    path, _, _, samples = scene
    for sample in samples:
        found = sample['pred_instances']
        found['mask_scores'] = torch.zeros_like(found['scores'])
    separate = evaluate(path, samples, metric=['bbox', 'segm'])
    for sample in samples:
        sample['pred_instances']['scores'] = sample['pred_instances'].pop('mask_scores')
    equal = evaluate(path, samples, metric=['bbox', 'segm'])
    assert separate['coco/segm_mAP'] == equal['coco/segm_mAP'] != separate['coco/bbox_mAP']
    assert separate['coco/bbox_mAP'] != equal['coco/bbox_mAP']


def test_no_detections_give_0(scene):
    path, _, _, samples = scene
    for sample in samples:
        sample['pred_instances'] = {key: value[:0] for key, value in sample['pred_instances'].items()}
    assert set(evaluate(path, samples, metric=['bbox', 'segm']).values()) == {0.0}


def test_classwise_logs_a_table_and_adds_metrics(scene, monkeypatch):
    path, coco, entries, samples = scene
    logged = []
    monkeypatch.setattr(coco_metric, 'print_log', lambda text, **_: logged.append(text))
    metrics = evaluate(path, samples, classwise=True)
    (table,) = logged
    assert [line.split()[0] for line in table.splitlines()] == ['bbox', 'class', *CLASSES]
    classes = CocoEvaluator(coco).evaluate(entries).classes
    assert [metrics[f'coco/bbox_{name}_precision'] for name in CLASSES] == pytest.approx(
        [entry['AP'] for entry in classes]
    )


def test_several_results_for_one_image_are_an_error(scene):
    path, _, _, samples = scene
    with pytest.raises(ValueError, match='several results for one image id .* DatasetPartsHook'):
        evaluate(path, [*samples, samples[0]])


def test_images_without_results_are_said(scene, monkeypatch):
    path, coco, _, samples = scene
    logged = []
    monkeypatch.setattr(coco_metric, 'print_log', lambda text, **_: logged.append(text))
    evaluate(path, samples)
    assert not logged
    evaluate(path, samples[1:])
    number = len(coco['images'])
    assert logged == [
        f'only {number - 1} of the {number} images in {path} were evaluated; the objects of the others count as missed'
    ]


def test_labels_by_name_may_have_classes_that_the_file_lacks(scene):
    """As of a CocoDatasetByName whose classes come from the training set."""
    path, coco, entries, samples = scene
    expected = CocoEvaluator(coco).evaluate(entries).stats['AP']
    metric = METRICS.build(dict(type='OfficialCocoMetric', ann_file=path))
    metric.dataset_meta = dict(classes=('cow', *CLASSES[::-1]), labels_by_name=True)
    for sample in samples:
        found = dict(sample['pred_instances'])
        found['labels'] = len(CLASSES) - found['labels']
        extra = {key: value[:1] for key, value in found.items()}
        extra['labels'] = torch.zeros_like(extra['labels'])  # cows do not count
        metric.process({}, [dict(sample, pred_instances={key: torch.cat([found[key], extra[key]]) for key in found})])
    assert metric.evaluate(len(samples))['coco/bbox_mAP'] == pytest.approx(expected, abs=1e-12)


def test_a_model_may_know_only_some_of_the_classes(scene):
    """Its labels follow the order of the file, as in MMDetection's dataset."""
    path, coco, entries, samples = scene
    for sample in samples:
        found = sample['pred_instances']
        kept = found['labels'] >= 1
        sample['pred_instances'] = {key: value[kept] for key, value in found.items()}
        sample['pred_instances']['labels'] -= 1
    metric = METRICS.build(dict(type='OfficialCocoMetric', ann_file=path))
    metric.dataset_meta = dict(classes=('bird', 'dog', 'nothing'))
    metric.process({}, samples)
    expected = CocoEvaluator(coco).evaluate(entries, cat_ids=[6, 11, 16]).stats
    assert metric.evaluate(len(samples))['coco/bbox_mAP'] == pytest.approx(expected['AP'], abs=1e-9)


def test_wrong_arguments_are_rejected(scene):
    path, _, _, samples = scene
    for kwargs, message in (
        (dict(metric='proposal'), "metric must be 'bbox', 'segm' or both; got 'proposal'"),
        (dict(metric=[]), 'metric must be'),
        (dict(engine='fast'), 'the engine must be'),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(path, samples, **kwargs)
    metric = METRICS.build(dict(type='OfficialCocoMetric', ann_file=path))
    metric.dataset_meta = dict(classes=('cat', 'cow'))
    with pytest.raises(ValueError, match=re.escape("lacks the classes ['cow'] of the dataset; correct")):
        metric.evaluate(0)


def test_a_malformed_annotation_file_is_named(scene):
    path, coco, _, samples = scene
    del coco['annotations'][2]['area']
    Path(path).write_text(json.dumps(coco))
    with pytest.raises(UserError, match=r'gt.json: malformed: annotations\[2\] lacks area'):
        evaluate(path, samples)
