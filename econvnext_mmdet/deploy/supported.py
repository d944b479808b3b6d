"""Which models and settings the forms of an export compute."""

from __future__ import annotations

from typing import Any

from mmcv.ops import RoIAlign
from mmdet.models import (
    BBoxHead,
    CascadeRoIHead,
    FCNMaskHead,
    RetinaHead,
    RPNHead,
    SingleRoIExtractor,
    SingleStageDetector,
    StandardRoIHead,
    TwoStageDetector,
)
from mmengine.model import BaseModel
from torch import nn

from ..models.ppyoloe.head import PPYOLOEHead
from ..models.yolov10.head import YOLOv10Head
from ..utils.errors import UserError

DENSE = ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')
HEAD = ('predict_by_feat', '_predict_by_feat_single')
STAGES = ('predict', 'predict_bbox', 'predict_mask', '_bbox_forward', '_mask_forward')
NMS_SETTINGS = ('type', 'iou_threshold', 'class_agnostic', 'split_thr')


def check_one_stage(model: BaseModel) -> None:
    """Check that :class:`~.forms.DenseForm` computes what a one-stage detector does.

    Raises:
        UserError: It does not.
    """
    head: Any = model.bbox_head
    _check_methods(model, (SingleStageDetector,), ('predict', 'extract_feat'), 'model')
    _check_methods(head, (RetinaHead, PPYOLOEHead, YOLOv10Head), DENSE, 'model.bbox_head')
    _check_sigmoid(head, 'model.bbox_head')
    _check_settings(head.test_cfg, 'model.test_cfg')
    if head.test_cfg.get('min_bbox_size', 0) > 0:
        raise UserError(
            f'cannot export model.test_cfg.min_bbox_size={head.test_cfg.min_bbox_size}: MMDetection measures the boxes '
            'in the image before it is resized, which the file does not see. Set it to 0 with --cfg-options, and '
            'filter the boxes afterwards.'
        )


def check_two_stage(model: BaseModel) -> None:
    """Check that :class:`~.forms.TwoStageForm` computes what a two-stage detector does.

    Raises:
        UserError: It does not.
    """
    if not model.with_rpn:
        raise UserError(f'cannot export a {type(model).__name__} without model.rpn_head, which finds the regions')
    rpn: Any = model.rpn_head
    roi: Any = model.roi_head
    _check_methods(model, (TwoStageDetector,), ('predict', 'extract_feat'), 'model')
    _check_methods(rpn, (RPNHead,), DENSE, 'model.rpn_head')
    _check_sigmoid(rpn, 'model.rpn_head')
    _check_methods(roi, (StandardRoIHead, CascadeRoIHead), STAGES, 'model.roi_head')
    if roi.with_shared_head:
        raise UserError('cannot export model.roi_head.shared_head. Export a detector without it.')
    for head in stages(roi.bbox_head):
        _check_methods(head, (BBoxHead,), HEAD, 'model.roi_head.bbox_head')
        if head.custom_cls_channels or head.custom_activation:
            raise UserError(
                f'cannot export model.roi_head.bbox_head.loss_cls of the type {type(head.loss_cls).__name__}, which '
                'computes the scores in its own way; expected CrossEntropyLoss'
            )
    extractors = [('bbox_roi_extractor', extractor) for extractor in stages(roi.bbox_roi_extractor)]
    if roi.with_mask:
        extractors += [('mask_roi_extractor', extractor) for extractor in stages(roi.mask_roi_extractor)]
        for head in stages(roi.mask_head):
            _check_methods(head, (FCNMaskHead,), HEAD, 'model.roi_head.mask_head')
    for name, extractor in extractors:
        _check_methods(extractor, (SingleRoIExtractor,), ('forward',), f'model.roi_head.{name}')
        for layer in extractor.roi_layers:
            if not isinstance(layer, RoIAlign) or layer.pool_mode != 'avg':
                raise UserError(f'cannot export the RoI layer {layer}; expected RoIAlign with pool_mode=avg')
    _check_settings(rpn.test_cfg, 'model.test_cfg.rpn')
    _check_settings(roi.test_cfg, 'model.test_cfg.rcnn')


def check_classifier(model: BaseModel) -> None:
    """Check that :class:`~.forms.ClassifierForm` computes what a classifier does.

    Raises:
        UserError: It does not.
    """
    from mmpretrain.models import ClsHead, ImageClassifier

    _check_methods(model, (ImageClassifier,), ('predict', 'extract_feat'), 'model')
    _check_methods(model.head, (ClsHead,), ('predict', '_get_predictions'), 'model.head')


def stages(part: Any) -> list:
    """The heads or the extractors of all stages: a cascade has a list, other detectors have one."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _check_methods(part: Any, known: tuple[type, ...], names: tuple[str, ...], where: str) -> None:
    """Check that a part has the methods that a form replaces. A subclass may change everything else."""
    if not any(
        isinstance(part, base) and all(getattr(type(part), name) is getattr(base, name) for name in names)
        for base in known
    ):
        kinds = ' or '.join(base.__name__ for base in known)
        raise UserError(
            f'cannot export {where} of the type {type(part).__name__}, which does not predict as {kinds} does'
        )


def _check_sigmoid(head: Any, where: str) -> None:
    if not getattr(head, 'use_sigmoid_cls', True):
        raise UserError(f'cannot export {where} with loss_cls.use_sigmoid=False; expected a sigmoid for each class')


def _check_settings(cfg: Any, where: str) -> None:
    nms = cfg.get('nms') or dict(type='nms')
    if nms.get('type', 'nms') != 'nms':
        raise UserError(f"cannot export {where}.nms of the type {nms['type']}; expected type='nms'")
    unknown = [key for key in nms if key not in NMS_SETTINGS]
    if unknown:
        raise UserError(f'cannot export {where}.nms with {", ".join(unknown)}; expected {", ".join(NMS_SETTINGS)}')
    most = cfg.get('max_per_img', 1)
    if not most > 0:
        raise UserError(f'cannot export {where}.max_per_img={most}; expected at least 1, such as 100')
