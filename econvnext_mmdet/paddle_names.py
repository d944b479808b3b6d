"""Names of the reference's parameters (PaddlePaddle) and what they are called here.

The reference keeps the classifier's linear weight as (in, out), PyTorch as (out, in): a converter transposes
``head.fc.weight``. Its maps of PP-YOLOE go from the deepest to the shallowest, ours the other way.
"""
import re
from typing import Collection, Optional

# Patterns of a Paddle name and its replacement. The first that matches the whole name counts. Of an E-ConvNeXt
# classifier or backbone, without the prefix that the latter has in a detector, in mmpretrain's layout:
E_CONVNEXT = (
    (r'Down_Conv\.conv(\d)\.(.+)', lambda m: f'backbone.stem.{int(m[1]) - 1}.{m[2]}'),
    (r'(stages\.\d)\.down\.0\.(.+)', r'backbone.\1.down.\2'),
    (r'(stages\.\d\.blocks\.\d+)\.norm\.(.+)', r'backbone.\1.norm1.\2'),
    (r'(stages\.\d\.blocks\.\d+)\.ese\.(.+)', r'backbone.\1.attn.\2'),
    (r'(stages\.\d\..+)', r'backbone.\1'),
    # The reference norms the outputs of stages 1, 2, 3 and counts them from 0.
    (r'norms\.(\d)\.(.+)', lambda m: f'backbone.norm{int(m[1]) + 1}.{m[2]}'),
    (r'norm\.(.+)', r'head.norm.\1'),
    (r'head\.fc_cls\.(.+)', r'head.fc.\1'),
)
CSP_RESNET = (
    (r'(stem)\.conv(\d)\.(.+)', lambda m: f'backbone.stem.{int(m[2]) - 1}.{m[3]}'),
    (r'(stages\.\d)\.conv_down\.(.+)', r'backbone.\1.down.\2'),
    (r'(stages\.\d)\.(blocks\.\d+\.conv2)\.conv(\d)\.(.+)',
     lambda m: f'backbone.{m[1]}.csp.{m[2]}.branches.{int(m[3]) - 1}.{m[4]}'),
    (r'(stages\.\d)\.(.+)', r'backbone.\1.csp.\2'),
)
CSP_DARKNET = (
    (r'(stem\..+)', r'backbone.\1'),
    (r'layers\d+\.stage(\d)\.conv_layer\.(.+)', lambda m: f'backbone.stages.{int(m[1]) - 1}.0.{m[2]}'),
    (r'layers\d+\.stage(\d)\.scdown_layer\.conv(\d)\.(.+)',
     lambda m: f'backbone.stages.{int(m[1]) - 1}.0.{int(m[2]) - 1}.{m[3]}'),
    (r'layers\d+\.stage(\d)\.c2f(?:cib)?_layer\.(.+)', lambda m: f'backbone.stages.{int(m[1]) - 1}.1.{_c2f(m[2])}'),
    (r'layers\d+\.stage4\.sppf_layer\.(.+)', r'backbone.stages.3.2.\1'),
    (r'layers\d+\.stage4\.psa_layer\.attn\.qkv_proj\.(.+)', r'backbone.stages.3.3.attn.qkv.\1'),
    (r'layers\d+\.stage4\.psa_layer\.attn\.out_proj\.(.+)', r'backbone.stages.3.3.attn.out.\1'),
    (r'layers\d+\.stage4\.psa_layer\.attn\.pe\.(.+)', r'backbone.stages.3.3.attn.position.\1'),
    (r'layers\d+\.stage4\.psa_layer\.(.+)', r'backbone.stages.3.3.\1'),
)
# Of a detector's neck and head.
PPYOLOE = (
    (r'neck\.fpn_stages\.(\d)\.0\.(.+)', lambda m: f'neck.top_down.{m[1]}.{_csp(m[2])}'),
    (r'neck\.fpn_routes\.(.+)', r'neck.reduce.\1'),
    (r'neck\.pan_routes\.(\d)\.(.+)', lambda m: f'neck.downsample.{1 - int(m[1])}.{m[2]}'),
    (r'neck\.pan_stages\.(\d)\.0\.(.+)', lambda m: f'neck.bottom_up.{1 - int(m[1])}.{_csp(m[2])}'),
    (r'yolo_head\.stem_(cls|reg)\.(\d)\.(.+)', lambda m: f'bbox_head.{m[1]}_attns.{2 - int(m[2])}.{m[3]}'),
    (r'yolo_head\.pred_(cls|reg)\.(\d)\.(.+)', lambda m: f'bbox_head.{m[1]}_convs.{2 - int(m[2])}.{m[3]}'),
)
BRANCHES = dict(o2m='one_to_many', o2o='one_to_one')
YOLOV10 = (
    (r'neck\.fpn_p(\d)\.(.+)', lambda m: f'neck.top_down.{4 - int(m[1])}.{_c2f(m[2])}'),
    (r'neck\.pan_n(\d)\.(.+)', lambda m: f'neck.bottom_up.{int(m[1]) - 3}.{_c2f(m[2])}'),
    (r'neck\.down_conv1\.(.+)', r'neck.downsample.0.\1'),
    (r'neck\.down_conv2\.conv(\d)\.(.+)', lambda m: f'neck.downsample.1.{int(m[1]) - 1}.{m[2]}'),
    (r'yolo_head\.(o2.)_conv_cls\.(\d\.\d)\.(\d)\.(.+)', lambda m:
     f'bbox_head.{BRANCHES[m[1]]}.cls_convs.{m[2]}.{("depthwise", "pointwise")[int(m[3])]}_conv.{m[4]}'),
    (r'yolo_head\.(o2.)_conv_(cls|reg)\.(.+)', lambda m: f'bbox_head.{BRANCHES[m[1]]}.{m[2]}_convs.{m[3]}'),
)
STATISTICS = {'_mean': 'running_mean', '_variance': 'running_var'}
# Layer Scale, which the reference builds and never multiplies with; of a detector's file, the classifier's norm that
# its backbone keeps, and the numbers 0 to 16 by which PP-YOLOE's distances are expected.
UNUSED = re.compile(r'(backbone\.)?stages\.\d\.blocks\.\d+\.gamma|backbone\.norm\..+|yolo_head\.proj_conv\.weight')


