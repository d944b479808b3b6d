import copy
import json
import shutil

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image

from econvnext_mmdet.datasets.checks import check_classes, check_datasets
from econvnext_mmdet.datasets.classes import unify_classes
from econvnext_mmdet.evaluation.coco_format import check_annotations
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT
from .conftest import edit


def test_good_data_passes(cfg):
    check_datasets(cfg, ['train', 'val', 'test'])


def test_wrapped_and_concatenated_datasets_are_checked(cfg):
    dataset = cfg.train_dataloader.dataset
    broken = {**dataset, 'ann_file': 'annotations/missing.json'}
    for wrapped in (
        dict(type='RepeatDataset', times=2, dataset=broken),
        dict(type='ConcatDataset', datasets=[dataset, broken]),
    ):
        cfg.train_dataloader.dataset = wrapped
        with pytest.raises(UserError, match='no annotation file .*missing.json'):
            check_datasets(cfg, ['train'])


def test_the_error_for_missing_files_names_the_expected_layout(cfg):
    shutil.rmtree(f'{cfg.root}/val')
    with pytest.raises(UserError, match='no image folder .*shapes/val/: expected the annotations at .*val.json'):
        check_datasets(cfg, ['val'])
    shutil.rmtree(cfg.root)
    with pytest.raises(UserError, match='no annotation file .*make demo'):
        check_datasets(cfg, ['train'])


def test_the_error_for_missing_coco_is_one_line_that_says_what_to_do():
    """The first error that a newcomer sees names the file and the layout, and says what to do."""
    with pytest.raises(UserError) as caught:
        check_datasets(Config.fromfile(ROOT / 'configs' / 'retinanet_e_convnext.py'), ['train', 'val'])
    text = str(caught.value)
    assert '\n' not in text
    for part in ('data/coco/annotations/instances_train2017.json', 'data/coco/train2017/', 'make demo'):
        assert part in text


def test_missing_and_empty_images_are_found(cfg):
    open(f'{cfg.root}/train/000002.jpg', 'w').close()
    with pytest.raises(UserError, match='1 of the 12 images of .*train.json are empty files, for example .*000002.jpg'):
        check_datasets(cfg, ['train'])
    shutil.move(f'{cfg.root}/train/000003.jpg', f'{cfg.root}/train/3.jpg')
    with pytest.raises(UserError, match='1 of the 12 images of .*train.json are missing, for example .*000003.jpg'):
        check_datasets(cfg, ['train'])


@pytest.mark.parametrize(
    'classes, says',
    [
        (('circle', 'square', 'triangle', 'hexagon'), "no training file has the class 'hexagon' of the config"),
        (('circle', 'square', 'triangle', 'Star'), "lacks the class 'Star' of the config and has 'star'; use the same"),
        (
            ('a', 'b', 'c', 'd'),
            "train.json: the file lacks the classes 'a', 'b', 'c', 'd' of the config; it has 'circle'",
        ),
    ],
)
def test_classes_must_match_the_file(cfg, classes, says):
    cfg.train_dataloader.dataset.metainfo = dict(classes=classes)
    unify_classes(cfg, ['train'])
    with pytest.raises(UserError, match=says):
        check_datasets(cfg, ['train'])


@pytest.mark.parametrize('change, says', [({}, 'CocoDataset'), (dict(type='CocoDatasetByName'), 'The metric')])
def test_the_order_matters_for_mmdetections_dataset_and_metric(cfg, change, says):
    cfg.val_dataloader.dataset.update(change, metainfo=dict(classes=('square', 'circle', 'triangle', 'star')))
    cfg.val_evaluator.type = 'CocoMetric'
    with pytest.raises(UserError, match=f'val.json: .*different order than the config: .* {says} numbers the classes'):
        check_datasets(cfg, ['val'])
    cfg.val_evaluator.type = 'OfficialCocoMetric'
    unify_classes(cfg, ['val'])
    check_datasets(cfg, ['val'])


def test_a_file_may_have_more_or_fewer_classes_than_the_config():
    assert check_classes(('b', 'd'), ('a', 'b', 'c', 'd')) == (['a', 'c'], [])
    assert check_classes(('d', 'b', 'long name'), ('b', 'c', 'd')) == (['c'], ['long name'])
    with pytest.raises(UserError, match="expected \\('d', 'b'\\), found \\('b', 'd'\\). CocoMetric numbers"):
        check_classes(('d', 'b'), ('a', 'b', 'c', 'd'), 'CocoMetric')
    with pytest.raises(UserError, match="lacks the class 'e' of the config"):
        check_classes(('a', 'e'), ('a', 'b'), 'CocoMetric')


def test_classes_may_be_a_file_but_not_a_single_name(cfg, tmp_path):
    (tmp_path / 'classes.txt').write_text('circle\nsquare\ntriangle\nstar\n')
    cfg.train_dataloader.dataset.metainfo = dict(classes=str(tmp_path / 'classes.txt'))
    check_datasets(cfg, ['train'])
    cfg.train_dataloader.dataset.metainfo = dict(classes=('circle'))
    with pytest.raises(UserError, match='must be a tuple of names or the path of a text file'):
        check_datasets(cfg, ['train'])


def test_formats_other_than_coco_are_not_checked(cfg):
    cfg.train_dataloader.dataset.update(type='LVISV1Dataset', ann_file='annotations/missing.json')
    check_datasets(cfg, ['train'])


