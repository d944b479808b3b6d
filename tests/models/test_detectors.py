"""These tests compare PP-YOLOE and YOLOv10 with the reference implementation and with second implementations.

They also check the error messages.
"""

import math
from functools import cache

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch.utils.flop_counter import FlopCounterMode

from econvnext_mmdet.models.common.reparam import RepConv
from econvnext_mmdet.models.fuse import fuse
from econvnext_mmdet.models.ppyoloe import PPYOLOECSPResNet, PPYOLOEHead
from econvnext_mmdet.models.yolov10 import YOLOv10CSPDarknet, YOLOv10PAFPN
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.weights.loading import named_tensors, prepare_state
from econvnext_mmdet.weights.paddle import convert

from ..helpers import ROOT, assert_agrees

REFERENCE = ROOT / 'tests' / 'data' / 'reference'
BASES = ROOT / 'configs' / '_base_' / 'models'
OURS = dict(type='EConvNeXt', arch='tiny', widen_factor=0.125, deepen_factor=0.34, out_indices=(1, 2, 3))
# The reduced models of the reference: the backbone, its channels, and the channels of the neck.
SIZES = {
    'ppyoloe_e_convnext_tiny': (OURS, [32, 64, 128], [24, 48, 96]),
    'ppyoloe_cspresnet': (
        dict(type='PPYOLOECSPResNet', arch='L', widen_factor=0.125, deepen_factor=0.33),
        [32, 64, 128],
        [24, 48, 96],
    ),
    'yolov10_e_convnext_tiny': (OURS, [32, 64, 128], [32, 64, 128]),
    'yolov10_csp_darknet': (
        dict(type='YOLOv10CSPDarknet', arch='L', widen_factor=0.25, deepen_factor=0.33),
        [64, 128, 128],
        [64, 128, 128],
    ),
}


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules()


@pytest.fixture(autouse=True)
def epoch():
    """Set the epoch that a head reads from the message hub. It is 0 at first."""
    hub = MessageHub.get_current_instance()
    hub.update_info('epoch', 0)
    yield lambda number: hub.update_info('epoch', number)
    hub.update_info('epoch', 0)


def reduced(name, num_classes=4, **backbone):
    """Build a reduced detector with the other settings of its base config."""
    cfg = Config.fromfile(BASES / f'{name.partition("_")[0]}-l_e-convnext-tiny.py').model
    config, in_channels, out_channels = SIZES[name]
    cfg.data_preprocessor.batch_augments = None
    cfg['backbone'] = ConfigDict({**config, **backbone})
    cfg.neck.update(in_channels=in_channels, num_blocks=1)
    if cfg.type == 'PPYOLOE':
        cfg.neck.out_channels = out_channels
    cfg.bbox_head.update(num_classes=num_classes, in_channels=out_channels)
    return MODELS.build(cfg)


@cache
def reference(name):
    """A reduced detector with the reference's weights, in evaluation mode and float64, and the reference's arrays."""
    model = reduced(name)
    checkpoint = dict(state_dict=converted(name))
    prepare_state(model, checkpoint, name)  # as load_from does: every tensor must match
    model.load_state_dict(checkpoint['state_dict'], strict=False)  # the file lacks the counters of BatchNorms
    with np.load(REFERENCE / f'{name}_reduced.npz') as file:
        arrays = {key: torch.from_numpy(value) for key, value in file.items()}
    return model.double().eval(), {
        key: value.double() if value.is_floating_point() else value for key, value in arrays.items()
    }


def converted(name):
    """The weights of a reduced detector of the reference, under the names of this package."""
    factors = {key: SIZES[name][0][key] for key in ('arch', 'widen_factor', 'deepen_factor')}
    return dict(convert(str(REFERENCE / f'{name}_reduced.pdparams'), **factors).checkpoint.state)


