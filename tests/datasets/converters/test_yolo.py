"""YOLO's text labels to COCO."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_utils

from econvnext_mmdet.datasets.converters.common import ConversionSummary, Picture, to_coco
from econvnext_mmdet.datasets.converters.yolo import read_labels, read_names, yolo_to_coco
from econvnext_mmdet.utils.errors import UserError

NAMES = ('cat', 'big dog')
FRACTIONS = st.floats(0, 0.9)


def write(root, layout, name, *lines):
    """Write an image of 200 x 100 pixels and its labels."""
    image, label = (root / layout.format(part) / name for part in ('images', 'labels'))
    image.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(f'{image}.jpg', np.zeros((100, 200, 3), np.uint8))
    if lines:
        label.parent.mkdir(parents=True, exist_ok=True)
        label.with_name(f'{name}.txt').write_text('\n'.join(lines))


@settings(max_examples=50, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 1), FRACTIONS, FRACTIONS, st.floats(0.02, 0.1), st.floats(0.02, 0.1)), max_size=5
    ),
    size=st.tuples(st.integers(20, 4000), st.integers(20, 4000)),
)
def test_boxes_come_back_from_text(tmp_path_factory, boxes, size):
    path = tmp_path_factory.mktemp('yolo') / 'a.txt'
    path.write_text('\n'.join(f'{kind} {x + w / 2!r} {y + h / 2!r} {w!r} {h!r}' for kind, x, y, w, h in boxes))
    picture, summary = Picture('a.jpg', *size), ConversionSummary()
    coco = to_coco([(picture, read_labels(path, picture, NAMES, summary))], NAMES, summary)
    assert not summary.dropped and len(coco['annotations']) == len(boxes)
    for (kind, x, y, w, h), item in zip(boxes, coco['annotations']):
        assert item['category_id'] == kind + 1
        assert item['bbox'] == pytest.approx([x * size[0], y * size[1], w * size[0], h * size[1]], rel=1e-6, abs=1e-6)


def test_polygons_become_masks(tmp_path):
    write(tmp_path, '{}', 'a', '1 0.1 0.2 0.5 0.2 0.5 0.8 0.1 0.8', '')
    yolo_to_coco(str(tmp_path), classes=NAMES)
    coco = json.loads((tmp_path / 'annotations' / 'all.json').read_text())
    (item,) = coco['annotations']
    assert coco['images'][0]['file_name'] == 'images/a.jpg'
    assert item['bbox'] == pytest.approx([20, 20, 80, 60]) and item['category_id'] == 2
    (rle,) = mask_utils.frPyObjects(item['segmentation'], 100, 200)
    assert item['area'] == mask_utils.area(rle) == 80 * 60


def test_a_polygon_without_area_is_dropped(tmp_path):
    write(tmp_path, '{}', 'a', '1 0.1 0.2 0.5 0.2 0.5 0.8 0.1 0.8', '0 0.1 0.1 0.2 0.2 0.1 0.1')
    (summary,) = yolo_to_coco(str(tmp_path), classes=NAMES).values()
    (dropped,) = summary.dropped
    assert 'no area inside' in dropped and sum(summary.objects.values()) == 1


def test_what_is_outside_of_the_image_is_cut_off(tmp_path):
    write(tmp_path, '{}', 'a', '0 -0.01 0 1.01 0 1.01 1.01 -0.01 1.01', '0 1.005 0.5 0.01 0.2', '0 0.5 0.5 -0.01 0.2')
    (summary,) = yolo_to_coco(str(tmp_path), classes=NAMES).values()
    (item,) = json.loads((tmp_path / 'annotations' / 'all.json').read_text())['annotations']
    assert item['bbox'] == [0, 0, 200, 100] and item['area'] == 200 * 100
    assert len(summary.clipped) == 1 and ['no area inside' in dropped for dropped in summary.dropped] == [True, True]


@pytest.mark.parametrize('orientation', [3, 6])
def test_labels_of_an_image_that_its_exif_data_turns_are_to_be_checked(tmp_path, orientation):
    """A fraction does not tell whether it is one of the stored or of the turned image."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(tmp_path, '{}', 'a', '0 0.5 0.5 0.2 0.2')
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8))
    image.save(tmp_path / 'images' / 'a.jpg', exif=exif)
    (summary,) = yolo_to_coco(str(tmp_path), classes=NAMES).values()
    assert 'turned or mirrored by its EXIF data; the annotations were taken as those of the turned image, check' in str(
        summary
    )


