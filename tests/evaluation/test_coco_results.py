import json

import numpy as np
import torch
from pycocotools import mask as mask_utils

from econvnext_mmdet.evaluation import coco_results


def test_results_contain_masks(tmp_path):
    masks = torch.zeros(2, 8, 10, dtype=torch.bool)
    masks[0, 2:5, 3:7] = True
    sample = dict(
        img_id=7,
        pred_instances=dict(
            labels=torch.tensor([1, 0]),
            scores=torch.tensor([0.5, 0.25]),
            masks=masks,
            bboxes=torch.tensor([[3.0, 2.0, 7.0, 5.0], [0.0, 0.0, 1.0, 1.0]]),
        ),
    )
    metric = coco_results.DumpCocoResults(str(tmp_path / 'out.json'), cat_ids=[10, 20])
    metric.process({}, [sample])
    metric.evaluate(1)
    first, second = json.loads((tmp_path / 'out.json').read_text())
    assert (first['image_id'], first['category_id'], first['bbox'], first['score']) == (7, 20, [3, 2, 4, 3], 0.5)
    np.testing.assert_array_equal(mask_utils.decode(first['segmentation']), masks[0].numpy())
    assert second['category_id'] == 10


def test_separate_scores_of_masks_are_left_out_with_a_warning(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(coco_results, 'print_log', lambda text, **_: logged.append(text))
    sample = dict(
        img_id=7,
        pred_instances=dict(
            labels=torch.tensor([1]),
            scores=torch.tensor([0.5]),
            mask_scores=torch.tensor([0.25]),
            masks=torch.ones(1, 8, 10, dtype=torch.bool),
            bboxes=torch.tensor([[3.0, 2.0, 7.0, 5.0]]),
        ),
    )
    metric = coco_results.DumpCocoResults(str(tmp_path / 'out.json'), cat_ids=[10, 20])
    metric.process({}, [sample])
    metric.evaluate(1)
    assert json.loads((tmp_path / 'out.json').read_text())[0]['score'] == 0.5
    assert 'scores masks separately, but an entry of' in logged[0]
