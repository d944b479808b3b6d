"""Writing a form as an ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.utils import digit_version

from ..utils.errors import UserError
from .forms import ExportForm
from .libraries import library
from .metadata import PRODUCER
from .nms import onnx_translations

if TYPE_CHECKING:
    import onnx

INPUT = 'images'
EXPORTING = '2.6'  # the first torch whose exporter has dynamic sizes without a range
OPSET = 20
OPSETS = range(18, 24)  # from the exporter's lowest to the highest that was tried
LARGE = 128  # the number of values from which a tensor's weights are worth halving
# Names of the dimensions that depend on the input. The exporter names them by long expressions.
DIMENSIONS = {INPUT: ('batch', None, 'height', 'width'), 'masks': ('batch', 'detections', None, None)}


def build_onnx(form: ExportForm, opset: int, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Translate a form into an ONNX model with dynamic batch, height and width.

    Args:
        form: The form, in evaluation mode on the CPU.
        opset: The version of ONNX's operators, one of ``OPSETS``.
        metadata: Texts to store in the model.

    Raises:
        UserError: A library is missing, or torch is too old.
    """
    _check_torch()
    onnx = library('onnx')
    library('onnxscript')
    images = torch.zeros(2, 3, 160, 224, dtype=torch.uint8)
    size = torch.export.Dim.DYNAMIC
    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch's export warns about PyTorch's own code.
        warnings.filterwarnings('ignore', '.*LeafSpec', FutureWarning)
        program = torch.export.export(form, (images,), dynamic_shapes=({0: size, 2: size, 3: size},), strict=False)
        exported = torch.onnx.export(
            program,
            input_names=[INPUT],
            output_names=list(form.output_names),
            opset_version=opset,
            custom_translation_table=onnx_translations(),
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    _clean(model)
    model.producer_name = PRODUCER
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=False)
    return model


def _check_torch() -> None:
    """Check that the installed torch can export.

    Raises:
        UserError: It is too old.
    """
    if digit_version(torch.__version__) < digit_version(EXPORTING):
        raise UserError(f'exporting needs torch {EXPORTING} or later; found {torch.__version__}')


def _clean(model: onnx.ModelProto) -> None:
    """Remove what depends on this machine, and give dynamic dimensions readable names."""
    for container in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        # They hold stack traces with local paths.
        del container.metadata_props[:]
        container.doc_string = ''
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ''
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        shape = value.type.tensor_type.shape.dim
        if value.name in DIMENSIONS:
            names: tuple = DIMENSIONS[value.name]
        elif value.name.startswith('stride_'):
            names = ('batch', None, f'height_{value.name}', f'width_{value.name}')
        else:
            names = ('batch', *(['detections'] if len(shape) > 1 and shape[1].dim_param else [None] * (len(shape) - 1)))
        for dim, name in zip(shape, names):
            if name is not None and dim.HasField('dim_param'):
                dim.dim_param = name


def save_onnx(model: Any, path: Path) -> None:
    """Write an ONNX model as one file."""
    library('onnx').save(model, path, save_as_external_data=False)


def halve(model: onnx.ModelProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Store the weights of an ONNX model in half precision. They are cast back, so that computation stays in float32.

    Small tensors keep float32, because they would save nothing, and because thresholds and sizes are among them.

    Args:
        model: The model. It is not changed.
        metadata: The new metadata.
    """
    onnx = library('onnx')
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    casts = []
    for tensor in halved.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LARGE:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f'{name}_half'))
        casts.append(onnx.helper.make_node('Cast', [f'{name}_half'], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    onnx.helper.set_model_props(halved, dict(metadata))
    return halved
