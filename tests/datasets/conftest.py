import copy
import json
import shutil

import pytest
from mmengine.config import Config

from ..conftest import ROOT, options


@pytest.fixture(scope='session')
def demo_config():
    return Config.fromfile(ROOT / 'configs' / 'demo' / 'retinanet_e_convnext_mini_shapes.py')


@pytest.fixture
def cfg(demo_config, shapes, tmp_path):
    """The demo config on a copy of the shapes that a test may damage, at ``cfg.root``."""
    root = tmp_path / 'shapes'
    shutil.copytree(shapes, root)
    cfg = copy.deepcopy(demo_config)
    cfg.merge_from_dict(options(root, tmp_path / 'work'))
    cfg.root = str(root)
    return cfg


def edit(cfg, change, split='train'):
    """Change the content of an annotation file."""
    path = f'{cfg.root}/annotations/{split}.json'
    coco = json.load(open(path))
    change(coco)
    json.dump(coco, open(path, 'w'))
