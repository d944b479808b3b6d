"""One list of classes for all datasets of a config, whatever order their files have."""

import copy
import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from econvnext_mmdet.datasets.checks import check_datasets
from econvnext_mmdet.datasets.classes import label_names, unify_classes
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.model import build_model

from .conftest import edit

CLASSES = ('circle', 'square', 'triangle', 'star')


def reorder(coco):
    """Put the categories in another order, and give them other ids."""
    new = {category['id']: 10 * category['id'] for category in coco['categories']}
    coco['categories'] = [dict(category, id=new[category['id']]) for category in coco['categories'][::-1]]
    for annotation in coco['annotations']:
        annotation['category_id'] = new[annotation['category_id']]


def drop_square(coco):
    """Remove the class square and its objects."""
    (square,) = (category['id'] for category in coco['categories'] if category['name'] == 'square')
    coco['categories'] = [category for category in coco['categories'] if category['id'] != square]
    coco['annotations'] = [item for item in coco['annotations'] if item['category_id'] != square]


def instances(cfg):
    """The boxes and labels of the training set by image."""
    init_default_scope('mmdet')
    cfg.train_dataloader.dataset.pipeline = []
    return {
        Path(item['img_path']).name: [(*instance['bbox'], instance['bbox_label']) for instance in item['instances']]
        for item in DATASETS.build(copy.deepcopy(cfg.train_dataloader.dataset))
    }


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_annotations_may_have_other_encodings(cfg, encoding):
    expected = instances(cfg)
    for split in ('train', 'val'):
        path = Path(cfg.root, 'annotations', f'{split}.json')
        path.write_text(path.read_text(), encoding=encoding)
    unify_classes(cfg, ['train', 'val'])
    check_datasets(cfg, ['train', 'val'])
    assert instances(cfg) == expected
    cfg.val_evaluator.type = 'CocoMetric'
    with pytest.raises(UserError, match=f'val.json: expected UTF-8 without a byte order mark.* found {encoding}'):
        check_datasets(cfg, ['val'])


def test_labels_follow_the_names_and_not_the_file(cfg):
    expected = instances(cfg)
    assert {label for boxes in expected.values() for *_, label in boxes} == {0, 1, 2, 3}
    edit(cfg, reorder)
    assert instances(cfg) != expected  # as MMDetection numbers them
    unify_classes(cfg, ['train'])
    assert instances(cfg) == expected
    edit(cfg, drop_square)
    without = {name: [box for box in boxes if box[-1] != 1] for name, boxes in expected.items()}
    assert instances(cfg) == {name: boxes for name, boxes in without.items() if boxes}  # empty images are filtered


def test_losses_do_not_depend_on_the_order_in_the_file(cfg):
    init_default_scope('mmdet')
    unify_classes(cfg, ['train'])
    model = build_model(cfg).eval()

    def losses():
        dataset = copy.deepcopy(cfg.train_dataloader.dataset)
        dataset.pipeline = [step for step in dataset.pipeline if not step.type.startswith('Random')]
        dataset = DATASETS.build(dataset)
        data = model.data_preprocessor(pseudo_collate([dataset[i] for i in range(4)]), training=True)
        with torch.no_grad():
            found = model.loss(data['inputs'], data['data_samples'])
        return [float(sum(value)) if isinstance(value, list) else float(value) for value in found.values()]

    expected = losses()
    edit(cfg, reorder)
    assert losses() == pytest.approx(expected, rel=1e-5)


def test_the_first_named_classes_are_those_of_all_datasets(cfg):
    for split, classes in (('val', CLASSES[::-1]), ('test', ('star', 'circle'))):
        cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=classes, palette=[(0, 0, 0)])
    unify_classes(cfg, ['train', 'val', 'test'])
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.metainfo['classes'] == CLASSES and dataset.type == 'CocoDatasetByName'
    assert cfg.val_dataloader.dataset.metainfo['palette'] == [(0, 0, 0)]


def test_the_classes_of_a_checkpoint_come_first(cfg):
    unify_classes(cfg, ['test'], CLASSES[::-1])
    assert cfg.test_dataloader.dataset.metainfo['classes'] == CLASSES[::-1]
    says = "test_dataloader has the class 'hexagon', and the checkpoint has the classes 'circle', 'square', 'triangle'"
    cfg.train_dataloader.dataset.metainfo = None
    cfg.test_dataloader.dataset.metainfo = dict(classes=('circle', 'hexagon'))
    with pytest.raises(UserError, match=says):
        unify_classes(cfg, ['test'], CLASSES)


def test_two_classes_of_one_name_are_an_error(cfg):
    with pytest.raises(UserError, match="the checkpoint has two classes with the name 'square'; give each class a"):
        unify_classes(cfg, ['val'], (*CLASSES, 'square'))
    meta = dict(dataset_meta=dict(classes=('circle', 'circle')))
    with pytest.raises(UserError, match="x.pth has two classes with the name 'circle'"):
        label_names(cfg, meta, 2, 'x.pth')


def test_a_dataset_that_names_no_classes_takes_those_of_the_others(cfg):
    for split in ('train', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo = None
    unify_classes(cfg, ['train', 'val'])
    assert cfg.train_dataloader.dataset.metainfo['classes'] == CLASSES


def test_both_parts_of_a_concatenation_have_the_same_labels(cfg):
    other = Path(cfg.root, 'annotations', 'other.json')
    coco = json.loads(Path(cfg.root, 'annotations', 'train.json').read_text())
    reorder(coco)
    other.write_text(json.dumps(coco))
    first = cfg.train_dataloader.dataset
    second = dict(first, ann_file='annotations/other.json', metainfo=dict(classes=CLASSES[::-1]))
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[first, second])
    unify_classes(cfg, ['train'])
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    half = len(dataset) // 2
    for i in range(half):
        one, two = (dataset.get_data_info(place)['instances'] for place in (i, half + i))
        assert [item['bbox_label'] for item in one] == [item['bbox_label'] for item in two]


def test_parts_with_another_palette_have_one_metainfo(cfg):
    """MMDetection would give their ConcatDataset a list, which neither its visualizer nor a metric can read."""
    first = cfg.train_dataloader.dataset
    palette = [(0, 0, 0)] * 4
    second = dict(first, metainfo=dict(classes=CLASSES[::-1], palette=palette))
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[first, second, dict(first, metainfo=None)])
    unify_classes(cfg, ['train'])
    init_default_scope('mmdet')
    metainfo = DATASETS.build(cfg.train_dataloader.dataset).metainfo
    assert metainfo['classes'] == CLASSES and metainfo['palette'] == palette
