import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
            """The summary and the content of the only file, or of the file of the last split."""
            *_, (path, summary) = voc_to_coco(str(self.path), **kwargs).items()
            return summary, json.loads(Path(path).read_text())

        def write(self, name, text, encoding='utf-8'):
            (self.path / 'Annotations' / f'{name}.xml').write_bytes(text.encode(encoding))

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


NAMES = ('ape', 'big dog', 'R&D <x>', '猫')


@st.composite
def annotated(draw):
    """Width and height of an image, the factor of its annotations, and the objects: class, whether difficult, edges."""
    width, height = draw(st.integers(8, 60)), draw(st.integers(8, 60))

    def edges(size):
        low = draw(st.integers(0, size - 2))
        return low, draw(st.integers(low + 2, size))

    objects = [
        (draw(st.sampled_from(NAMES)), draw(st.booleans()), *zip(edges(width), edges(height)))
        for _ in range(draw(st.integers(1, 4)))
    ]
    return width, height, draw(st.integers(1, 3)), objects


def xml_of(width, height, factor, objects):
    root = ElementTree.Element('annotation')
    size = ElementTree.SubElement(root, 'size')
    ElementTree.SubElement(size, 'width').text = str(width * factor)
    ElementTree.SubElement(size, 'height').text = str(height * factor)
    for name, difficult, (left, top), (right, bottom) in objects:
        element = ElementTree.SubElement(root, 'object')
        ElementTree.SubElement(element, 'name').text = name
        ElementTree.SubElement(element, 'difficult').text = str(int(difficult))
        box = ElementTree.SubElement(element, 'bndbox')
        for key, value in dict(
            xmin=left * factor + 1, ymin=top * factor + 1, xmax=right * factor, ymax=bottom * factor
        ).items():
            ElementTree.SubElement(box, key).text = str(value)
    return ElementTree.tostring(root, encoding='utf-8')


@settings(max_examples=50, deadline=None)
@given(images=st.lists(annotated(), min_size=1, max_size=3))
def test_boxes_come_back_from_xml(tmp_path_factory, images):
    """XML counts pixels from 1 and names the last pixel inside. The images may have been made smaller later.

    All images are in two splits, as those of train are in trainval again.
    """
    root = tmp_path_factory.mktemp('voc')
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for number, (width, height, *rest) in enumerate(images):
        cv2.imwrite(str(root / 'JPEGImages' / f'{number}.png'), np.zeros((height, width, 3), np.uint8))
        (root / 'Annotations' / f'{number}.xml').write_bytes(xml_of(width, height, *rest))
    for split in ('train', 'trainval'):
        (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(map(str, range(len(images)))))
    summaries = voc_to_coco(str(root))
    coco, again = (json.loads(Path(path).read_text()) for path in summaries)
    assert coco == again and not any(summary.dropped or summary.clipped for summary in summaries.values())
    names = {category['id']: category['name'] for category in coco['categories']}
    assert list(names.values()) == sorted({name for *_, objects in images for name, *_ in objects})
    for number, (width, height, _, objects) in enumerate(images):
        image = coco['images'][number]
        assert image == dict(id=number + 1, file_name=f'{number}.png', width=width, height=height)
        own = [item for item in coco['annotations'] if item['image_id'] == image['id']]
        assert len(own) == len(objects)
        for item, (name, difficult, (left, top), (right, bottom)) in zip(own, objects):
            assert (names[item['category_id']], item['iscrowd']) == (name, difficult)
            assert item['bbox'] == pytest.approx([left, top, right - left, bottom - top])


