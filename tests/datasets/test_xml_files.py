"""The checks and the inspection of data in Pascal VOC's layout."""

import copy
import shutil
from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from econvnext_mmdet.datasets.checks import check_datasets
from econvnext_mmdet.datasets.classes import unify_classes
from econvnext_mmdet.datasets.inspection import draw_samples, has_errors, inspect_config
from econvnext_mmdet.datasets.usable import usable
from econvnext_mmdet.utils.config import datasets_of
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT
from ..voc import make_voc, write_xml

CONFIG = ROOT / 'configs' / 'voc' / 'retinanet_e-convnext-mini_fpn_1x_voc0712.py'
KIT = Path('data/VOCdevkit')
SPLITS = ('train', 'val', 'test')


@pytest.fixture(scope='module')
def voc_config():
    return Config.fromfile(CONFIG)


@pytest.fixture
def cfg(voc_config, tmp_path, monkeypatch):
    """The RetinaNet config in a folder where its data has three pictures per split."""
    monkeypatch.chdir(tmp_path)
    make_voc(KIT)
    return copy.deepcopy(voc_config)


def findings(inspection):
    return {finding.what: finding for finding in inspection.findings}


def test_good_data_passes(cfg):
    check_datasets(cfg, SPLITS)
    assert not has_errors(inspect_config(cfg))


@pytest.mark.parametrize(
    'damage, says',
    [
        (
            lambda: shutil.rmtree(KIT),
            'no annotation file data/VOCdevkit/VOC2007/ImageSets/Main/trainval.txt: expected the annotations at .* and '
            r'in data/VOCdevkit/VOC2007/Annotations \(NAME.xml\), and the images in data/VOCdevkit/VOC2007/JPEGImages '
            r'\(NAME.jpg\); arrange the data like this or change data_root in the config; `make demo`',
        ),
        (
            lambda: shutil.rmtree(KIT / 'VOC2012'),
            'no annotation file data/VOCdevkit/VOC2012/ImageSets/Main/trainval.txt: expected',
        ),
        (lambda: shutil.rmtree(KIT / 'VOC2012/Annotations'), 'no annotation folder .*VOC2012/Annotations: expected'),
        (lambda: shutil.rmtree(KIT / 'VOC2012/JPEGImages'), 'no image folder .*VOC2012/JPEGImages: expected'),
        (
            lambda: (KIT / 'VOC2007/Annotations/trainval_1.xml').unlink(),
            '1 of the 3 annotations of .*VOC2007/.*trainval.txt are missing, for example .*/trainval_1.xml. Restore',
        ),
        (
            lambda: (KIT / 'VOC2007/JPEGImages/test_2.jpg').unlink(),
            '1 of the 3 images of .*VOC2007/.*test.txt are missing, for example .*/JPEGImages/test_2.jpg. Restore',
        ),
        (
            lambda: (KIT / 'VOC2012/Annotations/trainval_0.xml').write_text('<annotation><size>'),
            r"trainval_0.xml is not in Pascal VOC's format \(no element found: .*remove trainval_0 from .*trainval.txt",
        ),
        (
            lambda: (KIT / 'VOC2012/Annotations/trainval_0.xml').write_text(
                '<annotation><object><name>cat</name></object></annotation>'
            ),
            r"trainval_0.xml is not in Pascal VOC's format \(a part is missing\): expected .* xmin, ymin, xmax and",
        ),
        (
            lambda: write_xml(KIT / 'VOC2012/Annotations/trainval_0.xml', ('Bottle', 1, 1, 50, 50, 0)),
            "VOC2012/.*trainval.txt: the file lacks the class 'bottle' of the config and has 'Bottle'",
        ),
    ],
)
def test_the_first_problem_is_said_in_one_sentence(cfg, damage, says):
    damage()
    with pytest.raises(UserError, match=says) as caught:
        check_datasets(cfg, SPLITS)
    assert '\n' not in str(caught.value)
    errors = [finding for item in inspect_config(cfg) for finding in item.findings if finding.severity == 'error']
    assert errors and all('\n' not in finding.what for finding in errors)


def test_counts_agree_with_mmdetections_dataset(cfg):
    write_xml(KIT / 'VOC2007/Annotations/trainval_0.xml', ('cat', 1, 1, 20, 50, 0), ('tower', 1, 1, 90, 90, 0))
    first, second, evaluated = inspect_config(cfg)
    assert [item.split for item in (first, second, evaluated)] == ['train', 'train', 'val, test']
    init_default_scope('mmdet')
    for inspection, dataset in zip((first, second), datasets_of(cfg, 'train')):
        numbers = usable(DATASETS.build({**dataset, 'filter_cfg': None}))
        assert inspection.images == numbers.images == 3
        boxes = {name: sum(sizes.values()) for name, sizes in inspection.classes.items()}
        assert {name: boxes[name] for name in boxes if name != 'tower' and boxes[name]} == numbers.boxes
        assert inspection.crowd == numbers.crowd
    assert first.crowd == 2 and first.classes['tower'] == dict(small=0, medium=1, large=0)
    assert findings(first)['classes of the file that the config leaves out'].examples == ['tower']
    assert (first.widths, first.heights) == ((128, 128), (96, 96))


def test_problems_of_boxes_and_images_are_found(cfg):
    write_xml(KIT / 'VOC2007/Annotations/trainval_0.xml', ('cat', 60, 1, 60, 50, 0), size=(100, 96))
    shutil.copy(KIT / 'VOC2007/JPEGImages/trainval_1.jpg', KIT / 'VOC2007/JPEGImages/test_1.jpg')
    first, _, evaluated = inspect_config(cfg)
    assert findings(first)['images of a different size than annotated'].examples == [
        'trainval_0.jpg: 128 x 96 instead of 100 x 96'
    ]
    assert findings(first)['boxes without area, or less than a pixel wide or high'].examples == [
        'annotation 1 (trainval_0.xml)'
    ]
    assert 'images that are also in the training data' in findings(evaluated)


def test_training_without_a_usable_box_is_an_error(cfg):
    for path in KIT.rglob('trainval_*.xml'):
        write_xml(path, ('cat', 1, 1, 20, 20, 0), ('dog', 1, 1, 90, 90, 1))  # too small, and difficult
    (error,) = [item.what for found in inspect_config(cfg) for item in found.findings if item.severity == 'error']
    assert error.startswith('training would use no box') and 'bbox_min_size' in error
    assert 'VOC2007' in error and 'VOC2012' in error  # both files are judged together


def test_labels_follow_the_names_of_a_checkpoint(cfg):
    names = datasets_of(cfg, 'train')[0].get('metainfo')
    assert names is None
    unify_classes(cfg, SPLITS)
    classes = datasets_of(cfg, 'test')[0].metainfo['classes']
    unify_classes(cfg, ['test'], trained=classes[::-1])
    init_default_scope('mmdet')
    (dataset,) = datasets_of(cfg, 'test')
    built = DATASETS.build(dataset)
    labels = [instance['bbox_label'] for instance in built.get_data_info(0)['instances']]
    assert [built.metainfo['classes'][label] for label in labels] == ['cat', 'dog', 'person']
    with pytest.raises(UserError, match="test_dataloader has the classes 'aeroplane', .* and the checkpoint has"):
        unify_classes(copy.deepcopy(Config.fromfile(CONFIG)), ['test'], trained=('cat', 'dog', 'person'))


def test_samples_are_drawn(cfg):
    draw_samples(cfg, 'samples.png', count=2)
    assert Path('samples.png').stat().st_size > 0