def flat(maps, deepest_first):
    """Join the maps of all levels into (N, P, C), in the order of the reference."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in (maps[::-1] if deepest_first else maps)], dim=1)


@pytest.mark.parametrize('name', sorted(SIZES))
def test_every_map_equals_the_reference(name):
    model, arrays = reference(name)
    deepest_first = isinstance(model.bbox_head, PPYOLOEHead)
    with torch.no_grad():
        feats = model.backbone(arrays['image'])
        maps = model.neck(feats)
        cls_scores, bbox_preds = model.bbox_head(maps)
    for i in range(3):
        assert_agrees(feats[i], arrays[f'backbone_{i}'])
        assert_agrees(maps[2 - i if deepest_first else i], arrays[f'neck_{i}'])
    scores = flat(cls_scores, deepest_first).sigmoid()
    assert_agrees(scores.transpose(1, 2) if deepest_first else scores, arrays['eval_scores'])
    distances = model.bbox_head.integral(flat(bbox_preds, deepest_first)).reshape(2, -1, 4)
    assert_agrees(distances, arrays['eval_boxes_dist'])


def ground_truth(arrays):
    return [
        InstanceData(bboxes=boxes[mask[:, 0] > 0], labels=labels[mask[:, 0] > 0, 0].long())
        for boxes, labels, mask in zip(arrays['gt_bbox'], arrays['gt_class'], arrays['pad_gt_mask'])
    ]


def samples(instances, shape=(128, 128)):
    return [DetDataSample(gt_instances=gt, metainfo=dict(img_shape=shape)) for gt in instances]


@pytest.mark.parametrize('assigner, number', [('atss', 11), ('tal', 12)])
def test_assignments_and_losses_of_ppyoloe_equal_the_reference(epoch, assigner, number):
    """The epoch decides the assigner: ATSS assigns in the first twelve epochs."""
    model, arrays = reference('ppyoloe_e_convnext_tiny')
    head = model.bbox_head
    epoch(number)
    order = torch.cat([torch.arange(320, 336), torch.arange(256, 320), torch.arange(256)])  # deepest first
    with torch.no_grad():
        maps = model.extract_feat(arrays['image'])
        predictions = head.flatten(*head(maps))
        assert_agrees(predictions.score_logits.sigmoid()[:, order], arrays['train_scores'])
        assert_agrees(predictions.distance_logits[:, order], arrays['train_reg_dist'])
        assert_agrees(predictions.boxes[:, order], arrays['train_boxes'])
        targets = ground_truth(arrays)
        for i, (pred, gt) in enumerate(zip(head.assigner_inputs(predictions), targets)):
            result = (
                head.assign_by_place(pred, gt, predictions.num_points)
                if assigner == 'atss'
                else head.assigner.assign(pred, gt)
            )
            labels = torch.where(result.labels < 0, 4, result.labels)[order]
            assert torch.equal(labels, arrays[f'{assigner}_labels'][i].long())
            positive = labels < 4
            assert_agrees(gt.bboxes[result.gt_inds[order][positive] - 1], arrays[f'{assigner}_boxes'][i][positive])
            scores = torch.nn.functional.one_hot(labels, 5)[:, :4] * result.assign_metrics[order, None]
            assert (scores - arrays[f'{assigner}_scores'][i]).abs().max() <= 1e-5 * arrays[f'{assigner}_scores'].max()
        losses = head.loss(maps, samples(targets))
    for name, theirs, weight in (('cls', 'cls', 1), ('bbox', 'iou', 2.5), ('dfl', 'dfl', 0.5)):
        assert_agrees(losses[f'loss_{name}'] / weight, arrays[f'{assigner}_loss_{theirs}'])
    assert_agrees(sum(losses.values()), arrays[f'{assigner}_loss'])


def test_losses_of_yolov10_equal_the_reference():
    """The reference multiplies its losses by 16: by the batch size, 2, and by a constant."""
    model, arrays = reference('yolov10_e_convnext_tiny')
    with torch.no_grad():
        losses = model.bbox_head.loss(model.extract_feat(arrays['image']), samples(ground_truth(arrays)))
    for branch, short in (('one_to_many', 'o2m'), ('one_to_one', 'o2o')):
        for name, theirs in (('cls', 'cls'), ('bbox', 'iou'), ('dfl', 'dfl')):
            assert_agrees(16 * losses[f'{branch}.loss_{name}'], arrays[f'train_{short}_loss_{theirs}'])
        total = sum(value for key, value in losses.items() if key.startswith(branch))
        assert_agrees(16 * total, arrays[f'train_{short}_loss'])


@pytest.mark.parametrize(
    'base, changes, gmacs, params, inference',
    [
        ('ppyoloe-l_e-convnext-tiny', {}, 40.971, 44_225_336, 44_225_336),
        (
            'ppyoloe-l_e-convnext-tiny',
            {'backbone': dict(_delete_=True, type='PPYOLOECSPResNet', arch='L')},
            55.414,
            53_159_032,
            53_159_032,
        ),
        ('ppyoloe-m_e-convnext-mini', {}, 18.356, 21_018_912, 21_018_912),
        ('ppyoloe-s_e-convnext-mini', {}, 11.269, 11_651_904, 11_651_904),
        ('yolov10-l_e-convnext-tiny', {}, 38.729, 29_588_408, 27_742_700),
        (
            'yolov10-l_e-convnext-tiny',
            {
                'backbone': dict(_delete_=True, type='YOLOv10CSPDarknet', arch='L'),
                'neck.in_channels': [256, 512, 512],
                'bbox_head.in_channels': [256, 512, 512],
            },
            60.006,
            25_771_480,
            24_357_388,
        ),
        ('yolov10-m_e-convnext-tiny', {}, 37.614, None, None),
    ],
)
def test_sizes_equal_the_reference(base, changes, gmacs, params, inference):
    """The counts are for 640 x 640 pixels and 4 classes. The multiply-adds are those of the convolutions.

    In the reference, PP-YOLOE's projection of 17 bins to a distance is a convolution, too.
    """
    cfg = Config.fromfile(BASES / f'{base}.py')
    for key, value in {'bbox_head.num_classes': 4, **changes}.items():
        value = {k: v for k, v in value.items() if k != '_delete_'} if isinstance(value, dict) else value
        part, _, name = key.rpartition('.')
        (cfg.model[part] if part else cfg.model)[name] = value
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, 640, 640), mode='tensor')
    macs = counter.get_flop_counts()['Global'][torch.ops.aten.convolution] // 2
    if cfg.model.type == 'PPYOLOE':
        macs += 4 * 17 * (80**2 + 40**2 + 20**2)
    assert round(macs / 1e9, 3) == gmacs
    if params is not None:
        assert sum(param.numel() for param in model.parameters()) == params
        model.bbox_head.switch_to_deploy() if cfg.model.type == 'YOLOv10' else None
        assert sum(param.numel() for param in model.parameters()) == inference


@pytest.mark.parametrize('name, num_classes', [(name, number) for name in sorted(SIZES) for number in (1, 8)])
def test_load_from_leaves_out_only_class_layers_for_a_different_number_of_classes(name, num_classes):
    model, checkpoint = reduced(name, num_classes), dict(state_dict=converted(name))
    prepare_state(model, checkpoint, name)
    left = [key for key in named_tensors(model) if key not in checkpoint['state_dict']]
    assert left and all('cls_convs' in key and model.get_parameter(key).shape[0] == num_classes for key in left)


@pytest.mark.parametrize('name', ['ppyoloe_e_convnext_tiny', 'yolov10_e_convnext_tiny'])
def test_boxes_have_full_precision_in_mixed_precision(name):
    """The maps are the same. Autocast alone would compute the expected distances in half precision."""
    head = reduced(name).bbox_head
    maps = (
        [torch.randn(1, 4, size, size) for size in (16, 8, 4)],
        [3 * torch.randn(1, 4 * (head.reg_max + 1), size, size) for size in (16, 8, 4)],
    )
    expected = head.flatten(*maps).boxes
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(head.flatten(*maps).boxes, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize('kind', ['PPYOLOEHead', 'YOLOv10Head'])
def test_init_cfg_of_a_head_can_load_a_file(tmp_path, kind):
    """The default initialisation of the last layers comes before the file is loaded and does not overwrite it."""
    head = MODELS.build(dict(type=kind, num_classes=4, in_channels=[8, 16, 32]))
    for param in head.parameters():
        torch.nn.init.normal_(param)
    torch.save(head.state_dict(), tmp_path / 'head.pth')
    loaded = MODELS.build(
        dict(
            type=kind,
            num_classes=4,
            in_channels=[8, 16, 32],
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'head.pth')),
        )
    )
    loaded.init_weights()
    for key, value in head.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_a_norm_that_cannot_be_folded_does_not_change():
    layer = RepConv(8, 8, (3, 1), norm_cfg=dict(type='GN', num_groups=2))
    x = torch.rand(1, 8, 4, 4)
    expected = layer.eval()(x)
    assert torch.equal(fuse(layer)(x), expected) and layer.folded is None


def random_statistics(model):
    """Give BNs random values, as after training. With means of 0 and variances of 1, folding would change little."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -1, 1)
    return model.double().eval()


