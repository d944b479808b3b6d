"""What all converters have in common: mistakes of the user, and output that is written completely or not at all."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from econvnext_mmdet.datasets.converters import common
from econvnext_mmdet.datasets.converters.common import find_pictures, read_picture, read_split, read_splits
from econvnext_mmdet.datasets.converters.labelme import labelme_to_coco
from econvnext_mmdet.datasets.converters.labels import labels_to_coco
from econvnext_mmdet.datasets.converters.sonar import sonar_to_coco
from econvnext_mmdet.datasets.converters.voc import voc_to_coco
from econvnext_mmdet.datasets.converters.yolo import yolo_to_coco
from econvnext_mmdet.utils.errors import UserError

XML = (
    '<annotation><object><name>cube</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>'
    '</object></annotation>'
)
SHAPE = dict(label='cube', points=[[2, 2], [9, 9]], shape_type='rectangle')
# For each converter: a call with the folder and the output folder, where an image and its annotation are, and the
# content of the annotation.
CONVERTERS = dict(
    voc=(voc_to_coco, 'JPEGImages/{}.png', 'Annotations/{}.xml', XML),
    sonar=(lambda root, out: sonar_to_coco(root, out, 0.5)[1], 'images/{}.bmp', 'xml/{}.xml', XML),
    yolo=(
        lambda root, out: yolo_to_coco(root, out, ['cube']),
        'images/{}.png',
        'labels/{}.txt',
        '0 0.5 0.5 0.2 0.2',
    ),
    labelme=(labelme_to_coco, '{}.png', '{}.json', json.dumps(dict(shapes=[SHAPE]))),
    labels=(lambda root, out: labels_to_coco(root, 'cube', out), 'images/{}.png', 'labels/{}.png', None),
)


@pytest.fixture(params=list(CONVERTERS))
def converter(request, tmp_path):
    """A converter, and a folder with two images that it can convert."""
    convert, image, label, content = CONVERTERS[request.param]
    for name in 'ab':
        for path in (tmp_path / 'data' / place.format(name) for place in (image, label)):
            path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / 'data' / image.format(name)), np.zeros((20, 30, 3), np.uint8))
        if content is None:
            cv2.imwrite(str(path), np.ones((20, 30), np.uint8))
        else:
            path.write_text(content)
    return convert, tmp_path / 'data'


def test_the_output_folder_is_made_and_its_files_are_replaced(converter, tmp_path):
    convert, root = converter
    out = tmp_path / 'new' / 'folder'
    paths = {path: Path(path).read_text() for path in convert(str(root), str(out))}
    assert paths and all(Path(path).parent == out and json.loads(text)['annotations'] for path, text in paths.items())
    for path in paths:
        Path(path).write_text('old')
    assert {path: Path(path).read_text() for path in convert(str(root), str(out))} == paths
    assert {str(path) for path in out.iterdir()} == {*paths}


def test_a_wrong_folder_is_an_error_in_words(converter, tmp_path):
    convert, root = converter
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').touch()
    for wrong in ('none', 'empty', 'file'):
        with pytest.raises(UserError, match=str(tmp_path / wrong)):
            convert(str(tmp_path / wrong), str(tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def test_output_that_cannot_be_written_names_the_path(converter, tmp_path):
    convert, root = converter
    (tmp_path / 'file').touch()
    with pytest.raises(OSError) as error:
        convert(str(root), str(tmp_path / 'file' / 'out'))
    assert error.value.filename.startswith(str(tmp_path / 'file'))


@pytest.fixture
def write(tmp_path):
    """A function that writes two splits with an image each into a folder."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((20, 30, 3), np.uint8))

    def read(name, summary):
        picture = read_picture(find_pictures(tmp_path), name, tmp_path)
        return picture, [common.Item('cat', (1, 2, 3, 4), '')]

    return lambda out: read_splits(dict(train=['a'], val=['a']), read, ['cat'], out, strict=False)


def test_all_files_are_written_or_none(write, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    (out / 'val.json').mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write(out)
    assert [path.name for path in out.iterdir()] == ['val.json']
    (out / 'val.json').rmdir()

    texts = ['{}']

    def dumps(content):  # Ctrl-C during the second file
        if not texts:
            raise KeyboardInterrupt
        return texts.pop()

    with monkeypatch.context() as patch:
        patch.setattr(common.json, 'dumps', dumps)
        with pytest.raises(KeyboardInterrupt):
            write(out)
    assert not [*out.iterdir()]
    assert len(write(out)) == len([*out.iterdir()]) == 2


def test_a_list_names_each_image_once_and_must_be_text(tmp_path):
    path = tmp_path / 'train.txt'
    path.write_text('a\n\nb\na.jpg\n')
    assert read_split(path, {'a', 'b'}) == ['a', 'b']
    path.write_bytes('图像\n'.encode('gb18030'))
    with pytest.raises(UserError, match='train.txt is not a text file in UTF-8: .*. Save it in UTF-8.'):
        read_split(path, {'a'})


def test_names_are_printed_on_one_line(tmp_path, capsys):
    """A name may hold line breaks, and codes that clear the terminal."""
    summary = common.ConversionSummary(
        images=1, objects={'c\nat': 1}, dropped=['b\rad: why'], clipped=['c\x1b[2J'], notes={'left out': ['x\ny.jpg']}
    )
    common.report({'d\ta/all.json': summary}, allow_dropped=True)
    assert capsys.readouterr().out.splitlines() == [
        'd\\ta/all.json: 1 images, 1 objects: c\\nat 1',
        'left out: 1 (x\\ny.jpg)',
        'clipped to their image: 1 (c\\x1b[2J)',
        'dropped 1:',
        '  b\\rad: why',
    ]


def test_an_image_whose_exif_data_cannot_be_read_is_used(tmp_path, monkeypatch):
    """Pillow refuses very large images, which OpenCV reads."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((20, 30, 3), np.uint8))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    picture = read_picture(find_pictures(tmp_path), 'a', tmp_path)
    assert (picture.width, picture.height, picture.orientation) == (30, 20, 1)
