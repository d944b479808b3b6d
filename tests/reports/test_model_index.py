from pathlib import Path

import pytest

from econvnext_mmdet.reports.model_index import Entry, read_model_index
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT

METAFILE = """Models:
  - Name: a
    Config: configs/x/retinanet_1x.py
    Metadata: {Training Data: drawings, Detector: PP-YOLOE-S, Backbone: E-ConvNeXt-mini, FLOPs (the paper's): 20.56}
    Results:
      - {Task: Object Detection, Dataset: drawings, Metrics: {box AP: 1.2, box AP (the paper's): 50.6}}
  - Name: c
    Config: configs/x/own.py
"""


@pytest.fixture
def metafile(tmp_path):
    """The path of a metafile. The model index that imports it is two folders up."""
    path = tmp_path / 'configs' / 'x' / 'metafile.yml'
    path.parent.mkdir(parents=True)
    path.write_text(METAFILE)
    (tmp_path / 'model-index.yml').write_text('Import:\n  - configs/x/metafile.yml\n')
    return path


def test_entries_have_what_the_metafile_has(metafile, tmp_path):
    assert read_model_index(str(tmp_path / 'model-index.yml')) == dict(
        retinanet_1x=Entry(
            config=str(tmp_path / 'configs/x/retinanet_1x.py'),
            data='drawings',
            detector='PP-YOLOE-S',
            backbone='E-ConvNeXt-mini',
            paper_ap=pytest.approx(0.506),
            paper_gflops=20.56,
        ),
        own=Entry(str(tmp_path / 'configs/x/own.py')),
    )


def test_the_metafiles_name_every_compared_detector():
    entries = read_model_index(str(ROOT / 'model-index.yml'))
    assert entries['retinanet_r18_fpn-96_16e_bccd'] == (
        str(ROOT / 'configs/bccd/retinanet_r18_fpn-96_16e_bccd.py'),
        'BCCD',
        'RetinaNet',
        'ResNet-18',
        None,
        None,
    )
    for name, entry in entries.items():
        is_detector = not name.startswith('e-convnext')
        if is_detector and Path(entry.config).parent.name in ('bccd', 'demo', 'finetune'):
            assert entry.detector and entry.backbone, name


def test_a_malformed_metafile_is_named(metafile, tmp_path):
    index = str(tmp_path / 'model-index.yml')
    metafile.write_text('Models:\n  - Name: a\n')
    with pytest.raises(UserError, match='metafile.yml has an entry without Config: a; add the path of its config file'):
        read_model_index(index)
    for text, message in (('a: [', 'cannot read .*metafile.yml as YAML'), ('- a', 'metafile.yml is not a model index')):
        metafile.write_text(text)
        with pytest.raises(UserError, match=message):
            read_model_index(index)
    metafile.unlink()
    with pytest.raises(UserError, match='cannot read .*metafile.yml as YAML'):
        read_model_index(index)
