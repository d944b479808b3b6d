"""Models and settings that an export would compute wrongly are refused; their harmless relatives are not."""

import re

import pytest
import torch
from mmdet.models import (
    ATSSHead,
    DynamicRoIHead,
    MaskScoringRoIHead,
    RetinaHead,
    SingleRoIExtractor,
)
from mmengine.registry import init_default_scope
from torch import nn

from econvnext_mmdet.deploy.agreement import check_images
from econvnext_mmdet.deploy.forms import form_of
from econvnext_mmdet.deploy.onnx_file import build_onnx
from econvnext_mmdet.models.yolov10.head import YOLOv10Head
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.model import build_model

from ..helpers import ROOT
from .conftest import KINDS


def detector(kind, changes=None):
    name, narrow = KINDS[kind]
    cfg = load_config(str(ROOT / 'configs' / f'{name}.py'), {**narrow, **(changes or {})})
    init_default_scope(cfg.default_scope)
    return build_model(cfg)


@pytest.mark.parametrize(
    'kind, changes, says',
    [
        ('retinanet', {'model.test_cfg.nms.type': 'soft_nms'}, 'model.test_cfg.nms of the type soft_nms; expected'),
        ('retinanet', {'model.test_cfg.nms.offset': 1}, 'model.test_cfg.nms with offset; expected'),
        ('retinanet', {'model.test_cfg.nms.max_num': 10}, 'model.test_cfg.nms with max_num; expected'),
        ('retinanet', {'model.test_cfg.max_per_img': -1}, 'model.test_cfg.max_per_img=-1; expected at least 1'),
        ('retinanet', {'model.test_cfg.min_bbox_size': 8}, 'model.test_cfg.min_bbox_size=8: MMDetection measures'),
        (
            'retinanet',
            {'model.bbox_head.loss_cls': dict(_delete_=True, type='CrossEntropyLoss')},
            'loss_cls.use_sigmoid=False',
        ),
        ('mask_rcnn', {'model.test_cfg.rcnn.max_per_img': 0}, 'model.test_cfg.rcnn.max_per_img=0; expected at least 1'),
        ('mask_rcnn', {'model.test_cfg.rpn.nms.score_threshold': 0.1}, 'model.test_cfg.rpn.nms with score_threshold'),
        (
            'mask_rcnn',
            {'model.roi_head.bbox_roi_extractor.roi_layer': dict(_delete_=True, type='RoIPool', output_size=7)},
            'expected RoIAlign with pool_mode=avg',
        ),
        (
            'mask_rcnn',
            {'model.roi_head.bbox_head.loss_cls': dict(type='SeesawLoss', num_classes=4)},
            'loss_cls of the type SeesawLoss, which computes the scores in its own way',
        ),
    ],
)
def test_settings_that_a_form_does_not_compute_are_an_error(kind, changes, says):
    with pytest.raises(UserError, match=re.escape(says)):
        form_of(detector(kind, changes))


class OtherScores(RetinaHead):
    def _predict_by_feat_single(self, *args, **kwargs):
        raise NotImplementedError


class OtherLayers(RetinaHead):
    def forward_single(self, x):
        return super().forward_single(x)


class OtherRegions(SingleRoIExtractor):
    def forward(self, *args, **kwargs):
        raise NotImplementedError


@pytest.mark.parametrize(
    'kind, place, part, says',
    [
        ('retinanet', 'bbox_head', ATSSHead, 'model.bbox_head of the type ATSSHead, which does not predict as'),
        ('retinanet', 'bbox_head', OtherScores, 'model.bbox_head of the type OtherScores, which does not predict as'),
        ('mask_rcnn', 'roi_head', MaskScoringRoIHead, 'model.roi_head of the type MaskScoringRoIHead'),
        ('mask_rcnn', 'roi_head.bbox_roi_extractor', OtherRegions, 'bbox_roi_extractor of the type OtherRegions'),
        ('mask_rcnn', 'rpn_head', RetinaHead, 'model.rpn_head of the type RetinaHead'),
    ],
)
def test_a_subclass_that_predicts_in_another_way_is_an_error(kind, place, part, says):
    model = detector(kind)
    model.get_submodule(place).__class__ = part
    with pytest.raises(UserError, match=re.escape(says)):
        form_of(model)


@pytest.mark.parametrize(
    'kind, place, part',
    [('retinanet', 'bbox_head', OtherLayers), ('mask_rcnn', 'roi_head', DynamicRoIHead)],
)
def test_a_subclass_with_other_layers_or_another_training_can_be_exported(kind, place, part):
    model = detector(kind)
    model.get_submodule(place).__class__ = part
    form_of(model)


def test_a_shared_head_is_an_error():
    model = detector('mask_rcnn')
    model.roi_head.shared_head = nn.Identity()
    with pytest.raises(UserError, match='shared_head'):
        form_of(model)


def test_yolov10_ignores_the_settings_of_an_nms_as_in_pytorch():
    """Its head keeps overlapping boxes whatever ``test_cfg.nms`` says."""
    model = detector('yolov10', {'model.test_cfg.nms': dict(type='nms', iou_threshold=0.01)})
    assert isinstance(model.bbox_head, YOLOv10Head)
    images = check_images(2, (96, 96))
    _, scores, _, _ = form_of(model)(images)
    again = detector('yolov10')
    again.load_state_dict(model.state_dict())
    _, expected, _, _ = form_of(again)(images)
    assert torch.equal(scores, expected)


def test_an_old_torch_is_named(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.4.1')
    with pytest.raises(UserError, match='exporting needs torch 2.6 or later; found 2.4.1'):
        build_onnx(None, 20, {})
