"""The head of PP-YOLOE."""

from collections.abc import Sequence

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

from ..common.activation import ACT
from ..common.distribution_head import DistributionHead
from ..common.levels import check_levels


class ESEAttention(nn.Module):
    """PP-YOLOE's variant of effective squeeze-and-excitation (arXiv 1911.06667): a sigmoid, then a 1x1 convolution."""

    def __init__(self, channels: int, norm_cfg: dict):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)
        self.conv = ConvModule(channels, channels, 1, norm_cfg=norm_cfg, act_cfg=ACT)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * self.fc(x.mean((2, 3), keepdim=True)).sigmoid())


@MODELS.register_module()
class PPYOLOEHead(DistributionHead):
    """PP-YOLOE's efficient task-aligned head (arXiv 2203.16250).

    In the first epochs, ATSS (arXiv 1912.02424) assigns the boxes to points by the positions of the points. After that,
    the task-aligned assigner assigns them by the predictions at the points. The head reads the epoch from MMEngine's
    epoch-based loop, so a resumed training continues with the right assigner. An iteration-based loop does not count
    epochs, so the head would never change its assigner.

    Args:
        num_classes: The number of classes.
        in_channels: The channels of the neck's maps, shallowest first.
        reg_max: The largest distance in strides. Defaults to 16.
        strides: The strides of the levels in pixels. Defaults to (8, 16, 32).
        norm_cfg: The norm. Defaults to ``dict(type='BN')``.
        loss_cls: The loss of the scores. Defaults to the varifocal loss with alpha 0.75 and gamma 2.
        loss_bbox: The loss of the boxes. Defaults to the GIoU loss with a weight of 2.5.
        loss_dfl: The loss of the distributions. Defaults to the distribution focal loss with a weight of 0.5.
        train_cfg: ``initial_epoch`` is the number of epochs in which ``initial_assigner`` assigns. ``assigner`` assigns
            after that. Defaults to None, which is enough for inference.
        test_cfg: The same settings as for MMDetection's heads. Defaults to None.
        init_cfg: The initialisation. Defaults to None: every score is 0.01, and all distances are equally likely.
    """

    # ATSS compares the boxes with squares around the points. This is the side of a square in strides.
    PRIOR_SIDE = 5

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        reg_max: int = 16,
        strides: Sequence[int] = (8, 16, 32),
        norm_cfg: dict = dict(type='BN'),
        loss_cls: dict = dict(type='VarifocalLoss', alpha=0.75, gamma=2.0),
        loss_bbox: dict = dict(type='GIoULoss', loss_weight=2.5),
        loss_dfl: dict = dict(type='DistributionFocalLoss', loss_weight=0.5),
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(
            num_classes, in_channels, reg_max, strides, loss_cls, loss_bbox, loss_dfl, train_cfg, test_cfg, init_cfg
        )
        self.cls_attns = nn.ModuleList(ESEAttention(channels, norm_cfg) for channels in in_channels)
        self.reg_attns = nn.ModuleList(ESEAttention(channels, norm_cfg) for channels in in_channels)
        self.cls_convs = nn.ModuleList(nn.Conv2d(channels, num_classes, 3, padding=1) for channels in in_channels)
        self.reg_convs = nn.ModuleList(nn.Conv2d(channels, 4 * (reg_max + 1), 3, padding=1) for channels in in_channels)
        if train_cfg is not None:
            self.initial_epoch = train_cfg['initial_epoch']
            self.initial_assigner = TASK_UTILS.build(train_cfg['initial_assigner'])
            self.assigner = TASK_UTILS.build(train_cfg['assigner'])

    def init_weights(self) -> None:
        """Initialise for scores of 0.01 and equally likely distances, unless ``init_cfg`` says otherwise."""
        for attn in (*self.cls_attns, *self.reg_attns):
            normal_init(attn.fc, std=0.001)
        for conv in self.cls_convs:
            constant_init(conv, 0, bias=bias_init_with_prob(0.01))
        for conv in self.reg_convs:
            constant_init(conv, 0, bias=1)
        super().init_weights()

    def forward(self, feats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map the neck's maps (N, C_i, H, W), shallowest first, to the logits of each level.

        Returns:
            The logits (N, num_classes, H, W) of the scores, and the logits (N, 4 * (reg_max + 1), H, W) of the
            distances.
        """
        check_levels(feats, self.in_channels, 'bbox_head')
        cls_scores = [conv(attn(x) + x) for conv, attn, x in zip(self.cls_convs, self.cls_attns, feats)]
        bbox_preds = [conv(attn(x)) for conv, attn, x in zip(self.reg_convs, self.reg_attns, feats)]
        return cls_scores, bbox_preds

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: InstanceList | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of the maps that :meth:`forward` returns. Regions to ignore count as background.

        Raises:
            UserError: A label is not in 0 to ``num_classes`` - 1.
        """
        self.check_labels(batch_gt_instances)
        predictions = self.flatten(cls_scores, bbox_preds)
        epoch = MessageHub.get_current_instance().get_info('epoch', 0)
        assignments = [
            self.assign_by_place(pred, gt, predictions.num_points)
            if epoch < self.initial_epoch
            else self.assigner.assign(pred, gt)
            for pred, gt in zip(self.assigner_inputs(predictions), batch_gt_instances)
        ]
        return self.losses(predictions, assignments, batch_gt_instances)

    def assign_by_place(self, pred: InstanceData, gt: InstanceData, num_points: Sequence[int]) -> AssignResult:
        """Assign the boxes of one image with ``initial_assigner``.

        The target of a score is the IoU of the predicted box and the assigned box.

        Args:
            pred: ``priors`` (P, 4), which are x and y in pixels and the stride twice, and ``bboxes`` (P, 4).
            gt: ``bboxes`` (G, 4) and ``labels`` (G,).
            num_points: The number of points in each level. They add up to P.

        Returns:
            The same fields as from the task-aligned assigner, including ``assign_metrics``.
        """
        centres, half = pred.priors[:, :2], pred.priors[:, 2:] * self.PRIOR_SIDE / 2
        squares = InstanceData(priors=torch.cat((centres - half, centres + half), dim=1))
        result = self.initial_assigner.assign(squares, num_points, gt)
        result.assign_metrics = pred.bboxes.new_zeros(len(centres))
        positive = result.gt_inds > 0
        result.assign_metrics[positive] = bbox_overlaps(
            pred.bboxes[positive], gt.bboxes[result.gt_inds[positive] - 1], is_aligned=True
        )
        return result