def _csp(name: str) -> str:
    """A name within PP-YOLOE's cross-stage partial layer."""
    name = re.sub(r'^convs\.(\d+)\.conv2\.conv(\d)', lambda m: f'blocks.{m[1]}.conv2.branches.{int(m[2]) - 1}', name)
    return re.sub(r'^convs\.', 'blocks.', name)


def _c2f(name: str) -> str:
    """A name within YOLOv10's C2f layer."""
    return re.sub(r'^bottlenecks\.(\d+)\.(block\.)?', r'blocks.\1.', name)


def backbone_of(names: Collection[str]) -> str:
    """The type of the backbone that a file's names are those of, as it is registered."""
    if any('.conv_down.' in name for name in names):
        return 'PPYOLOECSPResNet'
    return 'YOLOv10CSPDarknet' if any('.c2f_layer.' in name for name in names) else 'EConvNeXt'


def detector_of(names: Collection[str]) -> Optional[str]:
    """The type of the detector that a file's names are those of, None where they are of none."""
    if any(name.startswith('yolo_head.o2') for name in names):
        return 'YOLOv10'
    return 'PPYOLOE' if any(name.startswith('yolo_head.') for name in names) else None


TABLES = dict(EConvNeXt=E_CONVNEXT, PPYOLOECSPResNet=CSP_RESNET, YOLOv10CSPDarknet=CSP_DARKNET, PPYOLOE=PPYOLOE,
              YOLOv10=YOLOV10)


def to_torch_name(name: str, backbone: str = 'EConvNeXt', detector: Optional[str] = None) -> Optional[str]:
    """The name here of a parameter of the reference's.

    Args:
        name (str): Paddle's name, as ``stages.0.conv1.bn._mean``, in a detector after ``backbone.``.
        backbone (str): Of :func:`backbone_of`. Defaults to 'EConvNeXt'.
        detector (str, optional): Of :func:`detector_of`. Defaults to None.

    Returns:
        str | None: Its name in an mmpretrain classifier or an mmdet detector, as
        ``backbone.stages.0.conv1.bn.running_mean``; None for a parameter that the reference does not use.

    Raises:
        KeyError: The name is none of the reference's.
    """
    if UNUSED.fullmatch(name):
        return None
    kind = detector if name.startswith(('neck.', 'yolo_head.')) else backbone
    stripped = re.sub(r'^backbone\.', '', name)
    for pattern, replacement in TABLES.get(kind, ()):
        if re.fullmatch(pattern, stripped):
            head, _, last = re.sub(pattern, replacement, stripped).rpartition('.')
            return f'{head}.{STATISTICS.get(last, last)}'
    raise KeyError(name)
