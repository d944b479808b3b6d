"""Quantising an exported model to int8, after training."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmengine.config import Config

from ..datasets.dataset_files import spread
from ..utils.errors import UserError
from .images import paths_in_dataset
from .libraries import library
from .metadata import PRODUCER

if TYPE_CHECKING:
    import onnx

LEAST_IMAGES = 10  # with fewer, the ranges of the activations are a matter of chance
FEW_IMAGES = 100
MOST_IMAGES = 300  # with more, calibration takes longer, and the ranges hardly change

# OpenVINO's operators with weights.
LAYERS = ('Convolution', 'GroupConvolution', 'MatMul')
# The inputs with features, of operators whose other inputs are indices, regions or shapes: in OpenVINO and in ONNX.
FEATURE_INPUTS = {
    'ROIAlign': slice(1),
    'RoiAlign': slice(1),
    'ScatterNDUpdate': slice(0, 3, 2),
    'ScatterND': slice(0, 3, 2),
    'Broadcast': slice(1),
    'ConstantOfShape': slice(0),
    'Reshape': slice(1),
}


def calibration_paths(cfg: Config, folder: str | None) -> list[str]:
    """The images for calibration: at most 300, evenly spread.

    Args:
        cfg: The config.
        folder: A folder of images. None for the training set of the config.

    Raises:
        UserError: There are fewer than 10 images, or the training set cannot be read.
    """
    if folder is None:
        source = 'the training set of the config'
        advice = 'Correct the config, or give a folder of images to --calibration.'
        try:
            paths = paths_in_dataset(cfg, 'train')
        except UserError as error:
            raise UserError(*error.args, advice) from error
        missing = next((path for path in paths if not Path(path).is_file()), None)
        if missing:
            raise UserError(f'the training set of the config lacks the image {missing}.', advice)
    elif not Path(folder).is_dir():
        raise UserError(f'no folder {folder} for --calibration. Give a folder of images like those for training.')
    else:
        paths = sorted(str(path) for path in Path(folder).iterdir() if path.name.lower().endswith(IMG_EXTENSIONS))
        source = folder
    if len(paths) < LEAST_IMAGES:
        raise UserError(
            f'expected at least {LEAST_IMAGES} images for calibration, better {FEW_IMAGES} or more; found {len(paths)} '
            f'in {source}. Give a folder with more images to --calibration.'
        )
    return [paths[place] for place in spread(len(paths), MOST_IMAGES)]


def quantize_onnx(model: onnx.ModelProto, images: Sequence[np.ndarray], metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Quantise the convolutions of an ONNX model, for ONNX Runtime.

    Each convolution gets int8 weights with one scale per output channel, and uint8 inputs and outputs. Everything else
    stays in float32, and so do channel attention and the last convolutions, whose outputs are decoded.

    Args:
        model: The model. It is not changed.
        images: The images for calibration, each (3, H, W) and uint8.
        metadata: The new metadata.
    """
    onnx = library('onnx')
    quantization = library('onnxruntime.quantization')
    preparation = library('onnxruntime.quantization.shape_inference')

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.images, None)
            return None if image is None else {model.graph.input[0].name: image[None]}

    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (str(Path(folder) / f'{name}.onnx') for name in ('source', 'prepared', 'target'))
        onnx.save(model, source)
        # Its symbolic shape inference fails on detectors.
        preparation.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        in_float = _attention(
            ((node.name, node.op_type, node.input, node.output) for node in nodes), [model.graph.input[0].name]
        )
        quantization.quantize_static(
            prepared,
            target,
            Reader(),
            op_types_to_quantize=['Conv'],
            nodes_to_exclude=sorted(in_float | _last_convolutions(nodes)),
            per_channel=True,
            reduce_range=True,  # 7 bits for weights; with 8, sums overflow on a CPU without VNNI
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        quantized = onnx.load(target)
    del quantized.opset_import[:], quantized.graph.value_info[:], quantized.metadata_props[:]
    quantized.opset_import.extend(model.opset_import)
    quantized.producer_name = PRODUCER
    onnx.helper.set_model_props(quantized, dict(metadata))
    return quantized


def quantize_openvino(model: Any, images: Sequence[np.ndarray]) -> Any:
    """Quantise the network of an OpenVINO model with NNCF. Channel attention, decoding and NMS stay in float32.

    Weights are symmetric and have one scale per output channel. Activations have one scale, and are asymmetric after
    activation functions (NNCF's preset MIXED). Ranges are from the smallest to the largest value that occurs.

    Args:
        model: The ``openvino.Model``.
        images: The images for calibration, each (3, H, W) and uint8.

    Returns:
        The quantised ``openvino.Model``.
    """
    nncf = library('nncf')
    ranges = library('nncf.quantization.range_estimator').RangeEstimatorParametersSet
    nncf.set_log_level(logging.ERROR)
    quantized = _network(model) - _attention(
        _openvino_nodes(model), [node.get_friendly_name() for node in model.get_parameters()]
    )
    others = [node.get_friendly_name() for node in model.get_ops() if node.get_friendly_name() not in quantized]
    return nncf.quantize(
        model,
        nncf.Dataset([image[None] for image in images]),
        preset=nncf.QuantizationPreset.MIXED,
        # By default, NNCF averages the ranges of the regions in a second stage. Many of them are empty, which makes
        # the ranges too small.
        advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges.MINMAX),
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=others, validate=False),
    )


