from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from econvnext_mmdet.datasets.checks import check_datasets
from econvnext_mmdet.datasets.shapes import make_classification
from econvnext_mmdet.datasets.tiny_imagenet import LISTING
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT

SPLITS = ('train', 'val', 'test')


@pytest.fixture
def root(tmp_path):
    """A folder with 16 training and 16 validation images of one shape each, which a test may damage."""
    make_classification(str(tmp_path / 'shapes'), num_train=16, num_val=16, size=(64, 64), seed=1)
    return tmp_path / 'shapes'


def check(root, splits=('train', 'val'), **changes):
    """Check the data of the classification config in a different folder, with changes to the config."""
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'e-convnext-mini_10e_shapes.py')
    cfg.merge_from_dict({**{f'{split}_dataloader.dataset.data_root': f'{root}/' for split in SPLITS}, **changes})
    check_datasets(cfg, splits)


def test_good_folders_pass(root):
    check(root, SPLITS)


def test_number_of_class_folders_must_match_the_config(root):
    with pytest.raises(UserError, match=r'train has 16 class folders \(circle-checked, .*\), but the head has 10'):
        check(root, **{'model.head.num_classes': 10})
    with pytest.raises(UserError, match='but the data_preprocessor has 1000 classes'):
        check(root, **{'data_preprocessor.num_classes': 1000})
    with pytest.raises(UserError, match="but the dataset's metainfo has 1000 classes; set .*CustomDataset"):
        check(root, **{'train_dataloader.dataset.type': 'ImageNet', 'train_dataloader.dataset.split': 'train'})


def test_head_inside_test_time_augmentation_is_checked(root):
    model = Config.fromfile(ROOT / 'configs' / 'demo' / 'e-convnext-mini_10e_shapes.py').model
    model.head.num_classes = 10
    with pytest.raises(UserError, match='but the head has 10 classes'):
        check(root, model=dict(_delete_=True, type='AverageClsScoreTTA', module=model))


def test_batch_of_one_training_image_is_rejected(root):
    with pytest.raises(UserError, match='batch_size is 1, but the BatchNorm of a classifier needs two images or more'):
        check(root, **{'train_dataloader.batch_size': 1})
    check(root, ['val'], **{'train_dataloader.batch_size': 1})


def test_top_k_must_not_exceed_the_number_of_classes(root):
    with pytest.raises(UserError, match=r'val_evaluator has topk=17, but the head has 16 classes; set .*topk=\(1, \)'):
        check(root, **{'val_evaluator.topk': [1, 17]})


def test_class_folder_must_not_be_empty(root):
    (image,) = (root / 'val' / 'star-plain').iterdir()
    image.unlink()
    with pytest.raises(UserError, match='1 of the 16 class folders in .*val are empty: star-plain'):
        check(root)


def test_splits_must_have_the_same_class_folders(root):
    (root / 'val' / 'star-plain').rename(root / 'val' / 'moon-plain')
    with pytest.raises(
        UserError, match='val and .*train have different class folders: only one of them has moon-plain, star-plain'
    ):
        check(root)


def test_the_error_for_a_missing_folder_says_what_to_do():
    with pytest.raises(UserError, match='no image folder nowhere/train: .* --classification` makes a small set'):
        check('nowhere')


def test_list_of_labels_replaces_class_folders(tmp_path):
    """ImageNet with meta/train.txt, as MMPretrain's own dataset reads it."""
    (tmp_path / 'train').mkdir()
    cfg = Config.fromfile(ROOT / 'configs' / 'imagenet' / 'e-convnext-mini_16xb64_in1k.py')
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    with pytest.raises(UserError, match='train has no class folders: expected one folder of images per class in it'):
        check_datasets(cfg, ['train'])
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta/train.txt').write_text('a.jpg 3\n')
    with pytest.raises(UserError, match='1 of the 1 images of .*train.txt are missing, for example .*train/a.jpg'):
        check_datasets(cfg, ['train'])
    (tmp_path / 'train/a.jpg').write_bytes(b'x')
    check_datasets(cfg, ['train'])
    init_default_scope('mmpretrain')
    (data,) = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []}).load_data_list()
    assert data == dict(img_path=str(tmp_path / 'train/a.jpg'), gt_label=3)
    for line in ('a.jpg 1000', 'a.jpg', '', 'a.jpg -1'):
        (tmp_path / 'meta/train.txt').write_text(f'a.jpg 3\n{line}\n')
        with pytest.raises(UserError, match=f'line 2: expected .* its class, from 0 to 999; found {line!r}'):
            check_datasets(cfg, ['train'])
    (tmp_path / 'meta/train.txt').write_text('a.jpg 3\n', encoding='utf-16')
    with pytest.raises(UserError, match='train.txt is not a text file in UTF-8: .* Save it in UTF-8'):
        check_datasets(cfg, ['train'])
    cfg.train_dataloader.dataset.ann_file = 'meta/other.txt'
    with pytest.raises(UserError, match='no annotation file .*meta/other.txt, the list of images and labels'):
        check_datasets(cfg, ['train'])


