"""Exporting a checkpoint, for tools/export.py."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from ..datasets.classes import label_names
from ..datasets.dataset_files import spread
from ..models.fuse import fuse
from ..utils.config import files_in, is_classification, type_name
from ..utils.errors import UserError
from ..utils.files import check_extension, check_new_folder, check_writable, whole_file, whole_folder
from ..utils.model import build_model, number_of_classes
from ..weights.checkpoint import read_checkpoint
from ..weights.loading import check_fits, named_tensors
from .agreement import Agreement, check_images, compare, compare_backbone
from .forms import BackboneForm, ClassifierForm, ExportForm, TwoStageForm, form_of
from .images import load_images, paths_in_dataset, test_steps
from .int8 import FEW_IMAGES, calibration_paths, quantize_onnx
from .libraries import library
from .metadata import Metadata
from .onnx_file import OPSET, OPSETS, build_onnx, halve, save_onnx
from .openvino_folder import save_openvino
from .predictors import ExportedClassifier, ExportedDetector
from .runtime import OPENVINO_FOLDER, ExportedModel, is_exported

FORMATS = ('onnx', 'openvino')
# The comparison with PyTorch uses sizes and batches that were not used for the export.
CHECKED = ((1, (96, 130)), (3, (201, 160)), (2, (256, 320)))


@dataclass(frozen=True)
class ExportOptions:
    """The options of :func:`export`.

    Attributes:
        format: 'onnx' or 'openvino'. Defaults to 'onnx'.
        out: The ``.onnx`` file, or the folder for OpenVINO. Defaults to None: beside the checkpoint and named after it.
        half: Store the weights in half precision. Computation stays in float32. Defaults to False.
        int8: Quantise the network to int8. Decoding and NMS stay in float32. Defaults to False.
        calibration: The folder of images by which the ranges of the activations are found. Defaults to None: the
            training set of the config.
        opset: The version of ONNX's operators. Defaults to 20.
        backbone: Export only the backbone, which returns its maps. Defaults to False.
        threads: The number of CPU threads of the comparison. Defaults to None: the runtime decides.

    Raises:
        UserError: The format or the opset is unknown, the name of the output does not fit the format, or options
            exclude each other.
    """

    format: str = 'onnx'
    out: str | None = None
    half: bool = False
    int8: bool = False
    calibration: str | None = None
    opset: int = OPSET
    backbone: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UserError(f'expected the format {" or ".join(FORMATS)}; got {self.format!r}')
        if self.out is not None and self.format == 'onnx':
            check_extension(self.out, ('.onnx',), '--out')
        if self.out is not None and self.format == 'openvino' and Path(self.out).suffix == '.onnx':
            raise UserError(f"expected a folder in --out for OpenVINO's format; got {self.out}")
        if self.opset not in OPSETS:
            raise UserError(f'expected an opset from {OPSETS[0]} to {OPSETS[-1]}; got {self.opset}')
        if self.half and self.int8:
            raise UserError('--half and --int8 exclude each other. Give one of them.')
        if self.calibration is not None and not self.int8:
            raise UserError('--calibration has an effect only with --int8. Add --int8.')

    def path(self, checkpoint: str) -> str:
        """The path of the exported file or folder."""
        if self.out is not None:
            return self.out
        source = Path(checkpoint)
        weights = '-half' if self.half else '-int8' if self.int8 else ''
        name = source.stem + ('-backbone' if self.backbone else '') + weights
        return str(source.with_name(name + ('.onnx' if self.format == 'onnx' else OPENVINO_FOLDER)))


@dataclass(frozen=True)
class Exported:
    """The result of :func:`export`.

    Attributes:
        path: The file or folder.
        size: Its size in bytes.
        metadata: What it says about itself.
        agreement: The comparison with PyTorch. It was made before the weights were rounded to half precision or int8.
    """

    path: str
    size: int
    metadata: Metadata
    agreement: Agreement


def export(
    cfg: Config,
    checkpoint: str,
    options: ExportOptions | None = None,
    say: Callable[[str], Any] = lambda text: None,
    check: Callable[[str, str], Any] = lambda path, weights: None,
) -> Exported:
    """Export a detector, a classifier or a backbone as one ONNX file or as OpenVINO's folder.

    The file contains everything from the raw image to the detections, for any batch, height and width. Before it gets
    its name, its outputs are compared with those of PyTorch, on sizes and batches that were not used for the export.

    Args:
        cfg: The config, from :func:`~econvnext_mmdet.utils.config.load_config`.
        checkpoint: The checkpoint. It must fit the config.
        options: The options. Defaults to None: the defaults of :class:`ExportOptions`.
        say: It is called with a sentence before each step. Defaults to a function that does nothing.
        check: It is called with the path of the finished file, before the file gets its name, and with the type of its
            weights. If it raises an exception, nothing is written. Defaults to a function that does nothing.

    Raises:
        UserError: A mistake that the user can fix, or the outputs differ. Nothing is written.
    """
    options = options or ExportOptions()
    path = options.path(checkpoint)
    if is_exported(checkpoint):
        raise UserError(f'{checkpoint} is an exported file already. Give the checkpoint from which it was exported.')
    if options.format == 'onnx':
        check_writable(path, checkpoint, *files_in(cfg))
    else:
        check_new_folder(path)
    calibration: list[np.ndarray] = []
    if options.int8:
        library('onnxruntime.quantization' if options.format == 'onnx' else 'nncf')
        paths = calibration_paths(cfg, options.calibration)
        few = f', fewer than {FEW_IMAGES}: the file may lose accuracy' if len(paths) < FEW_IMAGES else ''
        say(f'reading {len(paths)} images for the calibration{few}')
        calibration = list(load_images(cfg, paths))
    model, names = load_model(cfg, checkpoint)
    fused = deepcopy(model)
    fuse(fused.backbone if options.backbone else fused)  # the maps of a backbone are normalised, so its norms must stay
    form = form_of(fused, options.backbone)
    metadata = describe(cfg, form, names)
    say(f'translating the {type(model).__name__} into ONNX, opset {options.opset} (about a minute)')
    onnx_model = build_onnx(form, options.opset, metadata.to_text())
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / 'whole.onnx'
        save_onnx(onnx_model, whole)
        if options.format == 'openvino':
            say("converting to OpenVINO's format")
            checked = Path(folder) / f'whole{OPENVINO_FOLDER}'
            save_openvino(whole, checked, metadata)
        else:
            checked = whole
        agreement = check_agreement(cfg, model, checked, options, say)
        if options.half:
            metadata = replace(metadata, weights='float16')
        if options.int8:
            metadata = replace(metadata, weights='int8')
            say('quantising to int8')
        if options.format == 'onnx':
            if options.half:
                onnx_model = halve(onnx_model, metadata.to_text())
            if options.int8:
                onnx_model = quantize_onnx(onnx_model, calibration, metadata.to_text())
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(Path(path)) as part:
                save_onnx(onnx_model, part)
                if metadata.weights != 'float32':  # the float32 file was compared with PyTorch
                    _check_runs(part, options)
                check(str(part), metadata.weights)
        else:
            with whole_folder(path) as part:
                save_openvino(whole, part, metadata, options.half, calibration)
                _check_runs(part, options)
                check(str(part), metadata.weights)
        files = [Path(path)] if Path(path).is_file() else list(Path(path).iterdir())
    return Exported(path, sum(file.stat().st_size for file in files), metadata, agreement)


def load_model(cfg: Config, checkpoint: str) -> tuple[BaseModel, tuple[str, ...]]:
    """Build the model of a config, load a checkpoint strictly, and find the names of its classes.

    Raises:
        UserError: The checkpoint does not fit, or the names of the classes are not known.
    """
    state, meta = read_checkpoint(checkpoint)
    model = build_model(cfg).eval()
    check_fits(model, state, checkpoint)
    model.load_state_dict({key: state[key] for key in named_tensors(model)}, strict=False)
    return model, label_names(cfg, meta, number_of_classes(model), checkpoint)


def describe(cfg: Config, form: ExportForm, names: tuple[str, ...]) -> Metadata:
    """The metadata of a form."""
    masks = isinstance(form, TwoStageForm) and 'masks' in form.output_names
    task = 'segment' if masks else 'detect'
    if isinstance(form, BackboneForm):
        task, names = 'features', ()
    elif isinstance(form, ClassifierForm):
        task = 'classify'
    return Metadata(
        task=task,
        names=names,
        **tested_size(cfg),
        stride=form.divisor,
        mean=tuple(form.mean.flatten().tolist()) if form.normalize else (),
        std=tuple(form.std.flatten().tolist()) if form.normalize else (),
        channels_inside='RGB' if form.swap_channels else 'BGR',
        mask_threshold=form.model.roi_head.test_cfg.mask_thr_binary if masks else None,
        test_cfg=cfg.model.get('test_cfg'),
    )


def tested_size(cfg: Config) -> dict[str, Any]:
    """How the test pipeline resizes an image, as the fields of :class:`~.metadata.Metadata`.

    Raises:
        UserError: The pipeline does not resize, or in a way that :class:`~.metadata.Metadata` cannot express.
    """
    steps = {type_name(step): step for step in test_steps(cfg)}
    edge, crop, resize = (steps.get(name) for name in ('ResizeEdge', 'CenterCrop', 'Resize'))
    if edge is not None and crop is not None:
        if edge.get('edge', 'short') != 'short' or crop.get('auto_pad'):
            raise UserError(
                "expected ResizeEdge with edge='short', and CenterCrop without auto_pad, in the test pipeline"
            )
        size = crop['crop_size']
        kind = dict(resize='crop', short_side=edge['scale'])
        resize = edge
    elif resize is not None and resize.get('scale'):
        size = resize['scale']
        kind = dict(resize='fit' if resize.get('keep_ratio') else 'stretch', short_side=None)
    else:
        raise UserError(
            'expected a Resize with a scale, or ResizeEdge and CenterCrop, in test_dataloader.dataset.pipeline of the '
            f'config; found {", ".join(steps) or "no steps"}'
        )
    width, height = (size, size) if isinstance(size, int) else size
    ways = {key: resize.get(key) or default for key, default in (('interpolation', 'bilinear'), ('backend', 'cv2'))}
    return dict(imgsz=(height, width), **ways, **kind)


def check_agreement(
    cfg: Config, model: BaseModel, path: Path, options: ExportOptions, say: Callable[[str], Any]
) -> Agreement:
    """Compare an exported file with PyTorch, on images of the test set if they are here, or else on drawn images.

    Raises:
        UserError: The outputs differ, see :func:`~.agreement.compare`, or the file has a fixed input size.
    """
    images: list[np.ndarray] = []
    source = 'images of the test set'
    try:
        paths = paths_in_dataset(cfg, 'test')
        images = list(load_images(cfg, [paths[place] for place in spread(len(paths), 6)]))
    except UserError as error:
        source = f'drawn images ({error})'
    say(f'comparing with PyTorch on {source}, of sizes and in batches that were not used for the export')
    # A trained model may find nothing in small images, so its own size comes too.
    checked = (*CHECKED, (1, tested_size(cfg)['imgsz']))
    batches = [batch_of(images, number, shape) for number, shape in checked]
    if options.backbone:
        exported = ExportedModel(str(path), options.threads)
        _check_dynamic(exported, model)
        return compare_backbone(model, exported, batches)
    kind = ExportedClassifier if is_classification(cfg) else ExportedDetector
    predictor = kind(str(path), options.threads).eval()
    _check_dynamic(predictor.exported, model)
    return compare(model, predictor, batches)


def _check_runs(path: Path, options: ExportOptions) -> None:
    """Check that the runtime opens a file and runs it on the sizes and batches of the comparison."""
    exported = ExportedModel(str(path), options.threads)
    for number, shape in CHECKED:
        exported(check_images(number, shape).numpy())


def _check_dynamic(exported: ExportedModel, model: BaseModel) -> None:
    if not exported.dynamic:
        raise UserError(
            f'cannot export this {type(model).__name__}: the result has a fixed batch, height or width, so it would '
            'not run on other images. Nothing was written. Report this with the config.'
        )


def batch_of(images: list[np.ndarray], number: int, shape: tuple[int, int]) -> Tensor:
    """A batch of images (N, 3, H, W): the given ones in turn, scaled to one shape, or drawn ones if there is none."""
    if not images:
        return check_images(number, shape)
    scaled = [cv2.resize(images[i % len(images)].transpose(1, 2, 0), shape[::-1]) for i in range(number)]
    return torch.from_numpy(np.stack(scaled).transpose(0, 3, 1, 2).copy())
