"""PP-YOLOE's head."""
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmcv.cnn import ConvModule
from mmdet.models.task_modules import AssignResult
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import InstanceList
from mmengine.logging import MessageHub
from mmengine.model import bias_init_with_prob, constant_init, normal_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..distribution_head import DistributionHead
from ..levels import check_levels
from .layers import ACT


class ESEAttention(nn.Module):
    """Effective squeeze-and-excitation (arXiv 1911.06667) with a sigmoid, then a 1x1 convolution."""

    def __init__(self, channels: int, norm_cfg: dict):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)
        self.conv = ConvModule(channels, channels, 1, norm_cfg=norm_cfg, act_cfg=ACT)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * self.fc(x.mean((2, 3), keepdim=True)).sigmoid())


@MODELS.register_module()
class PPYOLOEHead(DistributionHead):
    """PP-YOLOE's efficient task-aligned head (arXiv 2203.16250).

    For its first epochs it learns the points that ATSS (arXiv 1912.02424) assigns, by where they are; after them those
    of the task-aligned assigner, by what is predicted there. The epoch is that of MMEngine's loop by epochs, and so
    goes on in a training that is resumed; a loop by iterations counts none, and would leave it at the first.

    Args:
        num_classes (int): Number of classes.
        in_channels (Sequence[int]): Channels of the neck's maps, shallowest first.
        reg_max (int): The largest distance in strides. Defaults to 16.
        strides (Sequence[int]): Strides of the levels in pixels. Defaults to (8, 16, 32).
        norm_cfg (dict): The norm. Defaults to ``dict(type='BN')``.
        loss_cls (dict): Defaults to the varifocal loss, alpha 0.75, gamma 2.
        loss_bbox (dict): Defaults to the GIoU loss of weight 2.5.
        loss_dfl (dict): Defaults to the distribution focal loss of weight 0.5.
        train_cfg (dict, optional): ``initial_epoch``, for how many epochs ``initial_assigner`` assigns, and
            ``assigner``, which assigns from then on. Defaults to None, for inference.
        test_cfg (dict, optional): As of mmdet's heads. Defaults to None.
        init_cfg (dict, optional): How to initialise. Defaults to None: all scores 0.01, all distances equally
            likely.
    """

    # ATSS compares squares of this many strides a side with the boxes.
    PRIOR_SIDE = 5

    def __init__(self, num_classes: int, in_channels: Sequence[int], reg_max: int = 16,
                 strides: Sequence[int] = (8, 16, 32), norm_cfg: dict = dict(type='BN'),
                 loss_cls: dict = dict(type='VarifocalLoss', alpha=0.75, gamma=2.0),
                 loss_bbox: dict = dict(type='GIoULoss', loss_weight=2.5),
                 loss_dfl: dict = dict(type='DistributionFocalLoss', loss_weight=0.5),
                 train_cfg: Optional[dict] = None, test_cfg: Optional[dict] = None, init_cfg: Optional[dict] = None):
        super().__init__(num_classes, in_channels, reg_max, strides, loss_cls, loss_bbox, loss_dfl, train_cfg, test_cfg,
                         init_cfg)
        self.cls_attns = nn.ModuleList(ESEAttention(channels, norm_cfg) for channels in in_channels)
        self.reg_attns = nn.ModuleList(ESEAttention(channels, norm_cfg) for channels in in_channels)
        self.cls_convs = nn.ModuleList(nn.Conv2d(channels, num_classes, 3, padding=1) for channels in in_channels)
        self.reg_convs = nn.ModuleList(
            nn.Conv2d(channels, 4 * (reg_max + 1), 3, padding=1) for channels in in_channels)
        if train_cfg is not None:
            self.initial_epoch = train_cfg['initial_epoch']
            self.initial_assigner = TASK_UTILS.build(train_cfg['initial_assigner'])
            self.assigner = TASK_UTILS.build(train_cfg['assigner'])

    def init_weights(self) -> None:
        """Initialise so that every score is 0.01 and every distance equally likely, or as ``init_cfg`` says."""
        for attn in (*self.cls_attns, *self.reg_attns):
            normal_init(attn.fc, std=0.001)
        for conv in self.cls_convs:
            constant_init(conv, 0, bias=bias_init_with_prob(0.01))
        for conv in self.reg_convs:
            constant_init(conv, 0, bias=1)
        super().init_weights()

    def forward(self, feats: Sequence[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        """Map the neck's maps (N, C_i, H, W) to logits of scores (N, num_classes, H, W) and of distances
        (N, 4 * (reg_max + 1), H, W) of each level."""
        check_levels(feats, self.in_channels, 'bbox_head')
        cls_scores = [conv(attn(x) + x) for conv, attn, x in zip(self.cls_convs, self.cls_attns, feats)]
        bbox_preds = [conv(attn(x)) for conv, attn, x in zip(self.reg_convs, self.reg_attns, feats)]
        return cls_scores, bbox_preds

    def loss_by_feat(self, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor],
                     batch_gt_instances: InstanceList, batch_img_metas: Sequence[dict],
                     batch_gt_instances_ignore: Optional[InstanceList] = None) -> Dict[str, Tensor]:
        """The losses of the maps that :meth:`forward` returns; regions to ignore are background.

        Raises:
            UserError: A label is not from 0 to ``num_classes`` - 1.
        """
        self.check_labels(batch_gt_instances)
        predictions = self.flatten(cls_scores, bbox_preds)
        epoch = MessageHub.get_current_instance().get_info('epoch', 0)
        assignments = [
            self.assign_by_place(pred, gt, predictions.num_points) if epoch < self.initial_epoch
            else self.assigner.assign(pred, gt)
            for pred, gt in zip(self.predictions_of(predictions), batch_gt_instances)]
        return self.losses(predictions, assignments, batch_gt_instances)

    def assign_by_place(self, pred: InstanceData, gt: InstanceData, num_points: Sequence[int]) -> AssignResult:
        """Assign the boxes of one image by ``initial_assigner``; the target of a score is the IoU of its box.

        Args:
            pred (InstanceData): ``priors`` (P, 4), x and y in pixels and the stride twice, and ``bboxes`` (P, 4).
            gt (InstanceData): ``bboxes`` (G, 4) and ``labels`` (G, ).
            num_points (Sequence[int]): Points of each level, P together.

        Returns:
            AssignResult: As the task-aligned assigner's, with ``assign_metrics``.
        """
        centres, half = pred.priors[:, :2], pred.priors[:, 2:] * self.PRIOR_SIDE / 2
        squares = InstanceData(priors=torch.cat((centres - half, centres + half), dim=1))
        result = self.initial_assigner.assign(squares, num_points, gt)
        result.assign_metrics = pred.bboxes.new_zeros(len(centres))
        positive = result.gt_inds > 0
        result.assign_metrics[positive] = bbox_overlaps(
            pred.bboxes[positive], gt.bboxes[result.gt_inds[positive] - 1], is_aligned=True)
        return result
