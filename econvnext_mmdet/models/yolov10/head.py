"""YOLOv10's head."""
import math
from typing import Dict, List, Optional, Sequence, Tuple

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmengine.model import constant_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..distribution_head import DistributionHead
from ..levels import check_levels
from .layers import ACT


class Branch(nn.Module):
    """Convolutions of each level for its scores and its distances.

    Args:
        num_classes (int): Number of classes.
        in_channels (Sequence[int]): Channels of the levels, shallowest first.
        num_distances (int): Channels of the distances' logits.
        norm_cfg (dict): The norm.
    """

    def __init__(self, num_classes: int, in_channels: Sequence[int], num_distances: int, norm_cfg: dict):
        super().__init__()
        reg_channels = max(16, in_channels[0] // 4, num_distances)
        cls_channels = max(in_channels[0], min(num_classes, 100))
        layer = dict(padding=1, norm_cfg=norm_cfg, act_cfg=ACT)
        self.reg_convs = nn.ModuleList(nn.Sequential(
            ConvModule(channels, reg_channels, 3, **layer), ConvModule(reg_channels, reg_channels, 3, **layer),
            nn.Conv2d(reg_channels, num_distances, 1)) for channels in in_channels)
        self.cls_convs = nn.ModuleList(nn.Sequential(
            DepthwiseSeparableConvModule(channels, cls_channels, 3, **layer),
            DepthwiseSeparableConvModule(cls_channels, cls_channels, 3, **layer),
            nn.Conv2d(cls_channels, num_classes, 1)) for channels in in_channels)

    def forward(self, feats: Sequence[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        return ([conv(x) for conv, x in zip(self.cls_convs, feats)],
                [conv(x) for conv, x in zip(self.reg_convs, feats)])


@MODELS.register_module()
class YOLOv10Head(DistributionHead):
    """YOLOv10's head with consistent dual assignments (arXiv 2405.14458).

    Two equal branches train together: one learns many points of each box, the other, on detached maps, one point of
    each, so that it needs no NMS. Inference has the second alone.

    Args:
        num_classes (int): Number of classes.
        in_channels (Sequence[int]): Channels of the neck's maps, shallowest first.
        reg_max (int): The largest distance in strides. Defaults to 15.
        strides (Sequence[int]): Strides of the levels in pixels. Defaults to (8, 16, 32).
        norm_cfg (dict): The norm. Defaults to ``dict(type='BN')``.
        loss_cls (dict): Defaults to the binary cross-entropy of weight 0.5.
        loss_bbox (dict): Defaults to the complete IoU loss of weight 7.5.
        loss_dfl (dict): Defaults to the distribution focal loss of weight 1.5.
        train_cfg (dict, optional): ``one_to_many`` and ``one_to_one``, the assigners of the branches. Defaults to
            None, for inference.
        test_cfg (dict, optional): ``score_thr``, ``nms_pre``, which is the most of a level, and ``max_per_img``.
            Defaults to None.
        init_cfg (dict, optional): How to initialise. Defaults to None: scores of five objects in an image of 640 x
            640, all distances equally likely.
    """

    def __init__(self, num_classes: int, in_channels: Sequence[int], reg_max: int = 15,
                 strides: Sequence[int] = (8, 16, 32), norm_cfg: dict = dict(type='BN'),
                 loss_cls: dict = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.5),
                 loss_bbox: dict = dict(type='CompleteIoULoss', loss_weight=7.5),
                 loss_dfl: dict = dict(type='DistributionFocalLoss', loss_weight=1.5),
                 train_cfg: Optional[dict] = None, test_cfg: Optional[dict] = None, init_cfg: Optional[dict] = None):
        super().__init__(num_classes, in_channels, reg_max, strides, loss_cls, loss_bbox, loss_dfl, train_cfg, test_cfg,
                         init_cfg)
        self.one_to_many = Branch(num_classes, in_channels, 4 * (reg_max + 1), norm_cfg)
        self.one_to_one = Branch(num_classes, in_channels, 4 * (reg_max + 1), norm_cfg)
        if train_cfg is not None:
            self.assigners = {name: TASK_UTILS.build(train_cfg[name]) for name in ('one_to_many', 'one_to_one')}

    def init_weights(self) -> None:
        """Initialise for few objects and equally likely distances, or as ``init_cfg`` says."""
        for branch in (self.one_to_many, self.one_to_one):
            for cls_conv, reg_conv, stride in zip(branch.cls_convs, branch.reg_convs, self.strides):
                cls_conv[-1].bias.data.fill_(math.log(5 / self.num_classes / (640 / stride)**2))
                constant_init(reg_conv[-1], 0, bias=1)
        super().init_weights()

    def forward(self, feats: Sequence[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        """Map the neck's maps (N, C_i, H, W) to the one-to-one branch's logits of scores (N, num_classes, H, W) and of
        distances (N, 4 * (reg_max + 1), H, W) of each level."""
        check_levels(feats, self.in_channels, 'bbox_head')
        return self.one_to_one(feats)

    def loss(self, x: Sequence[Tensor], batch_data_samples: SampleList) -> Dict[str, Tensor]:
        """The losses of both branches.

        Args:
            x (Sequence[Tensor]): The neck's maps (N, C_i, H, W).
            batch_data_samples (list[DetDataSample]): With ``gt_instances``; regions to ignore are background.

        Returns:
            dict[str, Tensor]: ``one_to_many.loss_cls``, ``one_to_one.loss_cls``, and so on.

        Raises:
            UserError: A label is not from 0 to ``num_classes`` - 1.
        """
        check_levels(x, self.in_channels, 'bbox_head')
        gt_instances, _, metas = unpack_gt_instances(batch_data_samples)
        self.check_labels(gt_instances)
        outs = dict(one_to_many=self.one_to_many(x), one_to_one=self.one_to_one([level.detach() for level in x]))
        return {f'{name}.{key}': value for name, maps in outs.items()
                for key, value in self.loss_by_feat(*maps, gt_instances, metas, branch=name).items()}

    def loss_by_feat(self, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor],
                     batch_gt_instances: Sequence[InstanceData], batch_img_metas: Sequence[dict],
                     batch_gt_instances_ignore: Optional[Sequence[InstanceData]] = None, *,
                     branch: str) -> Dict[str, Tensor]:
        """The losses of the maps that a branch returns, against the boxes that its assigner assigns."""
        predictions = self.flatten(cls_scores, bbox_preds)
        assignments = [self.assigners[branch].assign(pred, gt)
                       for pred, gt in zip(self.predictions_of(predictions), batch_gt_instances)]
        return self.losses(predictions, assignments, batch_gt_instances)

    def _bbox_post_process(self, results: InstanceData, cfg: dict, rescale: bool = False, with_nms: bool = True,
                           img_meta: Optional[dict] = None) -> InstanceData:
        """The detections of the highest scores; there is no NMS."""
        best = results.scores.topk(min(cfg.get('max_per_img', 300), len(results))).indices
        return super()._bbox_post_process(results[best], cfg, rescale, with_nms=False, img_meta=img_meta)

    def switch_to_deploy(self) -> None:
        """Drop the branch that only training uses."""
        if hasattr(self, 'one_to_many'):
            del self.one_to_many
