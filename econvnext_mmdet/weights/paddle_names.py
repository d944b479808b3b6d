"""The names of parameters in the reference implementation (PaddlePaddle), and their names in this package.

Two more things differ. The reference stores the linear weight of the classifier as (in, out), and PyTorch as (out, in),
so a converter transposes ``head.fc.weight``. The reference orders the feature maps of PP-YOLOE from the deepest to the
shallowest, and this package from the shallowest to the deepest.
"""

import re
from collections.abc import Callable, Collection

# Each rule is a pattern for Paddle's name, and a replacement. The first pattern that matches the whole name counts.
Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

# The rules for backbones apply to names without the prefix ``backbone.``, which only files of detectors have. The new
# names of an E-ConvNeXt classifier are those of MMPretrain's layout.
E_CONVNEXT: Rules = (
    (r'Down_Conv\.conv(\d)\.(.+)', lambda m: f'backbone.stem.{int(m[1]) - 1}.{m[2]}'),
    (r'(stages\.\d)\.down\.0\.(.+)', r'backbone.\1.down.\2'),
    (r'(stages\.\d\.blocks\.\d+)\.norm\.(.+)', r'backbone.\1.norm1.\2'),
    (r'(stages\.\d\.blocks\.\d+)\.ese\.(.+)', r'backbone.\1.attn.\2'),
    (r'(stages\.\d\..+)', r'backbone.\1'),
    # The reference has norms for the outputs of stages 1, 2 and 3, and numbers them from 0.
    (r'norms\.(\d)\.(.+)', lambda m: f'backbone.norm{int(m[1]) + 1}.{m[2]}'),
    (r'norm\.(.+)', r'head.norm.\1'),
    (r'head\.fc_cls\.(.+)', r'head.fc.\1'),
)
CSP_RESNET: Rules = (
    (r'(stem)\.conv(\d)\.(.+)', lambda m: f'backbone.stem.{int(m[2]) - 1}.{m[3]}'),
    (r'(stages\.\d)\.conv_down\.(.+)', r'backbone.\1.down.\2'),
    (
        r'(stages\.\d)\.(blocks\.\d+\.conv2)\.conv(\d)\.(.+)',
        lambda m: f'backbone.{m[1]}.csp.{m[2]}.branches.{int(m[3]) - 1}.{m[4]}',
    ),
    (r'(stages\.\d)\.(.+)', r'backbone.\1.csp.\2'),
)
CSP_DARKNET: Rules = (
    (r'(stem\..+)', r'backbone.\1'),
    (r'layers\d+\.stage(\d)\.conv_layer\.(.+)', lambda m: f'backbone.stages.{int(m[1]) - 1}.0.{m[2]}'),
    (
        r'layers\d+\.stage(\d)\.scdown_layer\.conv(\d)\.(.+)',
        lambda m: f'backbone.stages.{int(m[1]) - 1}.0.{int(m[2]) - 1}.{m[3]}',
    ),
    (r'layers\d+\.stage(\d)\.c2f(?:cib)?_layer\.(.+)', lambda m: f'backbone.stages.{int(m[1]) - 1}.1.{_c2f(m[2])}'),
    (r'layers\d+\.stage4\.sppf_layer\.(.+)', r'backbone.stages.3.2.\1'),
    (r'layers\d+\.stage4\.psa_layer\.attn\.qkv_proj\.(.+)', r'backbone.stages.3.3.attn.qkv.\1'),
    (r'layers\d+\.stage4\.psa_layer\.attn\.out_proj\.(.+)', r'backbone.stages.3.3.attn.out.\1'),
    (r'layers\d+\.stage4\.psa_layer\.attn\.pe\.(.+)', r'backbone.stages.3.3.attn.position.\1'),
    (r'layers\d+\.stage4\.psa_layer\.(.+)', r'backbone.stages.3.3.\1'),
)
# The necks and heads of the detectors.
PPYOLOE: Rules = (
    (r'neck\.fpn_stages\.(\d)\.0\.(.+)', lambda m: f'neck.top_down.{m[1]}.{_csp(m[2])}'),
    (r'neck\.fpn_routes\.(.+)', r'neck.reduce.\1'),
    (r'neck\.pan_routes\.(\d)\.(.+)', lambda m: f'neck.downsample.{1 - int(m[1])}.{m[2]}'),
    (r'neck\.pan_stages\.(\d)\.0\.(.+)', lambda m: f'neck.bottom_up.{1 - int(m[1])}.{_csp(m[2])}'),
    (r'yolo_head\.stem_(cls|reg)\.(\d)\.(.+)', lambda m: f'bbox_head.{m[1]}_attns.{2 - int(m[2])}.{m[3]}'),
    (r'yolo_head\.pred_(cls|reg)\.(\d)\.(.+)', lambda m: f'bbox_head.{m[1]}_convs.{2 - int(m[2])}.{m[3]}'),
)
BRANCHES = dict(o2m='one_to_many', o2o='one_to_one')
YOLOV10: Rules = (
    (r'neck\.fpn_p(\d)\.(.+)', lambda m: f'neck.top_down.{4 - int(m[1])}.{_c2f(m[2])}'),
    (r'neck\.pan_n(\d)\.(.+)', lambda m: f'neck.bottom_up.{int(m[1]) - 3}.{_c2f(m[2])}'),
    (r'neck\.down_conv1\.(.+)', r'neck.downsample.0.\1'),
    (r'neck\.down_conv2\.conv(\d)\.(.+)', lambda m: f'neck.downsample.1.{int(m[1]) - 1}.{m[2]}'),
    (
        r'yolo_head\.(o2.)_conv_cls\.(\d\.\d)\.(\d)\.(.+)',
        lambda m: f'bbox_head.{BRANCHES[m[1]]}.cls_convs.{m[2]}.{("depthwise", "pointwise")[int(m[3])]}_conv.{m[4]}',
    ),
    (r'yolo_head\.(o2.)_conv_(cls|reg)\.(.+)', lambda m: f'bbox_head.{BRANCHES[m[1]]}.{m[2]}_convs.{m[3]}'),
)
STATISTICS = {'_mean': 'running_mean', '_variance': 'running_var'}
# Parameters that are not used: the factors of Layer Scale, which the reference creates but never uses. The
# file of a detector also has the norm of the classifier's head, because the reference builds it in the backbone. The
# file of PP-YOLOE has the numbers 0 to 16, the constant weights with which the reference computes expected distances.
UNUSED = re.compile(r'(backbone\.)?stages\.\d\.blocks\.\d+\.gamma|backbone\.norm\..+|yolo_head\.proj_conv\.weight')


