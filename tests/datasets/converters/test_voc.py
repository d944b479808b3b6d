import json
import os

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from PIL import Image

from econvnext_mmdet.datasets.converters.voc import voc_to_coco
from econvnext_mmdet.utils.errors import UserError

OBJECT = (
    '<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin><ymin>{1}</ymin>'
    '<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>'
)


@pytest.fixture
def voc(tmp_path):
    """A VOC folder with images of 40 x 30 pixels. Objects are (class, box) or (class, box, 'difficult')."""

    class Folder:
        path = tmp_path
        out = tmp_path / 'annotations' / 'all.json'

        def add(self, name, *objects, image=True):
            body = ''.join(OBJECT.format(*box, name=label, difficult=int(bool(rest))) for label, box, *rest in objects)
            # The size is wrong on purpose: only that of the image counts.
            (self.path / 'Annotations' / f'{name}.xml').write_text(
                f'<annotation><size><width>0</width><height>0</height></size>{body}</annotation>'
            )
            if image:
                cv2.imwrite(str(self.path / 'JPEGImages' / f'{name}.jpg'), np.zeros((30, 40, 3), np.uint8))

        def split(self, name, text):
            (self.path / 'ImageSets' / 'Main' / f'{name}.txt').write_text(text)

        def convert(self, **kwargs):
            summary = voc_to_coco(str(self.path), str(self.out), **kwargs)
            return summary, json.loads(self.out.read_text())

    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    return Folder()


def test_boxes_count_from_one_and_include_the_last_pixel(voc):
    voc.add('a', ('cat', (1, 1, 40, 30)), ('dog', (11, 5, 20, 24), 'difficult'))
    summary, coco = voc.convert()
    assert coco['images'] == [dict(id=1, file_name='a.jpg', height=30, width=40)]
    assert coco['categories'] == [dict(id=1, name='cat'), dict(id=2, name='dog')]
    assert [a['bbox'] for a in coco['annotations']] == [[0, 0, 40, 30], [10, 4, 10, 20]]
    assert [a['area'] for a in coco['annotations']] == [1200, 200]
    assert [a['iscrowd'] for a in coco['annotations']] == [0, 1]
    assert summary.images == 1 and summary.objects == dict(cat=1, dog=1) and not summary.dropped
    dataset = CocoDataset(
        ann_file=str(voc.out),
        data_prefix=dict(img=str(voc.path / 'JPEGImages')),
        metainfo=dict(classes=('cat', 'dog')),
        pipeline=[],
    )
    assert [i['bbox'] for i in dataset[0]['instances']] == [[0, 0, 40, 30], [10, 4, 20, 24]]


def test_boxes_over_the_border_are_clipped(voc):
    voc.add('a', ('cat', (-3, 0, 50, 10)))
    assert voc.convert()[1]['annotations'][0]['bbox'] == [0, 0, 40, 10]


def test_summary_gives_the_reason_for_everything_dropped(voc):
    voc.add('good', ('cat', (1, 1, 9, 9)))
    voc.add('point', ('cat', (5, 5, 5, 5)), ('cat', (50, 5, 60, 9)))
    voc.add('noimage', ('cat', (1, 1, 9, 9)), image=False)
    voc.add('badimage', ('cat', (1, 1, 9, 9)))
    (voc.path / 'JPEGImages' / 'badimage.jpg').write_bytes(b'no image')
    voc.add('badxml')
    (voc.path / 'Annotations' / 'badxml.xml').write_text('<annotation><object></annotation>')
    voc.add('badbox', ('cat', (1, 'two', 9, 9)))
    voc.add('nanbox', ('cat', (1, 'nan', 9, 9)))
    voc.add('badcode')
    (voc.path / 'Annotations' / 'badcode.xml').write_text('<?xml version="1.0" encoding="GB2312"?><annotation/>')
    voc.split('train', 'good\npoint\nnoimage\nbadimage\nbadxml\nbadbox\nnanbox\nbadcode\nnoxml\n')
    cv2.imwrite(str(voc.path / 'JPEGImages' / 'noxml.jpg'), np.zeros((30, 40, 3), np.uint8))
    summary, coco = voc.convert(split='train')
    assert [image['file_name'] for image in coco['images']] == ['good.jpg', 'point.jpg']
    assert len(coco['annotations']) == 1
    text = str(summary)
    for says in (
        'point: object 1 (cat) (5.0, 5.0, 5.0, 5.0): no area',
        'point: object 2 (cat)',
        'noimage: no image file noimage.*',
        'badimage: badimage.jpg is not a readable image',
        'badxml: badxml.xml is not well-formed XML',
        'badbox: object 1 of badbox.xml lacks',
        'nanbox: object 1 of nanbox.xml lacks',
        'badcode: badcode.xml is not well-formed XML (multi-byte',
        'noxml: no annotation file',
        'dropped 9',
    ):
        assert says in text