def test_boxes_over_the_border_are_clipped(voc):
    voc.add('a', ('cat', (-3, 0, 50, 10)))
    summary, coco = voc.convert()
    assert coco['annotations'][0]['bbox'] == [0, 0, 40, 10]
    assert not summary.dropped and 'clipped to their image: 1 (a: object 1 (cat)' in str(summary)


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
    (voc.path / 'Annotations' / 'badcode.xml').write_text('<?xml version="1.0" encoding="klingon"?><annotation/>')
    voc.split('train', 'good\npoint\nnoimage\nbadimage\nbadxml\nbadbox\nnanbox\nbadcode\nnoxml\n')
    cv2.imwrite(str(voc.path / 'JPEGImages' / 'noxml.jpg'), np.zeros((30, 40, 3), np.uint8))
    summary, coco = voc.convert(splits=['train'])
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
        'badcode: badcode.xml is not well-formed XML (unknown encoding: klingon',
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
    assert voc.convert(splits=['train'])[1]['categories'] == voc.convert(splits=['val'])[1]['categories']
    assert [image['file_name'] for image in voc.convert(splits=['val'])[1]['images']] == ['b.jpg']


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
        voc.convert(splits=['test'])
    with pytest.raises(UserError, match='train.json would have no objects; nothing was written\n1 images, 0 objects'):
        voc.convert()
    with pytest.raises(UserError, match='is not a Pascal VOC folder: expected Annotations/'):
        voc_to_coco(str(tmp_path / 'JPEGImages'))
    voc.add('b', ('cat', (1, 1, 9, 9)), ('cat', (5, 5, 5, 5)))
    voc.split('train', 'b\n')
    with pytest.raises(UserError, match='--strict allows nothing to be dropped; nothing was written\n1 images'):
        voc.convert(strict=True)
    assert not voc.out.parent.exists()
    voc.convert()


def with_size(size, *boxes):
    """The text of an annotation file that states a size."""
    width, height = size
    body = ''.join(OBJECT.format(*box, name='cat', difficult=0) for box in boxes)
    return f'<annotation><size><width>{width}</width><height>{height}</height></size>{body}</annotation>'


@pytest.mark.parametrize('size', [(80, 60), (20, 15), (4032, 3024)])
def test_boxes_are_scaled_from_the_size_in_the_xml(voc, size):
    """The image of 40 x 30 pixels was resized after it was annotated."""
    voc.add('a')
    scale = size[0] / 40
    voc.write('a', with_size(size, (10 * scale + 1, 5 * scale + 1, 30 * scale, 20 * scale)))
    summary, coco = voc.convert()
    assert coco['annotations'][0]['bbox'] == pytest.approx([10, 5, 20, 15])
    assert 'annotated at another size, scaled to that of the image: 1 (a.jpg)' in str(summary)


def test_an_image_with_another_aspect_ratio_than_in_the_xml_is_dropped(voc):
    voc.add('a')
    voc.write('a', with_size((60, 60), (1, 1, 9, 9)))
    voc.add('b', ('cat', (1, 1, 9, 9)))
    summary, coco = voc.convert()
    assert [image['file_name'] for image in coco['images']] == ['b.jpg']
    assert summary.dropped == [
        'a: it was annotated with 60 x 60 pixels, and the image has 40 x 30. The aspect ratios differ, so it is '
        'unclear where the objects are'
    ]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('scale', [1, 2])
def test_boxes_in_stored_pixels_are_rotated(voc, orientation, scale):
    """The box is around a bright patch, which OpenCV finds again in the image as training reads it."""
    stored = np.zeros((30, 40, 3), np.uint8)
    stored[4:12, 20:36] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    voc.add('a')
    (voc.path / 'JPEGImages' / 'a.jpg').unlink()
    Image.fromarray(stored).save(voc.path / 'JPEGImages' / 'a.png', exif=exif)
    voc.write('a', with_size((40 * scale, 30 * scale), (20 * scale + 1, 4 * scale + 1, 36 * scale, 12 * scale)))
    summary, coco = voc.convert()
    shown = cv2.imread(str(voc.path / 'JPEGImages' / 'a.png'), cv2.IMREAD_GRAYSCALE)
    assert (coco['images'][0]['height'], coco['images'][0]['width']) == shown.shape
    if orientation in (1, 5, 6, 7, 8):
        x, y, w, h = map(round, coco['annotations'][0]['bbox'])
        assert shown[y : y + h, x : x + w].min() == 255 and (shown == 255).sum() == w * h
        assert ('rotated as its EXIF data says: 1 (a.png)' in str(summary)) == (orientation != 1)
    else:  # the size does not tell which pixels were annotated
        assert 'turned or mirrored by its EXIF data; the annotations were taken as ' in str(summary)


