"""Networks in a form that can be exported: from raw images to detections, with the same operations for any input size.

MMDetection's ``predict`` cannot be exported, because it loops over images and filters the boxes of each one. The forms
here compute the same detections with the model's own layers, prior generators and box coders.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models import CascadeRoIHead
from mmengine.model import BaseModel
from torch import Tensor, nn
from torchvision.ops import roi_align

from ..models.common.distribution_head import DistributionHead
from ..models.yolov10.head import YOLOv10Head
from .nms import nms
from .outputs import OUTPUTS
from .supported import check_classifier, check_one_stage, check_two_stage, stages

INVALID = -1.0  # the score of a box that is no detection; real scores are from 0 to 1


class ExportForm(nn.Module):
    """The part that all forms share: preparing images as the model's data preprocessor does.

    Args:
        model: The model, in evaluation mode.

    Attributes:
        output_names: The names of the outputs, in their order.
    """

    output_names: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def __init__(self, model: Any):
        super().__init__()
        self.model: Any = model
        pre = model.data_preprocessor
        self.normalize = bool(getattr(pre, '_enable_normalize', False))
        if self.normalize:
            self.register_buffer('mean', pre.mean.clone().float())
            self.register_buffer('std', pre.std.clone().float())
        self.swap_channels = bool(getattr(pre, '_channel_conversion', getattr(pre, 'to_rgb', False)))
        self.divisor = getattr(pre, 'pad_size_divisor', 1)
        self.pad_value = getattr(pre, 'pad_value', 0)

    def prepare(self, images: Tensor) -> Tensor:
        """Normalise images (N, 3, H, W), BGR from 0 to 255, and pad them at the right and at the bottom."""
        height, width = images.shape[-2:]
        x = images.float()
        if self.swap_channels:
            x = x.flip(1)
        if self.normalize:
            x = (x - self.mean) / self.std
        if self.divisor > 1:
            x = F.pad(x, (0, -width % self.divisor, 0, -height % self.divisor), value=self.pad_value)
        return x


class BackboneForm(ExportForm):
    """A backbone: from images to its maps, named ``stride_8`` and so on."""

    def __init__(self, model: BaseModel):
        super().__init__(model)
        with torch.no_grad():
            maps = self(torch.zeros(1, 3, 64, 64))
        self.output_names = tuple(f'stride_{64 // level.shape[-1]}' for level in maps)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to the backbone's maps."""
        return tuple(self.model.backbone(self.prepare(images)))


class ClassifierForm(ExportForm):
    """A classifier: from images to the probabilities of the classes."""

    output_names = OUTPUTS['classify']

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Map images (N, 3, H, W) to probabilities (N, C)."""
        return (self.model.head(self.model.extract_feat(self.prepare(images))).softmax(-1),)


class DenseForm(ExportForm):
    """A one-stage detector: RetinaNet, PP-YOLOE or YOLOv10."""

    output_names = OUTPUTS['detect']

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to detections.

        Returns:
            ``boxes`` (N, K, 4), as (x1, y1, x2, y2) in pixels of the input; ``scores`` (N, K), in descending order;
            ``labels`` (N, K), -1 where there is no detection; and the numbers of detections (N,).
        """
        head = self.model.bbox_head
        cls_scores, bbox_preds = head(self.model.extract_feat(self.prepare(images)))
        boxes, scores, labels = decode(head, cls_scores, bbox_preds, images.shape[-2:], head.test_cfg)
        scores = torch.where(scores > head.test_cfg.get('score_thr', 0), scores, INVALID)
        # YOLOv10 has one box per object, so its head uses no NMS, and 300 boxes by default.
        nms_cfg = None if isinstance(head, YOLOv10Head) else head.test_cfg.get('nms')
        boxes, scores, labels = select(boxes, scores, labels, nms_cfg, head.test_cfg.get('max_per_img', 300))
        return finish(boxes, scores, labels)