def test_files_in_remote_storage_are_not_checked(cfg):
    broken = dict(ann_file='annotations/missing.json')
    cfg.train_dataloader.dataset.update(broken, backend_args=dict(backend='petrel', path_mapping={'data/': 's3://'}))
    check_datasets(cfg, ['train'])
    cfg.train_dataloader.dataset.update(broken, backend_args=dict(backend='local'))
    with pytest.raises(UserError, match='no annotation file'):
        check_datasets(cfg, ['train'])


def test_heads_must_have_as_many_classes_as_the_data(cfg):
    cfg.model.bbox_head.num_classes = 80
    with pytest.raises(UserError, match='RetinaHead has num_classes=80, but the dataset has 4 classes'):
        check_datasets(cfg, ['train'])
    cfg.model.bbox_head.num_classes = 4
    cfg.model.roi_head = dict(bbox_head=[dict(type='A', num_classes=4), dict(type='B', num_classes=3)])
    with pytest.raises(UserError, match='B has num_classes=3'):
        check_datasets(cfg, ['train'])
    cfg.model.roi_head = dict(mask_head=dict(type='FCNMaskHead', num_classes=80))
    with pytest.raises(UserError, match='FCNMaskHead has num_classes=80'):
        check_datasets(cfg, ['train'])


def test_evaluator_must_read_the_file_of_the_dataset(cfg):
    cfg.val_evaluator.ann_file = f'{cfg.root}/annotations/train.json'
    with pytest.raises(UserError, match='val_evaluator.ann_file is .*train.json, but val_dataloader reads .*val.json'):
        check_datasets(cfg, ['val'])


def test_truncated_json_is_rejected(cfg):
    path = f'{cfg.root}/annotations/train.json'
    with open(path) as file:
        text = file.read()
    with open(path, 'w') as file:
        file.write(text[: len(text) // 2])
    with pytest.raises(UserError, match='cannot read .*train.json as JSON'):
        check_datasets(cfg, ['train'])


@pytest.mark.parametrize(
    'change, says',
    [
        (lambda c: c.pop('images'), 'expected a list "images"'),
        (lambda c: c['images'][1].pop('file_name'), r'images\[1\] lacks file_name'),
        (lambda c: c['images'][1].update(id=c['images'][0]['id']), r'images\[1\] has the id 1 of an earlier entry'),
        (lambda c: c['annotations'][0].pop('area'), r'annotations\[0\] lacks area'),
        (lambda c: c['annotations'][0].update(bbox=[1, 2, 3]), r'annotation 1 has the bbox \[1, 2, 3\]'),
        (lambda c: c['annotations'][0].update(bbox=[1, 2, 3, float('nan')]), 'annotation 1 has the bbox'),
        (lambda c: c['annotations'][0].update(category_id=9), 'annotation 1 has the category_id 9'),
        (lambda c: c['annotations'][0].update(image_id='x'), "annotation 1 has the image_id 'x'"),
        (lambda c: c['annotations'][0].update(id=[1]), r'\[0\] has the id \[1\]; expected a whole number or a string'),
        (lambda c: c['images'][0].update(width='64'), r"images\[0\] has the width '64'; expected a number"),
        (lambda c: c['images'][0].update(file_name=None), r'images\[0\] lacks file_name'),
    ],
)
def test_malformed_annotations_are_rejected(cfg, change, says):
    edit(cfg, change)
    with pytest.raises(UserError, match=f'train.json: malformed: .*{says}'):
        check_datasets(cfg, ['train'])


def test_evaluation_needs_iscrowd_but_training_does_not(cfg):
    for split in ('train', 'val'):
        edit(cfg, lambda c: c['annotations'][2].pop('iscrowd'), split)
    check_datasets(cfg, ['train', 'val'])  # OfficialCocoMetric treats a missing iscrowd as 0
    cfg.val_evaluator.type = 'CocoMetric'
    with pytest.raises(UserError, match=r'val.json: malformed: annotations\[2\] lacks iscrowd'):
        check_datasets(cfg, ['train', 'val'])
    cfg.val_evaluator.ann_file = None  # MMDetection then evaluates on the annotations that the dataset has read
    check_datasets(cfg, ['val'])


def test_file_without_annotations_is_accepted_as_a_test_set(shapes):
    coco = json.loads((shapes / 'annotations' / 'val.json').read_text())
    check_annotations({key: copy.deepcopy(value) for key, value in coco.items() if key != 'annotations'})


def test_images_of_another_size_than_annotated_are_named(cfg, capfd):
    """A warning, since some tools write a wrong size beside right boxes. A size that EXIF swaps is right."""
    Image.new('RGB', (64, 40)).save(f'{cfg.root}/train/000005.jpg')
    edit(cfg, lambda c: c['images'][5].update(width=40, height=64))
    edit(cfg, lambda c: [image.update(width=200) for image in c['images'][:2]])
    MMLogger.get_instance('sizes', log_level='INFO')
    check_datasets(cfg, ['train', 'val'])
    said = capfd.readouterr()
    says = '000000.jpg has 64 x 64 pixels instead of 200 x 64, and 1 more of those looked at. tools/check_dataset.py'
    assert says in said.out + said.err


def test_masks_without_a_pixel_are_named(cfg, capfd):
    def change(coco):
        for annotation in coco['annotations']:
            annotation['segmentation'] = [[1, 1, 9, 1, 9, 9]]
        coco['annotations'][0]['segmentation'] = [[-9, 1, -2, 1, -2, 9]]

    edit(cfg, change, 'val')
    cfg.val_evaluator.metric = ['bbox', 'segm']
    MMLogger.get_instance('masks', log_level='INFO')
    check_datasets(cfg, ['val'])
    said = capfd.readouterr()
    assert 'has masks without a pixel inside their image, which no detection can match: 1, for' in said.out + said.err