@pytest.mark.parametrize('size', [(40, 30), (80, 60)])
def test_fractions_of_the_stored_pixels_are_rotated(voc, size):
    exif = Image.Exif()
    exif[0x0112] = 6
    voc.add('a')
    Image.new('RGB', (40, 30)).save(voc.path / 'JPEGImages' / 'a.jpg', exif=exif)
    voc.write('a', with_size(size, (0, 0.5, 0.25, 1)))
    summary, coco = voc.convert()
    assert coco['annotations'][0]['bbox'] == pytest.approx([0, 0, 15, 10])
    assert 'rotated as its EXIF data says: 1 (a.jpg)' in str(summary) and 'scaled' not in str(summary)


def test_an_orientation_that_training_ignores_is_ignored(voc):
    """OpenCV does not rotate WebP."""
    exif = Image.Exif()
    exif[0x0112] = 6
    voc.add('a', image=False)
    Image.new('RGB', (40, 30)).save(voc.path / 'JPEGImages' / 'a.webp', exif=exif)
    height, width = cv2.imread(str(voc.path / 'JPEGImages' / 'a.webp')).shape[:2]
    voc.write('a', with_size((width, height), (1, 1, 9, 9)))
    summary, coco = voc.convert()
    assert coco['annotations'][0]['bbox'] == [0, 0, 9, 9] and 'EXIF' not in str(summary)


def test_boxes_from_0_to_1_are_fractions(voc):
    voc.add('a', ('cat', (0.25, 0.5, 1, 0.9)), ('cat', (0, 0, 1, 1)))
    summary, coco = voc.convert()
    assert [item['bbox'] for item in coco['annotations']] == [pytest.approx([10, 15, 30, 12]), [0, 0, 40, 30]]
    assert 'boxes from 0 to 1, read as fractions of the image: 1 (a.jpg)' in str(summary)


def test_a_fraction_may_be_rounded_beyond_the_image(voc):
    voc.add('a', ('cat', (-0.001, 0.5, 1.004, 1.01)))
    summary, coco = voc.convert()
    assert [item['bbox'] for item in coco['annotations']] == [[0, 15, 40, 15]]
    assert 'boxes from 0 to 1, read as fractions of the image: 1' in str(summary) and len(summary.clipped) == 1


def test_a_file_that_names_another_image_is_noted(voc):
    names = ('a', 'b', 'c', 'd')
    for name, stated in zip(names, ('folder/a.png', 'x\\\\A.jpg', 'not_there.jpg', 'a.jpg')):
        voc.add(name)
        objects = OBJECT.format(1, 1, 9, 9, name='cat', difficult=0)
        voc.write(name, f'<annotation><filename>{stated}</filename>{objects}</annotation>')
    summary, _ = voc.convert()
    assert summary.notes == {'whose annotation file names another of the images; check the objects': ['d.jpg']}


def test_tags_may_have_capital_letters(voc):
    voc.add('a')
    text = f'<Annotation>{OBJECT}</Annotation>'.format(1, 1, 9, 9, name='Cat', difficult=0)
    voc.write('a', text.replace('object>', 'Object>').replace('bndbox>', 'BndBox>').replace('xmin>', 'XMin>'))
    summary, coco = voc.convert()
    assert summary.objects == {'Cat': 1} and coco['annotations'][0]['bbox'] == [0, 0, 9, 9]