def _openvino_nodes(model: Any) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """The name, the operator, the inputs and the outputs of each node, where an output has the name of its node."""
    for node in model.get_ordered_ops():
        sources = [port.get_source_output().get_node().get_friendly_name() for port in node.inputs()]
        yield node.get_friendly_name(), node.get_type_name(), sources, [node.get_friendly_name()]


def _attention(nodes: Iterable[tuple[str, str, Sequence[str], Sequence[str]]], images: Iterable[str]) -> set[str]:
    """The names of the nodes of channel attention: from the mean of a map to where a map comes in again.

    These nodes compute on one position, so int8 would not make them faster. It would make the map less exact.

    Args:
        nodes: The name, the operator, the inputs and the outputs of each node, in the order of computation.
        images: The names of the model's inputs.
    """
    names: set[str] = set()
    maps = set(images)  # the outputs that depend on the images, except on their shape only
    pooled: set[str] = set()  # those of them that depend on means only
    for name, kind, inputs, outputs in nodes:
        found = maps.intersection(inputs)
        if kind in ('Shape', 'ShapeOf') or not found:
            continue
        maps.update(outputs)
        mean = kind in ('ReduceMean', 'GlobalAveragePool')
        if mean or pooled & found:
            names.add(name)
            if mean or found <= pooled:
                pooled.update(outputs)
    return names


def _last_convolutions(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """The names of the convolutions on whose outputs the features of no other convolution depend.

    ONNX Runtime quantises the outputs of a convolution too. 256 values are too few for logits and distances.

    Args:
        nodes: The nodes, in the order of computation.
    """
    names: set[str] = set()
    features: set[str] = set()  # the outputs on which a convolution depends
    for node in reversed(nodes):
        used = not features.isdisjoint(node.output)
        if node.op_type == 'Conv' and not used:
            names.add(node.name)
        if node.op_type == 'Conv' or used:
            features.update(node.input[FEATURE_INPUTS.get(node.op_type, slice(None))])
    return names


def _network(model: Any) -> set[str]:
    """The names of the nodes that compute features: everything that the features of some layer depend on.

    The boxes, indices and shapes by which features are chosen do not belong to it, because they come from decoding.
    """
    names: set[str] = set()
    nodes = [node for node in model.get_ops() if node.get_type_name() in LAYERS]
    while nodes:
        node = nodes.pop()
        if node.get_friendly_name() in names:
            continue
        names.add(node.get_friendly_name())
        inputs = FEATURE_INPUTS.get(node.get_type_name(), slice(None))
        nodes += [port.get_source_output().get_node() for port in node.inputs()[inputs]]
    return names
