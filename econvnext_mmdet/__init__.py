"""E-ConvNeXt (arXiv 2508.20955) for MMDetection and MMPretrain.

Importing the package registers the backbone ``EConvNeXt``, the metric ``OfficialCocoMetric`` and hooks in
mmengine's root registries, where every OpenMMLab library finds them, and loaders for safetensors; the detectors
``PPYOLOE`` and ``YOLOv10`` where mmdet is installed, and parts of classifiers where mmpretrain is.
"""
from .requirements import check_versions

check_versions()

import warnings  # noqa: E402
from importlib.util import find_spec  # noqa: E402

from .engine.hooks import CocoTableHook, StrictLoadHook, SyncAllBuffersHook  # noqa: E402
from .engine.layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402
from .evaluation.coco_metric import OfficialCocoMetric  # noqa: E402
from .models import EConvNeXt  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = ['CocoTableHook', 'EConvNeXt', 'LayerDecayOptimWrapperConstructor', 'OfficialCocoMetric',
           'StrictLoadHook', 'SyncAllBuffersHook', '__version__']

if find_spec('mmdet') is not None:
    from .models.ppyoloe import PPYOLOE  # noqa: F401
    from .models.yolov10 import YOLOv10  # noqa: F401
    __all__ += ['PPYOLOE', 'YOLOv10']

if find_spec('mmpretrain') is not None:
    try:
        from .engine.cls_hooks import RGBVisualizationHook  # noqa: F401
        from .models.cls_head import BNLinearClsHead  # noqa: F401
        __all__ += ['BNLinearClsHead', 'RGBVisualizationHook']
    except Exception as error:  # mmdet works beside an mmpretrain that does not import, and so does the backbone
        warnings.warn(f'the classifier\'s parts are left out, because mmpretrain does not import: {error}',
                      stacklevel=2)