def test_images_are_found_by_their_full_name(voc):
    for name in ('a', 'a.1', 'b[1]'):
        voc.add(name, ('cat', (1, 1, 9, 9)))
    assert [image['file_name'] for image in voc.convert()[1]['images']] == ['a.jpg', 'a.1.jpg', 'b[1].jpg']


def test_the_size_is_that_of_the_rotated_image(voc):
    """Training also rotates a photograph according to its EXIF data."""
    voc.add('a', ('cat', (1, 1, 30, 40)))
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation: rotated by 90 degrees
    Image.new('RGB', (40, 30)).save(voc.path / 'JPEGImages' / 'a.jpg', exif=exif)
    coco = voc.convert()[1]
    assert (coco['images'][0]['width'], coco['images'][0]['height']) == (30, 40)
    assert coco['annotations'][0]['bbox'] == [0, 0, 30, 40]


def test_splits_have_the_same_classes(voc):
    voc.add('a', ('cat', (1, 1, 9, 9)))
    voc.add('b', ('ape', (1, 1, 9, 9)))
    voc.split('train', 'a\n')
    voc.split('val', 'b  1\n\n')  # the split file of a class has a second column
    assert voc.convert(split='train')[1]['categories'] == voc.convert(split='val')[1]['categories']
    assert [image['file_name'] for image in voc.convert(split='val')[1]['images']] == ['b.jpg']


def test_classes_and_their_order_can_be_given(voc):
    voc.add('a', ('cat', (1, 1, 9, 9)), ('ape', (1, 1, 9, 9)), ('dog', (1, 1, 9, 9)))
    summary, coco = voc.convert(classes=('dog', 'cat'))
    assert [category['name'] for category in coco['categories']] == ['dog', 'cat']
    assert [a['category_id'] for a in coco['annotations']] == [2, 1]
    assert 'object 2 (ape)' in summary.dropped[0]


def test_errors_write_nothing(voc, tmp_path):
    voc.add('a', ('cat', (5, 5, 5, 5)))
    voc.split('train', 'a\n')
    with pytest.raises(UserError, match='no split file .*test.txt; the splits in this folder are: train'):
        voc.convert(split='test')
    with pytest.raises(UserError, match='has no objects left to convert\n1 images, 0 objects'):
        voc.convert()
    with pytest.raises(UserError, match='is not a Pascal VOC folder: expected Annotations/'):
        voc_to_coco(str(tmp_path / 'Annotations'), str(voc.out))
    assert not voc.out.exists()


def test_umask_sets_the_permissions_of_the_file(voc):
    """Other users may read the file, as with any new file."""
    voc.add('a', ('RBC', (1, 1, 10, 10)))
    umask = os.umask(0o022)
    try:
        voc.convert()
    finally:
        os.umask(umask)
    assert voc.out.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in voc.out.parent.iterdir()] == [voc.out.name]
