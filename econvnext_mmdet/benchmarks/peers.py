"""The networks of the speed comparison: E-ConvNeXt, its peers, and the detectors with either."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mmdet

from ..utils.errors import UserError

OURS = str(Path(__file__).parents[1] / '.mim' / 'configs')
MMDET = str(Path(mmdet.__file__).parent / '.mim' / 'configs')
COCO_SIZE = (800, 1280)
YOLO_SIZE = (640, 640)


class Entry(NamedTuple):
    """A network of the comparison.

    Attributes:
        name: The name on the command line.
        title: The name in tables and plots.
        origin: The name of the network in timm, or the path of a config.
        accuracy: The published accuracy in %: top-1 on ImageNet-1k, or box AP on COCO's validation set. None where we
            know no figure.
        source: Where the accuracy was published, and how the weights were trained if that is not on ImageNet-1k alone.
        size: The height and width in pixels at which the accuracy was published. Defaults to 224 x 224.
        ours: Whether the backbone is an E-ConvNeXt. Defaults to False.
        options: Changes to the config, by dotted name. Defaults to none.
    """

    name: str
    title: str
    origin: str
    accuracy: float | None = None
    source: str = ''
    size: tuple[int, int] = (224, 224)
    ours: bool = False
    options: tuple[tuple[str, Any], ...] = ()


def _ours(arch: str, accuracy: float) -> Entry:
    config = f'{OURS}/imagenet/e-convnext-{arch}_16xb64_in1k.py'
    return Entry(f'e-convnext-{arch}', f'E-ConvNeXt-{arch}', config, accuracy, 'arXiv 2508.20955', ours=True)


DISTILLED = 'distilled from a RegNetY-16GF'
SSLD = 'distilled, with images of ImageNet-22k'
CLASSIFIERS = (
    _ours('mini', 78.3),
    _ours('tiny', 80.6),
    _ours('small', 81.9),
    Entry('resnet18', 'ResNet-18', 'resnet18', 71.5, 'timm model card resnet18.a1_in1k (arXiv 2110.00476)'),
    Entry('resnet50', 'ResNet-50', 'resnet50', 80.4, 'timm model card resnet50.a1_in1k (arXiv 2110.00476)'),
    Entry('convnext_tiny', 'ConvNeXt-T', 'convnext_tiny', 82.1, 'arXiv 2201.03545'),
    Entry('convnextv2_pico', 'ConvNeXtV2-P', 'convnextv2_pico', 80.3, 'arXiv 2301.00808; pretrained with FCMAE'),
    Entry(
        'cspdarknet53',
        'CSPDarknet-53',
        'cspdarknet53',
        77.2,
        'github.com/WongKinYiu/CrossStagePartialNetworks, imagenet/results.md',
        (256, 256),
    ),
    Entry('fasternet_t2', 'FasterNet-T2', 'fasternet_t2', 78.9, 'arXiv 2303.03667'),
    Entry('fasternet_s', 'FasterNet-S', 'fasternet_s', 81.3, 'arXiv 2303.03667'),
    Entry('starnet_s4', 'StarNet-S4', 'starnet_s4', 78.4, 'arXiv 2403.19967'),
    Entry('repvit_m1_0', 'RepViT-M1.0', 'repvit_m1_0', 80.0, f'arXiv 2307.09283; {DISTILLED}'),
    Entry('repvit_m1_5', 'RepViT-M1.5', 'repvit_m1_5', 82.3, f'arXiv 2307.09283; {DISTILLED}'),
    Entry(
        'mobilenetv4_conv_medium',
        'MobileNetV4-M',
        'mobilenetv4_conv_medium',
        79.1,
        'timm model card mobilenetv4_conv_medium.e500_r224_in1k',
    ),
    Entry('efficientnet_b1', 'EfficientNet-B1', 'efficientnet_b1', 79.1, 'arXiv 1905.11946', (240, 240)),
    Entry('hgnetv2_b1', 'HGNetV2-B1', 'hgnetv2_b1', 79.0, f'timm model cards of hgnetv2_b1; {SSLD}'),
    Entry('hgnetv2_b2', 'HGNetV2-B2', 'hgnetv2_b2', 80.6, f'timm model cards of hgnetv2_b2; {SSLD}'),
)


def _detector(
    folder: str, config: str, size: tuple[int, int], accuracy: float | None = None, source: str = ''
) -> Entry:
    """A detector. Its name is that of its config without the neck and the schedule."""
    name = re.sub('_fpn|_1x_coco|_36e_coco|_8xb32-300e_coco', '', config)
    return Entry(name, name, f'{folder}/{config}.py', accuracy, source, size, 'e-convnext' in name)


R18 = Entry(
    'mask-rcnn_r18',
    'mask-rcnn_r18',
    f'{MMDET}/mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    size=COCO_SIZE,
    options=(('model.backbone.depth', 18), ('model.neck.in_channels', (64, 128, 256, 512))),
)
YOLOV10 = 'arXiv 2405.14458; 500 epochs'
DETECTORS = (
    _detector(f'{OURS}/retinanet', 'retinanet_e-convnext-mini_fpn_1x_coco', COCO_SIZE),
    _detector(f'{OURS}/retinanet', 'retinanet_e-convnext-tiny_fpn_1x_coco', COCO_SIZE),
    _detector(f'{MMDET}/retinanet', 'retinanet_r18_fpn_1x_coco', COCO_SIZE, 31.7, "MMDetection's metafile; 1x"),
    _detector(f'{MMDET}/retinanet', 'retinanet_r50_fpn_1x_coco', COCO_SIZE, 36.5, "MMDetection's metafile; 1x"),
    _detector(f'{OURS}/mask_rcnn', 'mask-rcnn_e-convnext-mini_fpn_1x_coco', COCO_SIZE),
    _detector(f'{OURS}/mask_rcnn', 'mask-rcnn_e-convnext-tiny_fpn_1x_coco', COCO_SIZE),
    R18,
    _detector(f'{MMDET}/mask_rcnn', 'mask-rcnn_r50_fpn_1x_coco', COCO_SIZE, 38.2, "MMDetection's metafile; 1x"),
    _detector(f'{OURS}/ppyoloe', 'ppyoloe-s_e-convnext-mini_36e_coco', YOLO_SIZE),
    _detector(f'{OURS}/ppyoloe', 'ppyoloe-l_e-convnext-tiny_36e_coco', YOLO_SIZE),
    _detector(f'{OURS}/ppyoloe', 'ppyoloe-s_cspresnet_36e_coco', YOLO_SIZE, 43.4, 'PaddleDetection; 400 epochs'),
    _detector(f'{OURS}/ppyoloe', 'ppyoloe-l_cspresnet_36e_coco', YOLO_SIZE),
    _detector(f'{OURS}/yolov10', 'yolov10-s_e-convnext-mini_36e_coco', YOLO_SIZE),
    _detector(f'{OURS}/yolov10', 'yolov10-m_e-convnext-tiny_36e_coco', YOLO_SIZE),
    _detector(f'{OURS}/yolov10', 'yolov10-s_csp-darknet_36e_coco', YOLO_SIZE, 46.3, YOLOV10),
    _detector(f'{OURS}/yolov10', 'yolov10-m_csp-darknet_36e_coco', YOLO_SIZE, 51.1, YOLOV10),
    _detector(f'{MMDET}/rtmdet', 'rtmdet_tiny_8xb32-300e_coco', YOLO_SIZE, 41.1, "MMDetection's README; 300 epochs"),
    _detector(f'{MMDET}/rtmdet', 'rtmdet_s_8xb32-300e_coco', YOLO_SIZE, 44.6, "MMDetection's README; 300 epochs"),
)
GROUPS = dict(classifiers=CLASSIFIERS, detectors=DETECTORS)


def choose(names: Sequence[str]) -> list[Entry]:
    """The networks with the given names, each once.

    Args:
        names: Names of networks, ``classifiers`` or ``detectors``.

    Raises:
        UserError: A name is unknown, or there are classifiers as well as detectors.
    """
    known = {entry.name: (entry,) for entries in GROUPS.values() for entry in entries} | GROUPS
    for name in names:
        if name not in known:
            raise UserError(f'no network {name} in the comparison. There are {", ".join(known)}.')
    chosen = list(dict.fromkeys(entry for name in names for entry in known[name]))
    if {entry in DETECTORS for entry in chosen} == {True, False}:
        raise UserError(
            'top-1 and AP do not belong into one table, but the networks are classifiers as well as detectors. Compare '
            'each kind in a run of its own.'
        )
    return chosen