class TwoStageForm(ExportForm):
    """A two-stage detector: Faster, Mask and Cascade R-CNN."""

    def __init__(self, model: BaseModel):
        super().__init__(model)
        roi_head = model.roi_head
        self.cascade = isinstance(roi_head, CascadeRoIHead)
        self.output_names = OUTPUTS['segment' if roi_head.with_mask else 'detect']

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to detections.

        Returns:
            The same as :class:`DenseForm`, where K is the largest number of detections of an image, or 1 if there are
            none. For a detector with masks, also the probabilities (N, K, 28, 28) of a mask within its box.
        """
        shape = images.shape[-2:]
        feats = self.model.extract_feat(self.prepare(images))
        rois, valid = self.propose(feats, shape)
        boxes, scores, labels = self.classify(feats, rois, valid, shape)
        cfg = self.model.roi_head.test_cfg
        scores = torch.where(scores > cfg.score_thr, scores, INVALID)
        boxes, scores, labels = select(boxes, scores, labels, cfg.nms, cfg.max_per_img)
        found = finish(*trim(scores, boxes, scores, labels))
        return (*found, self.segment(feats, *found[:3])) if self.model.roi_head.with_mask else found

    def propose(self, feats: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The first stage: proposals (N, P, 4), and whether each is one (N, P)."""
        head = self.model.rpn_head
        cfg = head.test_cfg
        cls_scores, bbox_preds = head(feats)
        boxes, scores, levels = decode(head, cls_scores, bbox_preds, shape, cfg, label_is_level=True)
        boxes, scores, _ = select(boxes, scores, levels, cfg.nms, cfg.max_per_img)
        boxes, scores = trim(scores, boxes, scores)
        valid = scores >= 0
        return torch.where(valid[..., None], boxes, 0.0), valid

    def classify(
        self, feats: Sequence[Tensor], rois: Tensor, valid: Tensor, shape: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The second stage: boxes (N, P * C, 4), scores and labels (N, P * C) of each proposal in each class."""
        roi_head = self.model.roi_head
        heads, extractors = stages(roi_head.bbox_head), stages(roi_head.bbox_roi_extractor)
        number, proposals = valid.shape
        rois = rois.reshape(-1, 4)
        torch._check(rois.shape[0] != 0)  # the box coder asks for it, and the export does not know the number
        logits = []
        for stage, (head, extractor) in enumerate(zip(heads, extractors)):
            logit, deltas = head(crop(extractor, feats, rois, number))
            logits.append(logit)
            if not head.reg_class_agnostic:
                deltas = deltas.reshape(-1, head.num_classes, 4)
            if stage < len(heads) - 1:
                if not head.reg_class_agnostic:
                    best = logit[:, :-1].argmax(1)
                    deltas = deltas[torch.arange(best.shape[0], device=best.device), best]
                rois = head.bbox_coder.decode(rois, deltas, max_shape=shape)
        scores = (sum(logits) / len(logits)).softmax(-1)[:, :-1]
        classes = head.num_classes
        boxes = head.bbox_coder.decode(rois, deltas.flatten(1), max_shape=shape)
        boxes = boxes.reshape(number, proposals, -1, 4).expand(-1, -1, classes, -1)  # one box for all classes, or each
        scores = torch.where(valid.reshape(-1, 1), scores, INVALID)
        labels = torch.arange(classes, device=rois.device).expand(number, proposals, -1)
        return boxes.reshape(number, -1, 4), scores.reshape(number, -1), labels.reshape(number, -1)

    def segment(self, feats: Sequence[Tensor], boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """The probabilities (N, K, 28, 28) of the masks of detections."""
        roi_head = self.model.roi_head
        heads, extractors = stages(roi_head.mask_head), stages(roi_head.mask_roi_extractor)
        number, most = labels.shape
        masks = [
            head(crop(extractor, feats, boxes.reshape(-1, 4), number)).sigmoid()
            for head, extractor in zip(heads, extractors)
        ]
        mask = sum(masks) / len(masks)  # (N * K, C, 28, 28)
        size = mask.shape[-2:]
        if not heads[0].class_agnostic:
            label = labels.reshape(-1, 1, 1, 1).clamp(min=0).expand(-1, -1, *size)
            mask = mask.gather(1, label)
        return mask.reshape(number, most, *size)


def decode(
    head: Any,
    cls_scores: Sequence[Tensor],
    bbox_preds: Sequence[Tensor],
    shape: Sequence[int],
    cfg: Any,
    label_is_level: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode the best ``nms_pre`` boxes of each level, as MMDetection's dense heads do.

    Args:
        head: The head.
        cls_scores: The logits (N, A * C, H, W) of each level.
        bbox_preds: The logits (N, A * D, H, W) of each level.
        shape: Height and width of the images before padding. Boxes are clipped to them.
        cfg: The settings for inference.
        label_is_level: Whether to return the level of a box in place of its class. Defaults to False.

    Returns:
        ``boxes`` (N, P, 4), ``scores`` (N, P) and ``labels`` (N, P). Boxes that are not larger than ``min_bbox_size``
            have negative scores.
    """
    number = cls_scores[0].shape[0]
    sizes = [level.shape[-2:] for level in cls_scores]
    priors = head.prior_generator.grid_priors(sizes, dtype=cls_scores[0].dtype, device=cls_scores[0].device)
    boxes, scores, labels = [], [], []
    for level, (cls_score, bbox_pred, prior) in enumerate(zip(cls_scores, bbox_preds, priors)):
        classes, most = head.cls_out_channels, cfg.get('nms_pre', -1)
        score = cls_score.permute(0, 2, 3, 1).reshape(number, -1).sigmoid()  # (N, H * W * A * C)
        score, place = score.topk(torch.sym_min(most, score.shape[1]) if most > 0 else score.shape[1])
        point = place // classes  # the index of the prior
        values = 4 if not isinstance(head, DistributionHead) else 4 * (head.reg_max + 1)
        deltas = _take(bbox_pred.permute(0, 2, 3, 1).reshape(number, -1, values), point)
        if isinstance(head, DistributionHead):
            bins = torch.arange(head.reg_max + 1, dtype=deltas.dtype, device=deltas.device)
            spread = deltas.reshape(number, -1, 4, head.reg_max + 1).softmax(-1)
            deltas = (spread * bins).sum(-1) * head.strides[level]
        prior = prior[point]
        box = head.bbox_coder.decode(prior.reshape(-1, prior.shape[-1]), deltas.reshape(-1, 4), max_shape=shape)
        boxes.append(box.reshape(number, -1, 4))
        scores.append(score)
        labels.append(torch.full_like(place, level) if label_is_level else place % classes)
    box, score = torch.cat(boxes, 1), torch.cat(scores, 1)
    if cfg.get('min_bbox_size', -1) >= 0:
        sides = box[..., 2:] - box[..., :2]
        score = torch.where((sides > cfg.min_bbox_size).all(-1), score, INVALID)
    return box, score, torch.cat(labels, 1)


def select(
    boxes: Tensor, scores: Tensor, labels: Tensor, nms_cfg: dict | None, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply NMS within each label, and keep the best boxes, in descending order of their scores.

    Args:
        boxes: The boxes (N, P, 4).
        scores: The scores (N, P). Boxes with negative scores are left out.
        labels: The labels (N, P).
        nms_cfg: MMCV's settings of the NMS. None for no NMS.
        most: The largest number of boxes to keep.

    Returns:
        Boxes (N, K, 4), scores (N, K) and labels (N, K). The scores of places without a box are negative.
    """
    if nms_cfg is not None:
        # Boxes of different labels are moved apart, so that they do not overlap.
        offset = labels[..., None] * (boxes.amax((1, 2), keepdim=True) + 1)
        apart = boxes if nms_cfg.get('class_agnostic', False) else boxes + offset
        scores = torch.where(nms(apart, scores, float(nms_cfg['iou_threshold']), most), scores, INVALID)
    scores, place = scores.topk(torch.sym_min(most, scores.shape[1]))
    return _take(boxes, place), scores, labels.gather(1, place)


def trim(scores: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Cut off the last places of which no image uses any, so that the second stage need not compute them.

    Args:
        scores: The scores (N, K). Those of unused places are negative and come last.
        *values: Tensors (N, K, ...).

    Returns:
        The values (N, L, ...). L is the largest number of used places of an image, or 1 if there are none.
    """
    most = (scores >= 0).sum(1).max().clamp(min=1).item()
    # For the export, which does not know the number.
    torch._check(most >= 1)
    torch._check(most <= scores.shape[1])
    return tuple(value[:, :most] for value in values)


def finish(boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fill the places without a box with zeros and the label -1, and count the detections of each image."""
    found = scores >= 0
    return (
        torch.where(found[..., None], boxes, 0.0),
        torch.where(found, scores, 0.0),
        torch.where(found, labels, -1),
        found.sum(1),
    )


def crop(extractor: Any, feats: Sequence[Tensor], boxes: Tensor, number: int) -> Tensor:
    """The features (R, C, S, S) of regions, each from the level that fits its size.

    Args:
        extractor: MMDetection's ``SingleRoIExtractor``.
        feats: The neck's maps. The extractor uses the first ones.
        boxes: The regions (R, 4), the same number for each image.
        number: The number of images.
    """
    image = torch.arange(number, device=boxes.device, dtype=boxes.dtype)
    image = image[:, None].expand(-1, boxes.shape[0] // number).reshape(-1, 1)
    rois = torch.cat((image, boxes), 1)
    levels = extractor.map_roi_levels(rois, len(extractor.roi_layers))
    # The features of an empty region are 0. OpenVINO's RoIAlign would give NaN.
    filled = (boxes[:, 2:] > boxes[:, :2]).all(1)
    features = boxes.new_zeros(boxes.shape[0], feats[0].shape[1], *extractor.roi_layers[0].output_size)
    for level, layer in enumerate(extractor.roi_layers):
        (place,) = torch.where((levels == level) & filled)
        cut = roi_align(
            feats[level],
            rois[place],
            layer.output_size,
            layer.spatial_scale,
            layer.sampling_ratio,
            aligned=layer.aligned,
        )
        features = features.index_put((place,), cut)
    return features


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Take the rows ``index`` (N, K) of ``values`` (N, P, D)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def form_of(model: BaseModel, backbone: bool = False) -> ExportForm:
    """The form of a model that can be exported.

    Args:
        model: The detector or classifier.
        backbone: Export only its backbone. Defaults to False.

    Raises:
        UserError: A part of the model cannot be exported.
    """
    model.eval()
    if backbone:
        return BackboneForm(model).eval()
    if hasattr(model, 'roi_head'):
        check_two_stage(model)
        return TwoStageForm(model).eval()
    if hasattr(model, 'bbox_head'):
        check_one_stage(model)
        return DenseForm(model).eval()
    check_classifier(model)
    return ClassifierForm(model).eval()