@pytest.mark.parametrize(
    'part, what',
    [
        ('<name>dog</name>', 'name'),
        ('<bndbox><xmin>1</xmin></bndbox>', 'bndbox'),
        ('<difficult>1</difficult>', 'difficult'),
    ],
)
def test_an_object_with_a_part_twice_is_dropped(voc, part, what):
    voc.add('a')
    right = OBJECT.format(1, 1, 9, 9, name='cat', difficult=0)
    voc.write('a', f'<annotation>{right}{right.replace("</object>", f"{part}</object>")}</annotation>')
    summary, _ = voc.convert()
    assert summary.objects == {'cat': 1} and summary.dropped == [f'a: object 2 of a.xml has {what} twice']


def test_an_image_with_several_pages_is_dropped(voc):
    voc.add('a', ('cat', (1, 1, 9, 9)))
    voc.add('b', ('cat', (1, 1, 9, 9)), image=False)
    page = Image.new('RGB', (40, 30))
    page.save(voc.path / 'JPEGImages' / 'b.tif', save_all=True, append_images=[page])
    summary, _ = voc.convert()
    assert summary.images == 1
    assert summary.dropped == ['b: b.tif has 2 pages; split it into images of one page']


def test_a_namespace_and_an_encoding_do_not_hide_objects(voc):
    objects = OBJECT.format(1, 1, 9, 9, name='中', difficult=0)
    for name, encoding in (('gb', 'gb2312'), ('big5', 'big5'), ('sjis', 'shift_jis'), ('utf', 'utf-16')):
        voc.add(name)
        voc.write(name, f'<?xml version="1.0" encoding="{encoding}"?>\n<annotation>{objects}</annotation>', encoding)
    voc.add('space')
    voc.write('space', f'<annotation xmlns="http://example.org/voc">{objects}</annotation>')
    voc.add('bom')
    voc.write('bom', f'<annotation>{objects}</annotation>', 'utf-8-sig')
    summary, _ = voc.convert()
    assert summary.objects == {'中': 6} and not summary.dropped


def test_an_object_without_a_box_does_not_drop_the_others(voc):
    voc.add('a')
    text = with_size((40, 30), (1, 1, 9, 9))
    other = '<object><name>cat</name><robndbox><cx>5</cx></robndbox></object></annotation>'
    voc.write('a', text.replace('</annotation>', other))
    summary, coco = voc.convert()
    assert len(coco['annotations']) == 1
    assert summary.dropped == ['a: object 2 of a.xml lacks a name or one of the four numbers of its box']


def test_names_in_a_split_file_may_have_blanks_file_extensions_folders_and_a_bom(voc):
    names = ('New Image (1)', 'photo 2021-03-04 10.11.12', 'a', 'b', 'c', 'd 1', 'e.v2')
    for name in names:
        voc.add(name, ('cat', (1, 1, 9, 9)))
    lines = 'New Image (1)\r\nphoto 2021-03-04 10.11.12\r\na.jpg\r\nJPEGImages\\b.JPG\r\nc  -1\r\nd 1\r\ne.v2\r\n'
    for encoding in ('utf-8', 'utf-8-sig', 'utf-16'):
        (voc.path / 'ImageSets' / 'Main' / 'train.txt').write_bytes(lines.encode(encoding))
        summary, coco = voc.convert()
        assert [Path(image['file_name']).stem for image in coco['images']] == list(names) and not summary.dropped


def test_other_files_beside_the_images_are_ignored(voc):
    voc.add('a', ('cat', (1, 1, 9, 9)))
    for suffix in ('xml', 'txt', 'json'):
        (voc.path / 'JPEGImages' / f'a.{suffix}').write_text('no image')
    assert voc.convert()[0].images == 1
    cv2.imwrite(str(voc.path / 'JPEGImages' / 'a.png'), np.zeros((30, 40, 3), np.uint8))
    voc.add('b', ('cat', (1, 1, 9, 9)))
    assert voc.convert()[0].dropped == ['a: several image files: a.jpg, a.png']


