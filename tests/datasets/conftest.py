import copy
import json
import shutil

import pytest
from mmengine.config import Config

from ..helpers import DEMO, options


@pytest.fixture(scope='session')
def demo_config():
    return Config.fromfile(DEMO)


@pytest.fixture
def cfg(demo_config, shapes, tmp_path):
    """The demo config on a copy of the shapes, which a test may damage. The copy is at ``cfg.root``."""
    root = tmp_path / 'shapes'
    shutil.copytree(shapes, root)
    cfg = copy.deepcopy(demo_config)
    cfg.merge_from_dict(options(root, tmp_path / 'work'))
    cfg.root = str(root)
    return cfg


def edit(cfg, change, split='train'):
    """Change the content of an annotation file."""
    path = f'{cfg.root}/annotations/{split}.json'
    with open(path) as file:
        coco = json.load(file)
    change(coco)
    with open(path, 'w') as file:
        json.dump(coco, file)
