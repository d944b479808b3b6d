"""Checkpoints that an earlier version wrote."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.model import build_model, unscaled_sample
from econvnext_mmdet.weights.checkpoint import read_checkpoint
from econvnext_mmdet.weights.loading import check_fits

from ..helpers import DEMO, ROOT, options

# A training checkpoint of version 0.1.0, with its optimiser; tests/data/README.md says how it was made.
CHECKPOINT = str(ROOT / 'tests' / 'data' / 'reference' / 'retinanet_0.1.0.pth')


@pytest.fixture
def changes(shapes, tmp_path):
    return {
        **options(shapes, tmp_path),
        'model.backbone.widen_factor': 0.0834,
        'model.backbone.deepen_factor': 0.1,
        'model.backbone.frozen_stages': 4,
        'model.neck.in_channels': [16, 32, 64],
        'model.neck.out_channels': 16,
        'model.neck.norm_cfg.num_groups': 4,
        'model.bbox_head.in_channels': 16,
        'model.bbox_head.feat_channels': 16,
        'model.bbox_head.norm_cfg.num_groups': 4,
    }


def test_a_checkpoint_of_0_1_0_gives_the_same_outputs():
    """The config is the one in the checkpoint. The arrays are the outputs of version 0.1.0."""
    state, meta = read_checkpoint(CHECKPOINT)
    model = build_model(Config.fromstring(meta['cfg'], file_format='.py')).eval()
    check_fits(model, state, CHECKPOINT)
    model.load_state_dict(state)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores, boxes = model(image, [unscaled_sample((64, 96))], mode='tensor')
    expected = np.load(CHECKPOINT.replace('.pth', '.npz'))
    for name, maps in (('cls', scores), ('bbox', boxes)):
        for level, found in enumerate(maps):
            np.testing.assert_allclose(found, expected[f'{name}_{level}'], atol=1e-5)


def test_a_checkpoint_of_0_1_0_can_be_tested(changes):
    assert run_test(load_config(DEMO, changes), CHECKPOINT)['coco/bbox_AR@100'] > 0


def test_a_training_run_of_0_1_0_can_be_resumed(changes, tmp_path):
    train(load_config(DEMO, changes), resume=CHECKPOINT)
    before, after = (torch.load(path, weights_only=False) for path in (CHECKPOINT, tmp_path / 'epoch_2.pth'))
    assert [(saved['meta']['epoch'], saved['meta']['iter']) for saved in (before, after)] == [(1, 3), (2, 6)]
    assert after['state_dict'].keys() == before['state_dict'].keys()
    assert not (tmp_path / 'epoch_1.pth').exists()  # the first epoch was not trained again
