from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS

from econvnext_mmdet.inference.detection import DetectionOptions, detect
from econvnext_mmdet.utils.config import load_config

from ..helpers import ROOT, options
from .helpers import CLASSES, read_output

# Random weights give low scores. These settings keep their detections.
CONFIGS = dict(
    retinanet={'model.test_cfg.score_thr': 0.0, 'model.test_cfg.max_per_img': 20},
    mask_rcnn={
        'model.neck.in_channels': [24, 48, 96, 192],
        'model.test_cfg.rcnn.score_thr': 0.0,
        'model.test_cfg.rcnn.max_per_img': 20,
    },
)


def save_random(cfg, path):
    """Save random weights of a config's detector in the format of a training checkpoint."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), path)


@pytest.fixture(scope='session')
def detectors(shapes, tmp_path_factory):
    """Small detectors by name: each with its config, the file of the config, and a checkpoint of random weights."""
    found = {}
    for name, changes in CONFIGS.items():
        folder = tmp_path_factory.mktemp(name)
        path = ROOT / 'configs' / 'demo' / f'{name}_e_convnext_mini_shapes.py'
        cfg = load_config(str(path), {**options(shapes, folder), **changes})
        found[name] = SimpleNamespace(cfg=cfg, checkpoint=str(folder / 'random.pth'), config=str(folder / 'config.py'))
        save_random(cfg, found[name].checkpoint)
        cfg.dump(found[name].config)
    return found


@pytest.fixture
def detect_in(detectors, tmp_path):
    """A function that detects objects in inputs with the small RetinaNet.

    It returns the summary, the results by path and frame, and images.json.
    """

    def run(*inputs, **changes):
        detector, out = detectors['retinanet'], tmp_path / 'out'
        changes = {'out': str(out), 'device': 'cpu', 'score_thr': 0.0, **changes}
        summary = detect(detector.cfg, detector.checkpoint, list(map(str, inputs)), DetectionOptions(**changes))
        return (summary, *read_output(out))

    return run
