"""Writing OpenVINO's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .int8 import quantize_openvino
from .libraries import library
from .metadata import Metadata


def save_openvino(
    source: Path, folder: Path, metadata: Metadata, half: bool = False, calibration: Sequence[np.ndarray] = ()
) -> None:
    """Convert an ONNX file into OpenVINO's format: ``model.xml`` and ``model.bin``.

    Args:
        source: The ONNX file.
        folder: The folder to write into. It is created.
        metadata: The metadata, which becomes ``rt_info`` under ``model_info``. Reading an ONNX file drops its metadata.
        half: Store the weights in half precision. Defaults to False.
        calibration: Images (3, H, W), uint8, for quantising to int8. Defaults to none: no quantisation.
    """
    ov = library('openvino')
    model = ov.Core().read_model(source)
    if calibration:
        model = quantize_openvino(model, calibration)
    for key, value in metadata.to_text().items():
        model.set_rt_info(value, ['model_info', key])
    folder.mkdir(exist_ok=True)
    ov.save_model(model, folder / 'model.xml', compress_to_fp16=half)