def yolov10_s():
    """A backbone and a neck of scale S, which have large kernels in the last stage and the last layer."""
    backbone = YOLOv10CSPDarknet('S', widen_factor=0.25)
    channels = backbone.out_channels
    return torch.nn.Sequential(backbone, YOLOv10PAFPN(channels, 'S', 1))


@pytest.mark.parametrize(
    'build, folded',
    [
        (lambda: PPYOLOECSPResNet('S', widen_factor=0.25), 6),
        (yolov10_s, 2),
        (lambda: reduced('ppyoloe_cspresnet'), 11),
        (lambda: reduced('yolov10_e_convnext_tiny'), 0),
    ],
)
def test_folding_does_not_change_the_outputs(build, folded):
    model = random_statistics(build())
    image = torch.rand(1, 3, 64, 96, dtype=torch.double)
    before = sum(param.numel() for param in model.parameters())
    with torch.no_grad():
        expected = model(image)
        found = fuse(fuse(model))(image)
    layers = [module for module in model.modules() if isinstance(module, RepConv)]
    assert len(layers) == folded and all(hasattr(layer.folded, 'weight') for layer in layers)
    assert sum(param.numel() for param in model.parameters()) < before
    for a, b in zip(_tensors(found), _tensors(expected)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def _tensors(outs):
    return [outs] if torch.is_tensor(outs) else [tensor for out in outs for tensor in _tensors(out)]


def assign_slowly(scores, boxes, points, gts, labels, topk, alpha, beta, eps, overlap):
    """The task-aligned assigner, written with loops from its description."""
    inside = [[bool(gt[0] < x < gt[2] and gt[1] < y < gt[3]) for x, y in points] for gt in gts]
    overlaps = [[float(overlap(gt, box)) for box in boxes] for gt in gts]
    metrics = [
        [float(scores[p, labels[g]]) ** alpha * overlaps[g][p] ** beta for p in range(len(points))]
        for g in range(len(gts))
    ]
    claims = {p: [] for p in range(len(points))}
    for g in range(len(gts)):
        candidates = sorted((p for p in claims if inside[g][p]), key=lambda p: -metrics[g][p])
        for p in candidates[:topk]:
            claims[p].append(g)
    owner = {
        p: (found[0] if len(found) == 1 else max(range(len(gts)), key=lambda g: overlaps[g][p]))
        for p, found in claims.items()
        if found
    }
    targets = {}
    for g in range(len(gts)):
        mine = [p for p in owner if owner[p] == g]
        for p in mine:
            targets[p] = metrics[g][p] / (max(metrics[g][q] for q in mine) + eps) * max(overlaps[g][q] for q in mine)
    return owner, targets


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize(
    'topk, alpha, eps, kind', [(13, 1.0, 1e-7, 'BboxOverlaps2D'), (1, 0.5, 1e-9, 'CIoUOverlaps2D')]
)
def test_the_assigner_equals_a_second_implementation(seed, topk, alpha, eps, kind):
    torch.manual_seed(seed)
    points = torch.stack(torch.meshgrid(torch.arange(8) * 8 + 4.0, torch.arange(8) * 8 + 4.0, indexing='xy'), -1)
    points = points.reshape(-1, 2).double()
    boxes = torch.cat((points - torch.rand(64, 2).double() * 20 - 1, points + torch.rand(64, 2).double() * 20 + 1), 1)
    corner = torch.rand(6, 2).double() * 30
    gt = InstanceData(
        bboxes=torch.cat((corner, corner + 5 + torch.rand(6, 2).double() * 30), 1), labels=torch.randint(0, 3, (6,))
    )
    pred = InstanceData(priors=points, bboxes=boxes, scores=torch.rand(64, 3).double())
    assigner = TASK_UTILS.build(
        dict(type='InsideTaskAlignedAssigner', topk=topk, alpha=alpha, eps=eps, iou_calculator=dict(type=kind))
    )
    result = assigner.assign(pred, gt)
    owner, targets = assign_slowly(
        pred.scores,
        boxes,
        points.tolist(),
        gt.bboxes,
        gt.labels,
        topk,
        alpha,
        6.0,
        eps,
        iou if kind == 'BboxOverlaps2D' else lambda a, b: max(complete_iou(a, b), 0),
    )
    assert {p: int(g) - 1 for p, g in enumerate(result.gt_inds) if g} == owner
    for p, target in targets.items():
        assert float(result.assign_metrics[p]) == pytest.approx(target, rel=1e-6, abs=1e-12)
    assert all(result.assign_metrics[p] == 0 for p in range(64) if p not in owner)


def iou(a, b):
    sides = [float(max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0)) for i in (0, 1)]
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def complete_iou(a, b):
    """Complete IoU (arXiv 1911.08287) in plain numbers."""
    a, b = a.tolist(), b.tolist()
    centre = sum(((a[i] + a[i + 2] - b[i] - b[i + 2]) / 2) ** 2 for i in (0, 1))
    diagonal = sum((max(a[i + 2], b[i + 2]) - min(a[i], b[i])) ** 2 for i in (0, 1))
    angle = np.arctan((a[2] - a[0]) / (a[3] - a[1])) - np.arctan((b[2] - b[0]) / (b[3] - b[1]))
    v, overlap = 4 / np.pi**2 * angle**2, iou(a, b)
    return overlap - centre / diagonal - v**2 / (1 - overlap + v)