def test_label_files_without_an_image_are_named(tmp_path):
    write(tmp_path, '{}', 'a', '0 0.5 0.5 0.2 0.2')
    for name in ('b.txt', 'classes.txt'):
        (tmp_path / 'labels' / name).write_text('0 0.5 0.5 0.2 0.2')
    (tmp_path / 'README.txt').write_text('about')
    (summary,) = yolo_to_coco(str(tmp_path), classes=NAMES).values()
    assert 'label files without an image, left out: 1 (labels/b.txt)\ndropped nothing' in str(summary)


@pytest.mark.parametrize(
    'folders, says',
    [
        (('t_x', 't/x'), 'the subfolder t/x and the subfolder t_x would both become t_x.json; rename a subfolder'),
        (('', 'all'), 'the folder itself and the subfolder all would both become all.json; rename a subfolder'),
    ],
)
def test_splits_with_the_same_name_are_an_error(tmp_path, folders, says):
    for folder in folders:
        write(tmp_path, f'{{}}/{folder}', 'a', '0 0.5 0.5 0.2 0.2')
    with pytest.raises(UserError, match=says):
        yolo_to_coco(str(tmp_path), classes=NAMES)
    assert not (tmp_path / 'annotations').exists()


@pytest.mark.parametrize('layout', ['{}/{split}', '{split}/{}'])
def test_splits_are_folders(tmp_path, layout):
    for split, name in (('train', 'a'), ('train', 'b'), ('val', 'a')):
        write(tmp_path, layout.replace('{split}', split), name, '0 0.5 0.5 0.2 0.2')
    (tmp_path / 'data.yaml').write_text('names:\n  0: cat\n  1: big dog\n')
    summaries = yolo_to_coco(str(tmp_path))
    assert {path.rpartition('/')[2]: summary.images for path, summary in summaries.items()} == {
        'train.json': 2,
        'val.json': 1,
    }
    coco = json.loads((tmp_path / 'annotations' / 'val.json').read_text())
    assert [category['name'] for category in coco['categories']] == ['cat', 'big dog']


def test_wrong_lines_are_named_and_a_missing_file_is_counted(tmp_path):
    lines = ('0 0.5 0.5 0.2 0.2', '2 0.5 0.5 0.2 0.2', '0 100 50 40 20', '0 0.5 0.5 0.2', 'cat 0.5 0.5 0.2 0.2')
    write(tmp_path, '{}', 'a', *lines)
    write(tmp_path, '{}', 'b')
    (summary,) = yolo_to_coco(str(tmp_path), classes=NAMES).values()
    assert summary.images == 2 and summary.objects == {'cat': 1, 'big dog': 0}
    assert [line.partition(': ')[2] for line in summary.dropped] == [
        'line 2 of a.txt (2 0.5 0.5 0.2 0.2): the class 2 is not among the 2 names, which count from 0',
        'line 3 of a.txt (0 100 50 40 20): expected fractions of the image, from 0 to 1',
        'line 4 of a.txt (0 0.5 0.5 0.2): expected a class and four numbers, or a class and at least three points',
        "line 5 of a.txt (cat 0.5 0.5 0.2 0.2): could not convert string to float: 'cat'",
    ]
    assert 'without a label file, kept as images without objects: 1 (images/b.jpg)' in str(summary)


@pytest.mark.parametrize(
    'file, text',
    [
        ('data.yaml', 'names: [cat, big dog]'),
        ('classes.txt', 'cat\n\nbig dog\n'),
        ('obj.names', '\ufeffcat\nbig dog'),
    ],
)
def test_names_are_read_from_the_usual_files(tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding='utf-8')
    assert read_names(tmp_path) == list(NAMES)


