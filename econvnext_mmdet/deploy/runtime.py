"""Running an exported file with ONNX Runtime or OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..utils.errors import UserError
from .libraries import library
from .metadata import SMALLEST_SIDE, Metadata

OPENVINO_FOLDER = '_openvino_model'  # as ultralytics names it


def is_exported(path: str) -> bool:
    """Whether a path is that of an exported file: an ``.onnx`` file, or OpenVINO's folder or ``.xml`` file."""
    return Path(path).suffix in ('.onnx', '.xml') or Path(path).is_dir() and any(Path(path).glob('*.xml'))


class _Session(Protocol):
    """A file that is open in a runtime."""

    metadata: dict[str, str]
    input_dtype: np.dtype
    input_shape: list
    output_names: list[str]

    def run(self, images: np.ndarray) -> list[np.ndarray]: ...


class ExportedModel:
    """An exported file that is ready to run.

    Args:
        path: The ``.onnx`` file, or the folder or ``.xml`` file of OpenVINO.
        threads: The number of CPU threads. Defaults to None: the runtime decides.

    Attributes:
        metadata: What the file says about itself.
        runtime: 'ONNX Runtime' or 'OpenVINO'.
        dynamic: Whether the batch, the height and the width of the input are dynamic.

    Raises:
        UserError: The file is missing, is damaged or was not written by this package, or the runtime is not installed.
    """

    def __init__(self, path: str, threads: int | None = None):
        self.path = path
        if not Path(path).exists():
            raise UserError(f'no exported file {path}')
        file = Path(path)
        if file.is_dir():
            found = sorted(file.glob('*.xml'))
            if len(found) != 1:
                raise UserError(
                    f'{path} is not a folder of an exported model: expected one .xml file, found {len(found)}'
                )
            (file,) = found
        open_file = _OnnxSession if file.suffix == '.onnx' else _OpenVINOSession
        self._session: _Session = open_file(file, threads)
        self.runtime = 'ONNX Runtime' if file.suffix == '.onnx' else 'OpenVINO'
        self.metadata = Metadata.from_text(self._session.metadata, path)
        self.dynamic = [not isinstance(self._session.input_shape[i], int) for i in (0, 2, 3)] == [True] * 3

    def __call__(self, images: np.ndarray, smallest: int = SMALLEST_SIDE) -> dict[str, np.ndarray]:
        """Run the model.

        Args:
            images: Images (N, 3, H, W), BGR from 0 to 255, as uint8 or floats. They are converted to the type of the
                file's input; floats are rounded if that is uint8.
            smallest: The smallest height and width to accept, in pixels. Defaults to 32, because a network finds little
                in smaller images.

        Returns:
            The outputs by name.

        Raises:
            UserError: The images have a wrong shape.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < smallest:
            raise UserError(
                f'{self.path} expects images (N, 3, H, W) with at least {smallest} pixels in height and width; '
                f'got the shape {images.shape}. Resize or pad smaller images.'
            )
        dtype = self._session.input_dtype
        if images.dtype != dtype:
            images = (images.round().clip(0, 255) if dtype == np.uint8 else images).astype(dtype)
        return dict(zip(self._session.output_names, self._session.run(np.ascontiguousarray(images))))


def onnxruntime_session(model: str | bytes, threads: int | None) -> Any:
    """Open an ONNX model, by its path or its bytes, with ONNX Runtime on the CPU. It logs errors only.

    Args:
        model: The path or the bytes.
        threads: The number of CPU threads. None: ONNX Runtime decides.
    """
    ort = library('onnxruntime')
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def compile_openvino(model: Any, threads: int | None) -> Any:
    """Compile an ``openvino.Model`` for one call after another on the CPU, in float32.

    Args:
        model: The model.
        threads: The number of CPU threads. None: OpenVINO decides.
    """
    # Where the CPU has bfloat16, OpenVINO would compute in it.
    settings: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32'}
    if threads is not None:
        settings['INFERENCE_NUM_THREADS'] = threads
    return library('openvino').compile_model(model, 'CPU', settings)


class _OnnxSession:
    def __init__(self, file: Path, threads: int | None):
        ort = library('onnxruntime')
        try:
            self._session = onnxruntime_session(str(file), threads)
        except Exception as error:  # its exceptions have no common base
            raise _unreadable(file, error, f'onnxruntime {ort.__version__}') from error
        (self._input,) = self._session.get_inputs()
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.input_shape = list(self._input.shape)
        self.input_dtype = np.dtype('uint8' if self._input.type == 'tensor(uint8)' else 'float32')
        self.output_names = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, {self._input.name: images})


class _OpenVINOSession:
    def __init__(self, file: Path, threads: int | None):
        ov = library('openvino')
        try:
            model = ov.Core().read_model(file)
            self._compiled = compile_openvino(model, threads)
        except Exception as error:  # RuntimeError, but also others for damaged files
            raise _unreadable(file, error, f'openvino {ov.__version__}') from error
        self.metadata = {
            key: model.get_rt_info(['model_info', key]).astype(str)
            for key in Metadata.keys()
            if model.has_rt_info(['model_info', key])
        }
        (port,) = model.inputs
        self.input_shape = [None if dim.is_dynamic else dim.get_length() for dim in port.partial_shape]
        self.input_dtype = port.element_type.to_dtype()
        self.output_names = [output.any_name for output in model.outputs]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        return list(self._compiled(images).to_tuple())


def _unreadable(file: Path, error: Exception, runtime: str) -> UserError:
    reason = (str(error).strip().splitlines() or [''])[-1].rstrip('.')
    return UserError(
        f'{runtime} cannot open {file}: {reason}. The file is damaged, is no exported model, or needs a newer runtime. '
        'Export the checkpoint again with tools/export.py. For an old runtime, use a lower --opset.'
    )