def test_the_complete_iou_loss_includes_the_aspect_ratio_term_even_if_the_iou_is_below_one_half():
    torch.manual_seed(0)
    corner = torch.rand(20, 2).double() * 10
    pred = torch.cat((corner, corner + torch.rand(20, 2).double() * 20 + 1), 1).requires_grad_()
    target = torch.tensor([[3.0, 4.0, 13.0, 20.0]]).double().expand(20, 4)
    loss = MODELS.build(dict(type='CompleteIoULoss', loss_weight=2.0))
    overlaps = bbox_overlaps(pred, target, is_aligned=True)
    assert (overlaps < 0.5).any() and (overlaps > 0.5).any()
    weight = torch.rand(20).double()
    expected = sum(float(w) * (1 - complete_iou(a, b)) for w, a, b in zip(weight, pred, target))
    assert float(loss(pred, target, weight=weight, avg_factor=5)) == pytest.approx(2 * expected / 5, rel=1e-6)
    without_area = (
        torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 5.0], [3.0, 4.0, 13.0, 20.0]]).double().requires_grad_()
    )
    loss(without_area, target[:3]).backward()
    assert torch.isfinite(without_area.grad).all()


def test_complete_iou_overlaps_of_boxes_without_area_are_numbers_from_zero_to_one():
    boxes = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 5.0], [3.0, 4.0, 13.0, 20.0]])
    overlaps = TASK_UTILS.build(dict(type='CIoUOverlaps2D'))(boxes, boxes[:2])
    assert overlaps.shape == (3, 2) and ((overlaps >= 0) & (overlaps <= 1)).all()  # false for NaN


