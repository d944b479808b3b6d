"""Parts of the exported forms."""

import torch

from econvnext_mmdet.deploy.forms import trim


def test_places_that_no_image_uses_are_cut_off():
    scores = torch.tensor([[0.9, -1.0, -1.0, -1.0], [0.8, 0.7, 0.0, -1.0]])
    boxes = torch.arange(32.0).reshape(2, 4, 4)
    kept, kept_boxes = trim(scores, scores, boxes)
    assert kept.tolist() == scores[:, :3].tolist() and kept_boxes.tolist() == boxes[:, :3].tolist()


def test_one_place_remains_without_detections():
    # The runtimes need not run the second stage on nothing.
    assert trim(torch.full((2, 5), -1.0), torch.zeros(2, 5, 4))[0].shape == (2, 1, 4)