@pytest.fixture
def tiny_imagenet(tmp_path):
    """A folder in Tiny ImageNet's layout: two classes with two training images and one validation image each."""
    for name in ('n02', 'n01'):
        folder = tmp_path / 'train' / name / 'images'
        folder.mkdir(parents=True)
        (folder.parent / f'{name}_boxes.txt').touch()
        for number in range(2):
            (folder / f'{name}_{number}.JPEG').write_bytes(b'x')
    (tmp_path / 'val' / 'images').mkdir(parents=True)
    for number in range(2):
        (tmp_path / 'val' / 'images' / f'val_{number}.JPEG').write_bytes(b'x')
    (tmp_path / 'val' / LISTING).write_text('val_0.JPEG\tn02\t0\t1\t2\t3\nval_1.JPEG\tn01\t0\t1\t2\t3\n')
    return tmp_path


def tiny_imagenet_config(root, num_classes=2):
    cfg = Config.fromfile(ROOT / 'configs' / 'tiny_imagenet' / 'e-convnext-mini_30e_tiny-imagenet-200.py')
    for split in SPLITS:
        cfg[f'{split}_dataloader'].dataset.data_root = f'{root}/'
    cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = num_classes
    cfg.val_evaluator.topk = cfg.test_evaluator.topk = (1,)
    return cfg


def test_both_layouts_of_tiny_imagenet_give_the_same_labels(tiny_imagenet):
    def labels(split):
        dataset = DATASETS.build({**cfg[f'{split}_dataloader'].dataset, 'pipeline': []})
        assert dataset.CLASSES == ('n01', 'n02')
        found = [dataset.get_data_info(i) for i in range(len(dataset))]
        return {Path(info['img_path']).name: info['gt_label'] for info in found}

    cfg = tiny_imagenet_config(tiny_imagenet)
    check_datasets(cfg, SPLITS)
    init_default_scope('mmpretrain')
    assert labels('train') == {'n01_0.JPEG': 0, 'n01_1.JPEG': 0, 'n02_0.JPEG': 1, 'n02_1.JPEG': 1}
    expected = {'val_0.JPEG': 1, 'val_1.JPEG': 0}
    assert labels('val') == expected
    val = tiny_imagenet / 'val'
    for name, number in (('n02', 0), ('n01', 1)):
        (val / name).mkdir()
        (val / 'images' / f'val_{number}.JPEG').rename(val / name / f'val_{number}.JPEG')
    (val / 'images').rmdir()
    (val / LISTING).unlink()
    check_datasets(cfg, SPLITS)
    assert labels('val') == expected


def test_mistakes_in_tiny_imagenet_are_named(tiny_imagenet):
    cfg, listing = tiny_imagenet_config(tiny_imagenet), tiny_imagenet / 'val' / LISTING
    with pytest.raises(UserError, match=r'train has 2 class folders \(n01, n02\), but the head has 3'):
        check_datasets(tiny_imagenet_config(tiny_imagenet, 3), SPLITS)
    listing.write_text('val_0.JPEG\tn02\nval_1.JPEG\tn03\n')
    with pytest.raises(UserError, match='only one of them has n01, n03'):
        check_datasets(cfg, SPLITS)
    listing.write_text('val_0.JPEG\tn02\nval_2.JPEG\tn01\n')
    with pytest.raises(UserError, match='1 of the 2 images of .*val are missing, for example .*images/val_2.JPEG'):
        check_datasets(cfg, SPLITS)
    listing.write_text('val_0.JPEG\tn02\nval_1.JPEG n01\n')
    with pytest.raises(UserError, match="line 2: expected the file of an image, a tab and .*; found 'val_1.JPEG n01'"):
        check_datasets(cfg, SPLITS)