@pytest.mark.parametrize(
    'registry, name',
    [
        *((MODELS, name) for name in ('PPYOLOE', 'PPYOLOECSPResNet', 'PPYOLOEHead', 'PPYOLOEPAFPN')),
        *((MODELS, name) for name in ('YOLOv10', 'YOLOv10CSPDarknet', 'YOLOv10Head', 'YOLOv10PAFPN')),
        (MODELS, 'CompleteIoULoss'),
        (TASK_UTILS, 'CIoUOverlaps2D'),
        (TASK_UTILS, 'InsideTaskAlignedAssigner'),
    ],
)
def test_every_type_of_the_two_detectors_is_registered(registry, name):
    assert registry.get(name).__module__.startswith('econvnext_mmdet.models.')


NAMES = ['ppyoloe_e_convnext_tiny', 'ppyoloe_cspresnet', 'yolov10_e_convnext_tiny', 'yolov10_csp_darknet']
BOXES = {
    'none': ([], []),
    'no area': ([[10.0, 10.0, 10.0, 30.0], [20.0, 20.0, 20.0, 20.0]], [0, 1]),
    'tiny': ([[10.2, 10.2, 10.4, 10.4]], [2]),
    'outside': ([[200.0, 200.0, 240.0, 240.0]], [3]),
    'usual': ([[8.0, 8.0, 40.0, 50.0], [20.0, 20.0, 60.0, 44.0]], [0, 3]),
}


