"""Instance label images to COCO with masks."""

import json
import os

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as mask_utils

from econvnext_mmdet.datasets.converters.labels import labels_to_coco
from econvnext_mmdet.evaluation.coco_eval import CocoEvaluator
from econvnext_mmdet.utils.errors import UserError

SHAPE = (40, 50)


@pytest.fixture
def cells(tmp_path):
    """A folder with three images and their label images, and the numbers of the pixels by name."""
    rng = np.random.default_rng(0)
    numbers = {}
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for name, dtype in (('a', np.uint8), ('b.1', np.uint16), ('c', np.uint16)):
        drawn = np.zeros(SHAPE, dtype)
        for number in (1, 7, 255 if dtype == np.uint8 else 40_000):
            x, y = rng.integers(0, 30, 2)
            drawn[y : y + 9, x : x + 12] = number
        drawn[-1, -1] = 7  # a second part
        cv2.imwrite(str(tmp_path / 'labels' / f'{name}.png'), drawn)
        cv2.imwrite(str(tmp_path / 'images' / f'{name}.jpg'), np.zeros((*SHAPE, 3), np.uint8))
        numbers[name] = drawn
    return tmp_path, numbers


def test_every_number_becomes_an_object_with_its_mask(cells):
    root, numbers = cells
    ((path, summary),) = labels_to_coco(str(root), 'nucleus').items()
    coco = json.loads((root / 'annotations' / 'all.json').read_text())
    assert path.endswith('all.json') and summary.objects == {'nucleus': len(coco['annotations'])}
    assert not summary.dropped and not summary.clipped
    CocoEvaluator(coco)
    for image in coco['images']:
        drawn = numbers[image['file_name'].removesuffix('.jpg')]
        own = [item for item in coco['annotations'] if item['image_id'] == image['id']]
        assert len(own) == len(np.unique(drawn)) - 1
        for item, number in zip(own, np.unique(drawn)[1:]):
            inside = mask_utils.decode(item['segmentation']).astype(bool)
            assert (inside == (drawn == number)).all() and item['area'] == inside.sum()
            rows, columns = np.nonzero(inside)
            x, y, w, h = item['bbox']
            assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@settings(max_examples=50, deadline=None)
@given(
    drawn=st.sampled_from([(np.uint8, 255), (np.uint16, 65535)]).flatmap(
        lambda kind: arrays(
            kind[0], array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2, 9, kind[1]])
        )
    )
)
def test_masks_come_back_from_label_images(tmp_path_factory, drawn):
    assume(drawn.any())
    root = tmp_path_factory.mktemp('labels')
    for folder, image in (('images', np.zeros_like(drawn, np.uint8)), ('labels', drawn)):
        (root / folder).mkdir()
        cv2.imwrite(str(root / folder / 'a.png'), image)
    (summary,) = labels_to_coco(str(root), 'nucleus').values()
    items = json.loads((root / 'annotations' / 'all.json').read_text())['annotations']
    masks = [mask_utils.decode(item['segmentation']).astype(bool) for item in items]
    numbers = [number for number in np.unique(drawn) if number]
    assert len(masks) == len(numbers) and not summary.dropped and not summary.clipped
    for mask, number in zip(masks, numbers):
        assert (mask == (drawn == number)).all()


def test_text_files_are_splits(cells):
    root, _ = cells
    (root / 'train.txt').write_text('a\nb.1.png\n')
    (root / 'val.txt').write_text('c\n')
    assert [summary.images for summary in labels_to_coco(str(root), 'nucleus').values()] == [2, 1]
    summaries = labels_to_coco(str(root), 'nucleus', val_fraction=0.34)
    assert [summary.images for summary in summaries.values()] == [2, 1]