def test_files_in_another_encoding_are_named(tmp_path):
    (tmp_path / 'classes.txt').write_text('cat\nbig dog', encoding='utf-16')
    assert read_names(tmp_path) == list(NAMES)
    for name in 'ab':
        write(tmp_path, '{}', name, '0 0.5 0.5 0.2 0.2')
    (tmp_path / 'labels' / 'a.txt').write_bytes(b'\xff\x80')
    (summary,) = yolo_to_coco(str(tmp_path)).values()
    (dropped,) = summary.dropped
    assert summary.images == 1 and 'a.txt is not a text file in UTF-8: ' in dropped
    (tmp_path / 'classes.txt').write_bytes('中'.encode('gb18030'))
    with pytest.raises(UserError, match='classes.txt is not a text file in UTF-8: .* Save it in UTF-8.'):
        read_names(tmp_path)


def test_names_are_taken_as_they_are_written(tmp_path):
    """YAML reads most of these as numbers, and the first two as false and nothing."""
    names = ['no', 'null', '12:30:45', '0x10', '010', '.inf', '1e3', '2020-01-01']
    (tmp_path / 'data.yaml').write_text(f'names: [{", ".join(names)}]')
    assert read_names(tmp_path) == names


def test_two_files_with_names_must_agree(tmp_path):
    (tmp_path / 'data.yaml').write_text('names: [cat, dog]')
    (tmp_path / 'classes.txt').write_text('cat\ndog')
    assert read_names(tmp_path) == ['cat', 'dog']
    (tmp_path / 'obj.names').write_text('dog\ncat')
    with pytest.raises(UserError, match='data.yaml names the classes cat, dog, and obj.names dog, cat; remove'):
        read_names(tmp_path)


def test_the_number_of_classes_may_be_in_quotes(tmp_path):
    (tmp_path / 'data.yaml').write_text('names: [cat, dog]\nnc: "2"')
    assert read_names(tmp_path) == ['cat', 'dog']


@pytest.mark.parametrize(
    'text, says',
    [
        ('names: [cat, [dog]]', 'has no list "names" of the classes'),
        ('names: {0: cat, 2: dog}', 'has no list "names" of the classes'),
        ('names: {0: cat, 0: dog}', "as YAML: .* a mapping has the key '0' twice"),
        ('names: &a [*a]', 'as YAML: found unconstructable recursive node'),
        ('names: [cat]\nnc: 5', 'says nc: 5, and has 1 names'),
        ('names: [cat]\nkpt_shape: [17, 2]', 'says kpt_shape: its labels have key points. Keep the first five'),
        ('names: [cat, cat]', "two classes have the name 'cat'"),
        ('names: ["\\uD800"]', 'cannot be shown|cannot read'),
        ('names: ["", dog]', 'has the name .*, which cannot be shown'),
        ('names: [!!python/object/apply:os.system ["touch marker"]]', 'has no list "names" of the classes'),
        ('names: ' + '[' * 5000, 'cannot read .*data.yaml'),
    ],
)
def test_names_are_texts_and_each_is_there_once(text, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, '{}', 'a', '0 0.5 0.5 0.2 0.2')
    (tmp_path / 'data.yaml').write_text(text)
    with pytest.raises(UserError, match=says):
        yolo_to_coco(str(tmp_path))
    assert not (tmp_path / 'annotations').exists() and not (tmp_path / 'marker').exists()


def test_errors_write_nothing(tmp_path):
    with pytest.raises(UserError, match='has no names of classes: expected one of data.yaml, .*, or --classes'):
        yolo_to_coco(str(tmp_path))
    for text in ('train: images', '', '[cat]'):
        (tmp_path / 'data.yaml').write_text(text)
        with pytest.raises(UserError, match='data.yaml has no list "names" of the classes'):
            yolo_to_coco(str(tmp_path))
    with pytest.raises(UserError, match='has no labels of YOLO: expected images in images/'):
        yolo_to_coco(str(tmp_path), classes=NAMES)
    write(tmp_path, '{}', 'a', '7 0.5 0.5 0.2 0.2')
    with pytest.raises(UserError, match='all.json would have no objects; nothing was written'):
        yolo_to_coco(str(tmp_path), classes=NAMES)
    assert not (tmp_path / 'annotations').exists()