@pytest.mark.parametrize(
    'name, atss',
    [*((name, False) for name in NAMES), *((name, True) for name in NAMES if name.startswith('ppyoloe'))],
)
def test_every_parameter_gets_a_finite_gradient_from_any_boxes(name, epoch, atss):
    """Distributed training refuses parameters without a gradient."""
    torch.manual_seed(0)
    epoch(0 if atss else 12)
    model = reduced(name)
    model.init_weights()
    model.train()
    for kind, (boxes, labels) in BOXES.items():
        gt = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.long))
        data = model.data_preprocessor(
            dict(inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)] * 2, data_samples=samples([gt, gt])),
            training=True,
        )
        model.zero_grad()
        loss, log = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        assert all(param.grad is not None and torch.isfinite(param.grad).all() for param in model.parameters()), kind
        assert (sum(value for key, value in log.items() if 'bbox' in key) > 0) == (kind == 'usual'), kind


@pytest.mark.parametrize('name', NAMES)
def test_an_image_smaller_than_a_stride_is_padded(name):
    model = reduced(name)
    model.bbox_head.test_cfg.score_thr = 0.0  # the scores of an untrained model are low
    model.init_weights()
    gt = InstanceData(bboxes=torch.tensor([[2.0, 2.0, 15.0, 14.0]]), labels=torch.tensor([1]))
    for training in (True, False):
        data = model.train(training).data_preprocessor(
            dict(
                inputs=[torch.zeros(3, 17, 20, dtype=torch.uint8)] * 2,
                data_samples=[
                    DetDataSample(
                        gt_instances=gt, metainfo=dict(img_shape=(17, 20), ori_shape=(17, 20), scale_factor=(1.0, 1.0))
                    )
                    for _ in range(2)
                ],
            ),
            training,
        )
        assert data['inputs'].shape[-2:] == (32, 32)
        found = model(**data, mode='loss' if training else 'predict')
    boxes = found[0].pred_instances.bboxes
    assert len(boxes) > 0 and boxes.max() <= 20


@pytest.mark.parametrize('name', NAMES[::2])
def test_the_error_names_a_class_that_the_head_does_not_have(name):
    model = reduced(name)
    gt = InstanceData(bboxes=torch.tensor([[2.0, 2.0, 15.0, 14.0]]), labels=torch.tensor([4]))
    with pytest.raises(
        UserError, match='a box has the class 4, but the bbox_head has num_classes=4, so classes must be 0 to 3'
    ):
        model(torch.rand(2, 3, 64, 64), samples([gt, gt]), mode='loss')


