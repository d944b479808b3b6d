import filecmp
import json

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from pycocotools import mask as mask_utils

from econvnext_mmdet.datasets.shapes import (
    MIN_VISIBLE,
    OUTLINES,
    PATTERNS,
    draw_image,
    make_classification,
    make_shapes,
)
from econvnext_mmdet.utils.errors import UserError


def test_only_the_same_seed_gives_the_same_files(tmp_path):
    for name, seed in (('a', 3), ('b', 3), ('c', 4)):
        make_shapes(str(tmp_path / name), num_train=3, num_val=2, size=(64, 96), seed=seed)
    files = [str(p.relative_to(tmp_path / 'a')) for p in (tmp_path / 'a').rglob('*') if p.is_file()]
    assert len(files) == 7
    assert filecmp.cmpfiles(tmp_path / 'a', tmp_path / 'b', files, shallow=False)[0] == files
    assert not filecmp.cmpfiles(tmp_path / 'a', tmp_path / 'c', files, shallow=False)[0]


def test_val_does_not_depend_on_the_number_of_train_images(tmp_path):
    make_shapes(str(tmp_path / 'a'), num_train=1, num_val=2, size=(64, 64), seed=0)
    make_shapes(str(tmp_path / 'b'), num_train=4, num_val=2, size=(64, 64), seed=0)
    assert (tmp_path / 'a/annotations/val.json').read_bytes() == (tmp_path / 'b/annotations/val.json').read_bytes()


def test_annotations_agree_with_their_masks(shapes):
    coco = json.loads((shapes / 'annotations' / 'train.json').read_text())
    assert [category['name'] for category in coco['categories']] == list(OUTLINES)
    assert len({a['id'] for a in coco['annotations']}) == len(coco['annotations']) > len(coco['images'])
    for image in coco['images']:
        picture = cv2.imread(str(shapes / 'train' / image['file_name']))
        assert picture.shape == (image['height'], image['width'], 3)
        covered = np.zeros(picture.shape[:2], int)
        for ann in (a for a in coco['annotations'] if a['image_id'] == image['id']):
            mask = mask_utils.decode(ann['segmentation'])
            covered += mask
            rows, columns = np.nonzero(mask)
            x, y, w, h = ann['bbox']
            assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert ann['area'] == mask.sum() > 0
        assert covered.max() <= 1  # masks hold the visible parts, so they never share a pixel


def test_most_of_each_shape_stays_visible():
    rng = np.random.default_rng(0)
    hidden = 0
    for _ in range(40):
        for shape in draw_image(rng, 96, 96)[1]:
            visible = shape['mask'].sum() / shape['full_area']
            assert visible >= MIN_VISIBLE
            hidden += visible < 1
    assert hidden > 5


def test_all_classes_and_all_three_coco_sizes_occur():
    rng = np.random.default_rng(0)
    shapes = [shape for _ in range(60) for shape in draw_image(rng, 192, 192)[1]]
    assert {shape['name'] for shape in shapes} == set(OUTLINES)
    sizes = np.histogram([shape['mask'].sum() for shape in shapes], [0, 32**2, 96**2, 1e5])[0]
    assert (sizes >= 1).all()


def test_all_classes_occur_at_the_smallest_size():
    rng = np.random.default_rng(0)
    names = [shape['name'] for _ in range(60) for shape in draw_image(rng, 64, 64, (12 / 64, 12 / 64))[1]]
    assert min(names.count(name) for name in OUTLINES) > 10


def test_mmdetection_reads_the_data(shapes):
    dataset = CocoDataset(
        ann_file='annotations/val.json',
        data_root=str(shapes),
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=tuple(OUTLINES)),
        pipeline=[],
    )
    assert len(dataset) == 6 and all('mask' in instance for instance in dataset[0]['instances'])


@pytest.mark.parametrize(
    'change, says',
    [
        (dict(size=(63, 64)), 'at least 64 x 64'),
        (dict(num_val=0), '0 for val'),
        (dict(diameters=(0.5, 0.4)), 'got 0.5 and 0.4'),
        (dict(diameters=(0.18, 0.4)), r'from 0.188 \(12 pixels\) to 1, as fractions of .* got 0.18 and 0.4'),
        (dict(size=(64, 65_501)), 'sides of at most 65500, .* got a size of 64 x 65501'),
        (dict(seed=-1), 'a seed of 0 or more; got -1'),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, change, says):
    with pytest.raises(UserError, match=says):
        make_shapes(**{**dict(out=str(tmp_path / 'x'), num_train=1, num_val=1, size=(64, 64), seed=0), **change})
    assert not list(tmp_path.iterdir())


def test_every_class_needs_an_image(tmp_path):
    with pytest.raises(UserError, match='at least 16 per split; got a size of 64 x 64, 16 for train and 15 for val'):
        make_classification(str(tmp_path / 'x'), num_train=16, num_val=15, size=(64, 64), seed=0)


def test_existing_folder_is_left_alone(tmp_path):
    (tmp_path / 'mine.txt').write_text('mine')
    with pytest.raises(UserError, match='exists already'):
        make_shapes(str(tmp_path), num_train=1, num_val=1, size=(64, 64), seed=0)
    assert (tmp_path / 'mine.txt').read_text() == 'mine'


def test_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cv2, 'imencode', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_shapes(str(tmp_path / 'x'), num_train=1, num_val=1, size=(64, 64), seed=0)
    assert not list(tmp_path.iterdir())


def test_classification_has_every_outline_with_every_pattern(tmp_path):
    counts = make_classification(str(tmp_path / 'x'), num_train=33, num_val=16, size=(64, 64), seed=3)
    assert counts == dict(train=dict(images=33, classes=16), val=dict(images=16, classes=16))
    names = [f'{outline}-{pattern}' for outline in OUTLINES for pattern in PATTERNS]
    for split, numbers in (('train', [3] + 15 * [2]), ('val', 16 * [1])):
        assert {path.name for path in (tmp_path / 'x' / split).iterdir()} == {*names}
        assert [len(list((tmp_path / 'x' / split / name).iterdir())) for name in names] == numbers
    make_classification(str(tmp_path / 'y'), num_train=33, num_val=16, size=(64, 64), seed=3)
    files = [str(path.relative_to(tmp_path / 'x')) for path in (tmp_path / 'x').rglob('*.jpg')]
    assert filecmp.cmpfiles(tmp_path / 'x', tmp_path / 'y', files, shallow=False)[0] == files


def test_diameters_set_the_sizes():
    rng = np.random.default_rng(0)
    for low, high in ((0.2, 0.3), (0.6, 0.9)):
        for _ in range(20):
            for shape in draw_image(rng, 128, 160, (low, high))[1]:
                # The triangle has the smallest area: 0.41 of its circle. Part of a shape may lie outside the image.
                assert shape['full_area'] <= np.pi / 4 * (high * 128 + 2) ** 2
                assert shape['full_area'] >= 0.25 * np.pi / 4 * (low * 128) ** 2
