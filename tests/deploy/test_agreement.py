"""The comparison of an exported file with PyTorch, on detections that are given."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData

from econvnext_mmdet.deploy.agreement import compare
from econvnext_mmdet.utils.errors import UserError

IMAGES = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)


def predictor(boxes, scores=None, labels=None, masks=None):
    """A detector that finds the same in every image."""
    found = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores if scores is not None else [0.5] * len(boxes)),
        labels=torch.tensor(labels if labels is not None else [0] * len(boxes)),
    )
    if masks is not None:
        found.masks = masks
    return SimpleNamespace(
        new_sample=lambda image: SimpleNamespace(),
        test_step=lambda data: [Sample(found) for _ in data['inputs']],
    )


class Sample:
    def __init__(self, found):
        self.pred_instances = found

    def __contains__(self, name):
        return hasattr(self, name)


BOX, OTHER = [0, 0, 10, 10], [20, 20, 30, 30]


def test_equal_detections_in_another_order_agree():
    agreement = compare(predictor([BOX, OTHER]), predictor([OTHER, BOX]), [IMAGES])
    assert (agreement.images, agreement.detections, agreement.pixels, agreement.ties) == (1, 2, 0, 0)
    assert str(agreement) == (
        '1 images, 2 detections, boxes differ by at most 0.0e+00 pixels, scores differ by at most 0.0e+00'
    )


def test_without_detections_it_says_that_nothing_was_compared():
    agreement = compare(predictor([]), predictor([]), [IMAGES])
    assert str(agreement) == '1 images, neither finds anything in them, so no box was compared'


def test_one_detection_may_differ_only_if_a_tie_can_explain_it():
    many = [[40 * i, 0, 40 * i + 10, 10] for i in range(1, 20)]
    scores = [0.9 - 0.01 * i for i in range(20)]
    expected = predictor([BOX, *many], scores)
    near, far = [0, 0, 10, 14], [0, 20, 10, 34]
    assert compare(expected, predictor([near, *many], scores), [IMAGES]).ties == 1  # NMS kept the other of two
    assert compare(expected, predictor([BOX, *many[:-1]], scores[:-1]), [IMAGES]).ties == 1  # the last of equal scores
    for found in ([far, *many], many):
        with pytest.raises(UserError, match='a detection has no equal one on a batch'):
            compare(expected, predictor(found, scores[-len(found) :]), [IMAGES])


@pytest.mark.parametrize(
    'found',
    [
        predictor([]),
        predictor([BOX]),
        predictor([[0, 0, 10, 10.02], [20, 20, 30.02, 30]]),
        predictor([BOX, OTHER], scores=[0.501, 0.501]),
        predictor([BOX, OTHER], labels=[1, 1]),
        predictor([BOX, OTHER, [5, 5, 15, 15], [0, 20, 10, 30]]),
    ],
    ids=['none', 'fewer', 'moved', 'scores', 'labels', 'more'],
)
def test_other_detections_are_an_error(found):
    with pytest.raises(UserError, match='no equal one on a batch of 1 images of 40 x 40 pixels'):
        compare(predictor([BOX, OTHER]), found, [IMAGES] * 2)


def test_other_masks_are_an_error_and_the_largest_difference_is_told():
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[:, :20, :20] = True
    almost, other = mask.clone(), mask.clone()
    almost[:, 0, 0] = False
    other[:, :10, :10] = False
    expected = predictor([BOX], masks=mask)
    assert '0.25% of their pixels' in str(compare(expected, predictor([BOX], masks=almost), [IMAGES]))
    with pytest.raises(UserError, match='25.0% of the pixels of a mask differ'):
        compare(expected, predictor([BOX], masks=other), [IMAGES])