def _csp(name: str) -> str:
    """Translate a name inside PP-YOLOE's cross-stage partial layer."""
    name = re.sub(r'^convs\.(\d+)\.conv2\.conv(\d)', lambda m: f'blocks.{m[1]}.conv2.branches.{int(m[2]) - 1}', name)
    return re.sub(r'^convs\.', 'blocks.', name)


def _c2f(name: str) -> str:
    """Translate a name inside YOLOv10's C2f layer."""
    return re.sub(r'^bottlenecks\.(\d+)\.(block\.)?', r'blocks.\1.', name)


def backbone_of(names: Collection[str]) -> str:
    """The registered type of the backbone to which a file's names belong."""
    if any('.conv_down.' in name for name in names):
        return 'PPYOLOECSPResNet'
    return 'YOLOv10CSPDarknet' if any('.c2f_layer.' in name for name in names) else 'EConvNeXt'


def detector_of(names: Collection[str]) -> str | None:
    """The type of the detector to which a file's names belong, or None if they do not belong to a detector."""
    if any(name.startswith('yolo_head.o2') for name in names):
        return 'YOLOv10'
    return 'PPYOLOE' if any(name.startswith('yolo_head.') for name in names) else None


TABLES: dict[str, Rules] = dict(
    EConvNeXt=E_CONVNEXT, PPYOLOECSPResNet=CSP_RESNET, YOLOv10CSPDarknet=CSP_DARKNET, PPYOLOE=PPYOLOE, YOLOv10=YOLOV10
)


def to_torch_name(name: str, backbone: str = 'EConvNeXt', detector: str | None = None) -> str | None:
    """Translate the name of a parameter.

    Args:
        name: Paddle's name, such as ``stages.0.conv1.bn._mean``. In the file of a detector, ``backbone.`` precedes it.
        backbone: The type of the backbone, see :func:`backbone_of`. Defaults to 'EConvNeXt'.
        detector: The type of the detector, see :func:`detector_of`. Defaults to None.

    Returns:
        The name in a classifier of MMPretrain or a detector of MMDetection, such as
        ``backbone.stages.0.conv1.bn.running_mean``; None for a parameter that is not used.

    Raises:
        KeyError: The reference does not use the name.
    """
    if UNUSED.fullmatch(name):
        return None
    kind = detector if name.startswith(('neck.', 'yolo_head.')) else backbone
    stripped = re.sub(r'^backbone\.', '', name)
    for pattern, replacement in () if kind is None else TABLES[kind]:
        if re.fullmatch(pattern, stripped):
            head, _, last = re.sub(pattern, replacement, stripped).rpartition('.')
            return f'{head}.{STATISTICS.get(last, last)}'
    raise KeyError(name)
