"""The head of YOLOv10."""

import math
from collections.abc import Sequence

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmengine.model import constant_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..common.activation import ACT
from ..common.distribution_head import DistributionHead
from ..common.levels import check_levels


class Branch(nn.Module):
    """The convolutions that predict the scores and the distances of each level.

    Args:
        num_classes: The number of classes.
        in_channels: The channels of the neck's maps, shallowest first.
        num_distances: The channels of the logits of the distances.
        norm_cfg: The norm.
    """

    def __init__(self, num_classes: int, in_channels: Sequence[int], num_distances: int, norm_cfg: dict):
        super().__init__()
        reg_channels = max(16, in_channels[0] // 4, num_distances)
        cls_channels = max(in_channels[0], min(num_classes, 100))
        layer = dict(padding=1, norm_cfg=norm_cfg, act_cfg=ACT)
        self.reg_convs = nn.ModuleList(
            nn.Sequential(
                ConvModule(channels, reg_channels, 3, **layer),
                ConvModule(reg_channels, reg_channels, 3, **layer),
                nn.Conv2d(reg_channels, num_distances, 1),
            )
            for channels in in_channels
        )
        self.cls_convs = nn.ModuleList(
            nn.Sequential(
                DepthwiseSeparableConvModule(channels, cls_channels, 3, **layer),
                DepthwiseSeparableConvModule(cls_channels, cls_channels, 3, **layer),
                nn.Conv2d(cls_channels, num_classes, 1),
            )
            for channels in in_channels
        )

    def forward(self, feats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return (
            [conv(x) for conv, x in zip(self.cls_convs, feats)],
            [conv(x) for conv, x in zip(self.reg_convs, feats)],
        )


@MODELS.register_module()
class YOLOv10Head(DistributionHead):
    """YOLOv10's head with consistent dual assignments (arXiv 2405.14458).

    Two branches with the same structure train together. The one-to-many branch learns many points per box. The
    one-to-one branch learns one point per box, on detached maps, so it does not need NMS. Inference uses only the
    one-to-one branch.

    Args:
        num_classes: The number of classes.
        in_channels: The channels of the neck's maps, shallowest first.
        reg_max: The largest distance in strides. Defaults to 15.
        strides: The strides of the levels in pixels. Defaults to (8, 16, 32).
        norm_cfg: The norm. Defaults to ``dict(type='BN')``.
        loss_cls: The loss of the scores. Defaults to the binary cross-entropy with a weight of 0.5.
        loss_bbox: The loss of the boxes. Defaults to the complete IoU loss with a weight of 7.5.
        loss_dfl: The loss of the distributions. Defaults to the distribution focal loss with a weight of 1.5.
        train_cfg: ``one_to_many`` and ``one_to_one`` are the assigners of the branches. Defaults to None, which is
            enough for inference.
        test_cfg: ``score_thr``, ``nms_pre`` (the largest number of detections per level) and ``max_per_img`` (300
            if it is not set). Defaults to None.
        init_cfg: The initialisation. Defaults to None: the scores of each level add up to about 5 for an image of 640 x
            640 pixels, and all distances are equally likely.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        reg_max: int = 15,
        strides: Sequence[int] = (8, 16, 32),
        norm_cfg: dict = dict(type='BN'),
        loss_cls: dict = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.5),
        loss_bbox: dict = dict(type='CompleteIoULoss', loss_weight=7.5),
        loss_dfl: dict = dict(type='DistributionFocalLoss', loss_weight=1.5),
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(
            num_classes, in_channels, reg_max, strides, loss_cls, loss_bbox, loss_dfl, train_cfg, test_cfg, init_cfg
        )
        self.one_to_many = Branch(num_classes, in_channels, 4 * (reg_max + 1), norm_cfg)
        self.one_to_one = Branch(num_classes, in_channels, 4 * (reg_max + 1), norm_cfg)
        if train_cfg is not None:
            self.assigners = {name: TASK_UTILS.build(train_cfg[name]) for name in ('one_to_many', 'one_to_one')}

    def init_weights(self) -> None:
        """Initialise for few objects and equally likely distances, unless ``init_cfg`` says otherwise."""
        for branch in (self.one_to_many, self.one_to_one):
            for cls_convs, reg_convs, stride in zip(branch.cls_convs, branch.reg_convs, self.strides):
                *_, cls_last = cls_convs.children()
                *_, reg_last = reg_convs.children()
                nn.init.constant_(cls_last.get_parameter('bias'), math.log(5 / self.num_classes / (640 / stride) ** 2))
                constant_init(reg_last, 0, bias=1)
        super().init_weights()

    def forward(self, feats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map the neck's maps (N, C_i, H, W), shallowest first, to the one-to-one branch's logits of each level.

        Returns:
            The logits (N, num_classes, H, W) of the scores, and the logits (N, 4 * (reg_max + 1), H, W) of the
            distances.
        """
        check_levels(feats, self.in_channels, 'bbox_head')
        return self.one_to_one(feats)

    def loss(self, x: Sequence[Tensor], batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Compute the losses of both branches.

        Args:
            x: The neck's maps (N, C_i, H, W).
            batch_data_samples: One sample per image, with ``gt_instances``. Regions to ignore count as background.

        Returns:
            ``one_to_many.loss_cls``, ``one_to_one.loss_cls``, and so on.

        Raises:
            UserError: A label is not in 0 to ``num_classes`` - 1.
        """
        check_levels(x, self.in_channels, 'bbox_head')
        gt_instances, _, metas = unpack_gt_instances(batch_data_samples)
        self.check_labels(gt_instances)
        outs = dict(one_to_many=self.one_to_many(x), one_to_one=self.one_to_one([level.detach() for level in x]))
        return {
            f'{name}.{key}': value
            for name, (cls_scores, bbox_preds) in outs.items()
            for key, value in self.loss_by_feat(cls_scores, bbox_preds, gt_instances, metas, branch=name).items()
        }

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        batch_gt_instances: Sequence[InstanceData],
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Sequence[InstanceData] | None = None,
        *,
        branch: str,
    ) -> dict[str, Tensor]:
        """Compute the losses of the maps that a branch returns, against the boxes that its assigner assigns."""
        predictions = self.flatten(cls_scores, bbox_preds)
        assignments = [
            self.assigners[branch].assign(pred, gt)
            for pred, gt in zip(self.assigner_inputs(predictions), batch_gt_instances)
        ]
        return self.losses(predictions, assignments, batch_gt_instances)

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: dict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Keep the detections with the highest scores, without NMS."""
        best = results.scores.topk(min(cfg.get('max_per_img', 300), len(results))).indices
        return super()._bbox_post_process(results[best], cfg, rescale, with_nms=False, img_meta=img_meta)

    def switch_to_deploy(self) -> None:
        """Delete the branch that only training uses."""
        if hasattr(self, 'one_to_many'):
            del self.one_to_many