@pytest.fixture
def beside(tmp_path):
    """A folder with XML files beside the images, in train/ and val/."""
    for split, names in (('train', ('b', 'a', 'c')), ('val', ('b',))):
        (tmp_path / split).mkdir()
        for name in names:
            text = with_size((40, 30), (1, 1, 9, 9)).replace('cat', f'{name} cat')
            (tmp_path / split / f'{name}.xml').write_text(text)
            cv2.imwrite(str(tmp_path / split / f'{name}.JPG'), np.zeros((30, 40, 3), np.uint8))
    return tmp_path


def test_xml_files_may_lie_beside_the_images(beside):
    summaries = voc_to_coco(str(beside))
    assert [Path(path).name for path in summaries] == ['train.json', 'val.json']
    coco = json.loads((beside / 'annotations' / 'val.json').read_text())
    assert [image['file_name'] for image in coco['images']] == ['val/b.JPG']
    assert [category['name'] for category in coco['categories']] == ['a cat', 'b cat', 'c cat']
    with pytest.raises(UserError, match='no folder .*test with XML files; there are: train, val'):
        voc_to_coco(str(beside), splits=['test'])


def test_images_without_an_annotation_file_are_named(beside):
    assert 'left out' not in str(voc_to_coco(str(beside)))
    for folder in ('train', 'unlabelled'):
        (beside / folder).mkdir(exist_ok=True)
        cv2.imwrite(str(beside / folder / 'd.png'), np.zeros((30, 40, 3), np.uint8))
    says = 'images without an annotation file, left out'
    train, val = voc_to_coco(str(beside)).values()
    assert f'{says}: 2 (train/d.png, unlabelled/d.png)\ndropped nothing' in str(train) and says not in str(val)
    (train,) = voc_to_coco(str(beside), splits=['train']).values()
    assert f'{says}: 1 (train/d.png)' in str(train)
    train, val = voc_to_coco(str(beside), val_fraction=0.5).values()
    assert f'{says}: 2 (train/d.png, unlabelled/d.png)' in str(train)


def test_images_that_no_split_file_lists_are_not_meant(voc):
    for name in 'ab':
        voc.add(name, ('cat', (1, 1, 9, 9)))
    (voc.path / 'Annotations' / 'b.xml').unlink()
    assert 'images without an annotation file, left out: 1 (b.jpg)' in str(voc.convert()[0])
    voc.split('train', 'a\n')
    assert 'left out' not in str(voc.convert()[0])


def test_a_split_named_as_the_file_of_the_others_is_an_error(beside):
    (beside / 'a.xml').write_text(with_size((40, 30), (1, 1, 9, 9)))
    cv2.imwrite(str(beside / 'a.png'), np.zeros((30, 40, 3), np.uint8))
    (beside / 'val').rename(beside / 'all')
    says = 'the folder itself and the subfolder all would both become all.json; rename a subfolder'
    with pytest.raises(UserError, match=says):
        voc_to_coco(str(beside))
    assert not (beside / 'annotations').exists()
    assert len(voc_to_coco(str(beside), splits=['train'])) == 1
    assert len(voc_to_coco(str(beside), val_fraction=0.5)) == 2


def test_splits_are_names_and_no_paths(voc):
    voc.add('a', ('cat', (1, 1, 9, 9)))
    voc.split('train', 'a\n')
    (voc.path / 'ImageSets' / 'other.txt').write_text('a\n')
    for split in ('../other', str(voc.path / 'ImageSets' / 'other')):
        with pytest.raises(UserError, match='no split file .*; the splits in this folder are: train'):
            voc.convert(splits=[split])


@pytest.mark.parametrize('text', ['<html><body>404</body></html>', '<svg/>'])
def test_xml_of_another_kind_is_no_image_without_objects(voc, text):
    voc.add('a', ('cat', (1, 1, 9, 9)))
    voc.add('b')
    voc.write('b', text)
    summary, coco = voc.convert()
    (dropped,) = summary.dropped
    assert 'b: b.xml is no annotation file of Pascal VOC: expected <annotation> around it, not <' in dropped
    assert [image['file_name'] for image in coco['images']] == ['a.jpg']


