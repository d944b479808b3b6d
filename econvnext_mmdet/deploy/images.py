"""Images for calibration and for the comparison with PyTorch, prepared as for a test."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from copy import deepcopy

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope

from ..utils.config import datasets_of, is_classification, tested_dataset, type_name
from ..utils.errors import UserError
from ..weights.checkpoint import use_safe_loaders


def pipeline_of(cfg: Config) -> Compose:
    """The steps that load and resize a test image, without annotations.

    Raises:
        UserError: The config has no test pipeline.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    steps = [deepcopy(step) for step in test_steps(cfg) if type_name(step) != 'LoadAnnotations']
    if not steps:
        raise UserError('expected a pipeline in test_dataloader.dataset of the config, which prepares the images')
    # The samples are not used, and the keys that they need may be missing without annotations.
    steps[-1] = dict(type='PackInputs' if is_classification(cfg) else 'PackDetInputs', meta_keys=())
    return Compose(steps)


def test_steps(cfg: Config) -> list[dict]:
    """The steps of the test pipeline. Empty if there is none."""
    dataset = tested_dataset(cfg)
    return [] if dataset is None else list(dataset['pipeline'])


def paths_in_dataset(cfg: Config, split: str) -> list[str]:
    """The paths of the images of a split.

    Raises:
        UserError: The files of the dataset are missing.
    """
    use_safe_loaders()
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    paths: list[str] = []
    for settings in datasets_of(cfg, split):
        settings = deepcopy(settings)
        settings['pipeline'] = []
        try:
            with redirect_stdout(io.StringIO()):  # pycocotools prints
                dataset = DATASETS.build(settings)
        except Exception as error:  # each dataset has its own errors for missing files
            raise UserError(f'cannot read the {split} set of the config: {error}') from error
        paths += [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return paths


def load_images(cfg: Config, paths: Sequence[str]) -> Iterator[np.ndarray]:
    """Load images as the config's test does, up to normalisation and padding.

    Args:
        cfg: The config.
        paths: The image files.

    Yields:
        An image (3, H, W), uint8, BGR.

    Raises:
        UserError: An image cannot be read.
    """
    pipeline = pipeline_of(cfg)
    for path in paths:
        try:
            inputs = pipeline(dict(img_path=path, img_id=0))['inputs']
        except Exception as error:  # each decoder has its own exceptions
            raise UserError(
                f'cannot load the image {path}: {error}. Replace or remove the image, or give other images.'
            ) from error
        yield np.ascontiguousarray(inputs.numpy().astype(np.uint8))