@pytest.mark.parametrize('name', NAMES[::2])
def test_the_error_names_what_the_neck_expects_and_gets(name):
    image = torch.rand(1, 3, 64, 64)
    with pytest.raises(UserError, match=r'neck expects maps with \[32, 64, 128\] channels.*got \[64, 128, 256\]'):
        reduced(name, widen_factor=0.25)(image, mode='tensor')
    with pytest.raises(
        UserError, match=r'got \[16, 32, 64, 128\]. Set model.neck.in_channels, or set model.backbone.out_indices'
    ):
        reduced(name, out_indices=(0, 1, 2, 3))(image, mode='tensor')
    with pytest.raises(UserError, match=r'half as high and wide.*got the sizes .*pad_size_divisor=32'):
        reduced(name)(torch.rand(1, 3, 72, 64), mode='tensor')


@pytest.mark.parametrize(
    'build',
    [lambda: PPYOLOECSPResNet('X'), lambda: YOLOv10CSPDarknet('tiny'), lambda: YOLOv10PAFPN([8, 16, 32], 'N', 1)],
)
def test_the_error_names_the_known_scales(build):
    with pytest.raises(UserError, match=r'arch of \w+ must be one of S, M, L; got'):
        build()


@pytest.mark.parametrize('name', NAMES[::2])
def test_training_and_inference_compute_the_same_boxes(name):
    """The losses use the boxes of a whole batch at once. Inference computes them level by level."""
    torch.manual_seed(0)
    model = random_statistics(reduced(name))
    image = torch.rand(2, 3, 64, 96, dtype=torch.double)
    head = model.bbox_head
    head.test_cfg.update(score_thr=-1.0, nms_pre=10**6, max_per_img=10**6)
    metas = [dict(img_shape=(10**6, 10**6))] * 2
    with torch.no_grad():
        cls_scores, bbox_preds = head(model.extract_feat(image))
        outs = [maps / 100 for maps in cls_scores], bbox_preds  # small logits, so that the sigmoids are not all 0 or 1
        predictions = head.flatten(*outs)
        found = head.predict_by_feat(*outs, batch_img_metas=metas, with_nms=False)
    for i in range(2):
        scores = predictions.score_logits[i].sigmoid()  # (P, 4): every point has a box for each class
        boxes = predictions.boxes[i].clamp(min=0)[:, None].expand(-1, 4, -1).reshape(-1, 4)
        expected = torch.cat((scores.reshape(-1, 1), torch.arange(4).repeat(len(scores))[:, None], boxes), dim=1)
        detected = torch.cat((found[i].scores[:, None], found[i].labels[:, None], found[i].bboxes), dim=1)
        torch.testing.assert_close(by_rows(detected), by_rows(expected))


def by_rows(table):
    """Sort the rows of a table (n, columns) by their numbers."""
    return table[np.lexsort(table.round(decimals=9).T.numpy()[::-1])]


def test_yolov10_keeps_the_best_300_without_nms():
    """Equal boxes all stay. NMS would remove all but one."""
    model = reduced('yolov10_e_convnext_tiny')
    head = model.bbox_head
    scores = [torch.zeros(1, 4, size, size) for size in (16, 8, 4)]
    distances = [torch.full((1, 64, size, size), -100.0) for size in (16, 8, 4)]
    for maps in distances:
        maps[:, [15 + 16 * side for side in range(4)]] = 100.0  # every box has the largest distances
    scores[0][0, 2, 3, 3:5] = 5.0
    (result,) = head.predict_by_feat(scores, distances, batch_img_metas=[dict(img_shape=(128, 128))])
    assert len(result) == 300 and result.scores[:2].tolist() == pytest.approx([torch.tensor(5.0).sigmoid().item()] * 2)
    assert result.labels[:2].tolist() == [2, 2] and torch.equal(result.bboxes[0], result.bboxes[1])


@pytest.mark.parametrize('backbone', [PPYOLOECSPResNet, YOLOv10CSPDarknet])
@pytest.mark.parametrize('factor', ['deepen_factor', 'widen_factor'])
def test_a_factor_out_of_range_is_refused(backbone, factor):
    for value, says in ((0, 'must be positive'), (math.nan, 'must be positive'), (math.inf, 'is too large: a stage')):
        with pytest.raises(UserError, match=f'{factor}.*{says}'):
            backbone('L', **{factor: value})
