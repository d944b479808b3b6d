"""E-ConvNeXt (arXiv 2508.20955) for MMDetection and MMPretrain.

Importing the package registers the backbone ``EConvNeXt``, the metric ``OfficialCocoMetric``, the hooks and the
constructor ``LayerDecayOptimWrapperConstructor`` in MMEngine's root registries, where every OpenMMLab library finds
them. It also registers a loader for safetensors files. If MMDetection is installed, it registers the dataset
``CocoDatasetByName`` and the detectors ``PPYOLOE`` and ``YOLOv10``, and if MMPretrain is installed, the dataset
``TinyImageNet`` and the head and the visualization hook of classifiers. MMEngine then also finds the configs of the
package by name, such as ``econvnext_mmdet::retinanet/retinanet_e-convnext-tiny_fpn_1x_coco.py``.
"""

from .utils.operators import replace_missing_operators
from .utils.pixels import drop_wrong_limit
from .utils.versions import check_versions

drop_wrong_limit()  # before the libraries import OpenCV
check_versions()
replace_missing_operators()

import io  # noqa: E402
import warnings  # noqa: E402
from contextlib import redirect_stdout  # noqa: E402
from importlib.util import find_spec  # noqa: E402

from mmengine.config.utils import MODULE2PACKAGE  # noqa: E402

from .engine.hooks import (  # noqa: E402
    ChannelsLastHook,
    CocoTableHook,
    DatasetPartsHook,
    StrictLoadHook,
    SyncAllBuffersHook,
)
from .engine.layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402
from .evaluation.coco_metric import OfficialCocoMetric  # noqa: E402
from .models import EConvNeXt  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = [
    'ChannelsLastHook',
    'CocoTableHook',
    'DatasetPartsHook',
    'EConvNeXt',
    'LayerDecayOptimWrapperConstructor',
    'OfficialCocoMetric',
    'StrictLoadHook',
    'SyncAllBuffersHook',
    '__version__',
]

# MMEngine reads configs by name only from the packages in this table.
MODULE2PACKAGE[__name__] = __name__

if find_spec('mmdet') is not None:
    with redirect_stdout(io.StringIO()):  # MMDetection prints that a library, which it hardly needs, is missing
        from .datasets.coco_by_name import CocoDatasetByName  # noqa: F401
    from .models.ppyoloe import PPYOLOE  # noqa: F401
    from .models.yolov10 import YOLOv10  # noqa: F401

    __all__ += ['PPYOLOE', 'YOLOv10', 'CocoDatasetByName']

if find_spec('mmpretrain') is not None:
    try:
        with redirect_stdout(io.StringIO()):  # MMPretrain prints that a library, which it hardly needs, is missing
            from .datasets.tiny_imagenet import TinyImageNet  # noqa: F401
        from .engine.classification_hooks import RGBVisualizationHook  # noqa: F401
        from .models.classifier_head import BNLinearClsHead  # noqa: F401

        __all__ += ['BNLinearClsHead', 'RGBVisualizationHook', 'TinyImageNet']
    except Exception as error:  # the backbone and MMDetection work even if MMPretrain cannot be imported
        warnings.warn(f'classifiers are not available, because MMPretrain cannot be imported: {error}', stacklevel=2)