@pytest.mark.parametrize(
    'text, crowd',
    [('true', 1), ('Yes', 1), ('1.0', 1), (' 1 ', 1), ('', 0), ('0.0', 0), ('False', 0), ('no', 0), ('Unspecified', 0)],
)
def test_difficult_may_be_a_word(voc, text, crowd):
    voc.add('a')
    voc.write('a', f'<annotation>{OBJECT.format(1, 1, 9, 9, name="cat", difficult=text)}</annotation>')
    assert voc.convert()[1]['annotations'][0]['iscrowd'] == crowd


def test_another_value_of_difficult_is_named(voc):
    voc.add('a')
    objects = ''.join(OBJECT.format(1, 1, 9, 9, name='cat', difficult=value) for value in (0, 2))
    voc.write('a', f'<annotation>{objects}</annotation>')
    assert voc.convert()[0].dropped == ["a: object 2 of a.xml has the value '2' of difficult; expected 0 or 1"]


@pytest.mark.parametrize('size', [(4e307, 3e307), (4e-290, 3e-290)])
def test_a_box_that_is_nothing_at_the_size_of_the_image_is_dropped(voc, size):
    voc.add('a')
    voc.write('a', with_size(size, (10, 10, 100, 100)))
    voc.add('b', ('cat', (1, 1, 9, 9)))
    summary, _ = voc.convert()
    assert len(summary.dropped) == 1 and 'no area inside the 40 x 30 image' in summary.dropped[0]


def test_all_images_can_be_split_at_random(beside):
    def split(**kwargs):
        paths = voc_to_coco(str(beside), val_fraction=0.5, **kwargs)
        return [[image['file_name'] for image in json.loads(Path(path).read_text())['images']] for path in paths]

    train, val = split()
    assert len(train) == len(val) == 2 and not {*train} & {*val}
    assert split() == [train, val] and any(split(seed=seed) != [train, val] for seed in range(1, 5))
    with pytest.raises(UserError, match='must be between 0 and 1; got 2'):
        voc_to_coco(str(beside), val_fraction=2)


def test_an_image_of_several_split_files_is_split_once(voc):
    """trainval has the images of train and val again."""
    for name in 'abcd':
        voc.add(name, ('cat', (1, 1, 9, 9)))
    for split, names in (('train', 'abc'), ('val', 'd'), ('trainval', 'abcd')):
        voc.split(split, '\n'.join(names))
    summaries = voc_to_coco(str(voc.path), val_fraction=0.5)
    files = [image['file_name'] for path in summaries for image in json.loads(Path(path).read_text())['images']]
    assert sorted(files) == ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg']


def test_classes_may_keep_the_order_of_their_first_objects(voc):
    voc.add('a', ('dog', (1, 1, 9, 9)), ('cat', (1, 1, 9, 9)))
    assert [category['name'] for category in voc.convert(order='appearance')[1]['categories']] == ['dog', 'cat']


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


def test_a_number_with_underscores_is_none(voc):
    voc.add('a', ('cat', (1, 1, 9, 9)), ('dog', ('1_0', 1, 20, 9)))
    summary, _ = voc.convert()
    assert summary.dropped == ['a: object 2 of a.xml lacks a name or one of the four numbers of its box']


@pytest.mark.parametrize('path', ['ImageSets/Main/train.txt', 'Annotations/b.xml'])
def test_a_pipe_in_the_place_of_a_file_is_an_error(voc, path):
    voc.add('a', ('cat', (1, 1, 9, 9)))
    os.mkfifo(voc.path / path)
    with pytest.raises(UserError, match=f'{path} is a device or a pipe; give the name of a file'):
        voc.convert()