def test_a_list_that_never_ends_is_an_error(cells):
    root, _ = cells
    (root / 'train.txt').symlink_to('/dev/zero')
    with pytest.raises(UserError, match='train.txt is a device or a pipe'):
        labels_to_coco(str(root), 'nucleus')
    (root / 'train.txt').unlink()
    os.mkfifo(root / 'train.txt')
    with pytest.raises(UserError, match='train.txt is a device or a pipe'):
        labels_to_coco(str(root), 'nucleus')


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('drawn_on', ['stored', 'shown'])
def test_label_images_follow_the_rotation_of_the_image(tmp_path, orientation, drawn_on):
    """The object is a bright patch, which OpenCV finds again in the image as training reads it."""
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    stored = np.zeros((30, 40), np.uint8)
    stored[4:12, 20:36] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / 'images' / 'a.png', exif=exif)
    shown = cv2.imread(str(tmp_path / 'images' / 'a.png'), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / 'labels' / 'a.png'), stored if drawn_on == 'stored' else shown)
    (summary,) = labels_to_coco(str(tmp_path), 'patch').values()
    (item,) = json.loads((tmp_path / 'annotations' / 'all.json').read_text())['annotations']
    unclear = orientation in (2, 3, 4)  # the size is the same before and after
    assert ('turned or mirrored by its EXIF data; the annotations were taken as' in str(summary)) == unclear
    if not unclear or drawn_on == 'shown':
        assert (mask_utils.decode(item['segmentation']).astype(bool) == (shown == 255)).all()


def test_a_label_image_with_a_rotation_of_its_own_is_rotated(tmp_path):
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3
    stored = np.zeros((30, 40), np.uint8)
    stored[4:12, 20:36] = 255
    for folder in ('images', 'labels'):
        Image.fromarray(stored).save(tmp_path / folder / 'a.png', exif=exif)
    labels_to_coco(str(tmp_path), 'patch')
    (item,) = json.loads((tmp_path / 'annotations' / 'all.json').read_text())['annotations']
    assert item['bbox'] == [4, 18, 16, 8]


@pytest.mark.parametrize('kind', [np.int32, np.float32])
def test_label_images_that_do_not_keep_numbers_are_named(cells, kind):
    root, numbers = cells
    Image.fromarray(numbers['a']).save(root / 'labels' / 'a.png', 'JPEG')
    for name, change in (('b.1', np.float32(1.5)), ('c', np.int32(-1))):
        (root / 'labels' / f'{name}.png').unlink()
        cv2.imwrite(str(root / 'labels' / f'{name}.tif'), numbers[name] * change)
    for name in ('images/d.jpg', 'labels/d.tif'):
        cv2.imwrite(str(root / name), numbers['c'].astype(kind) if name == 'labels/d.tif' else numbers['a'])
    (summary,) = labels_to_coco(str(root), 'nucleus').values()
    assert summary.dropped == [
        'a: the label image a.png is a JPEG, which does not keep the numbers; expected PNG or TIFF',
        'b.1: the label image b.1.tif has other pixels than whole numbers from 0',
        'c: the label image c.tif has other pixels than whole numbers from 0',
    ]
    assert summary.objects == {'nucleus': 3}  # whole numbers may have 32 bits


def test_images_that_cannot_be_used_are_named(cells):
    root, numbers = cells
    cv2.imwrite(str(root / 'labels' / 'a.png'), np.zeros((*SHAPE, 3), np.uint8))
    cv2.imwrite(str(root / 'labels' / 'b.1.png'), numbers['b.1'][:-1])
    (root / 'labels' / 'd.png').write_bytes(b'no image')
    for name in 'efg':
        cv2.imwrite(str(root / 'images' / f'{name}.png'), np.zeros((*SHAPE, 3), np.uint8))
    for name in ('f.png', 'f.tif'):
        cv2.imwrite(str(root / 'labels' / name), numbers['c'])
    (root / 'labels' / 'g.png').touch()
    (summary,) = labels_to_coco(str(root), 'nucleus').values()
    assert summary.dropped == [
        'a: the label image a.png has 3 channels; expected one, with a number for each object',
        'b.1: the label image has 50 x 39 pixels, and the image 50 x 40',
        'd: no image file d.* of a known format',
        'e: no label image file e.* of a known format',
        'f: several label image files: f.png, f.tif',
        'g: g.png is not a readable label image',
    ]
    with pytest.raises(UserError, match='--strict allows nothing to be dropped'):
        labels_to_coco(str(root), 'nucleus', strict=True)
    with pytest.raises(UserError, match='no folder .*masks: expected the images in images/ and labels in masks/'):
        labels_to_coco(str(root), 'nucleus', labels='masks')
