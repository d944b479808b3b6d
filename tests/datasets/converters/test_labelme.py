"""LabelMe's JSON files to COCO with masks."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from econvnext_mmdet.datasets.converters.labelme import labelme_to_coco
from econvnext_mmdet.evaluation.coco_eval import CocoEvaluator
from econvnext_mmdet.utils.errors import UserError


def shape(label, points, kind='polygon', group=None):
    """A shape as LabelMe 5 writes it."""
    return dict(label=label, points=points, group_id=group, description='', shape_type=kind, flags={}, mask=None)


def write(folder, name, *shapes, size=(200, 100)):
    """Write an image of 200 x 100 pixels and its file, in the format of LabelMe 5."""
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / f'{name}.png'), np.zeros((100, 200, 3), np.uint8))
    content = dict(version='5.4.1', flags={}, shapes=shapes, imagePath=f'{name}.png', imageData=None)
    content.update(imageHeight=size[1], imageWidth=size[0])
    (folder / f'{name}.json').write_text(json.dumps(content))


SQUARE = [[10, 20], [50, 20], [50, 80], [10, 80]]


def test_shapes_become_objects_with_masks(tmp_path):
    write(
        tmp_path,
        'a',
        shape('dog', SQUARE),
        shape('cat', [[60.0, 90.0], [20.0, 30.0]], 'rectangle'),
        shape('cat', [[100, 50], [100, 70]], 'circle'),
        shape('dog', [[0, 0], [10, 0], [10, 10], [0, 10]], group=1),
        shape('dog', [[180, 80], [200, 80], [200, 100], [180, 100]], group=1),
    )
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    coco = json.loads((tmp_path / 'annotations' / 'all.json').read_text())
    CocoEvaluator(coco)
    assert [category['name'] for category in coco['categories']] == ['cat', 'dog']
    assert [item['category_id'] for item in coco['annotations']] == [2, 1, 1, 2]
    square, rectangle, circle, parts = coco['annotations']
    assert square['bbox'] == [10, 20, 40, 60] and square['area'] == 40 * 60
    assert rectangle['bbox'] == [20, 30, 40, 60] and rectangle['area'] == 40 * 60
    assert circle['bbox'] == pytest.approx([80, 30, 40, 40]) and circle['area'] == pytest.approx(np.pi * 400, rel=0.02)
    assert parts['bbox'] == [0, 0, 200, 100] and parts['area'] == 100 + 400 and len(parts['segmentation']) == 2
    for item in coco['annotations']:
        rle = mask_utils.merge(mask_utils.frPyObjects(item['segmentation'], 100, 200))
        assert item['area'] == mask_utils.area(rle)
    assert not summary.dropped


@st.composite
def shapes(draw):
    """A class, a type of shape, and points in an image of 200 x 100 pixels."""
    center, radii = (
        np.array([draw(st.floats(low, high)) for low, high in bounds])
        for bounds in (((30, 170), (30, 70)), ((3, 30), (3, 30)))
    )
    if draw(st.booleans()):
        signs = np.array([draw(st.sampled_from([-1, 1])) for _ in range(2)])  # any two opposite corners
        return draw(st.sampled_from(['cat', 'big dog'])), 'rectangle', [center - signs * radii, center + signs * radii]
    angles = draw(st.floats(0, 6)) + np.linspace(0, 2 * np.pi, draw(st.integers(3, 8)), endpoint=False)
    points = center + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return draw(st.sampled_from(['cat', 'big dog'])), 'polygon', points


@settings(max_examples=50, deadline=None)
@given(drawn=st.lists(shapes(), min_size=1, max_size=4), factor=st.sampled_from([1, 2, 0.5]))
def test_boxes_and_polygons_come_back_from_json(tmp_path_factory, drawn, factor):
    folder = tmp_path_factory.mktemp('labelme')
    content = [shape(label, (np.array(points) * factor).tolist(), kind) for label, kind, points in drawn]
    write(folder, 'a', *content, size=(int(200 * factor), int(100 * factor)))
    (summary,) = labelme_to_coco(str(folder)).values()
    coco = json.loads((folder / 'annotations' / 'all.json').read_text())
    assert not summary.dropped and not summary.clipped and len(coco['annotations']) == len(drawn)
    names = {category['id']: category['name'] for category in coco['categories']}
    for item, (label, kind, points) in zip(coco['annotations'], drawn):
        (left, top), (right, bottom) = low, high = np.min(points, axis=0), np.max(points, axis=0)
        assert names[item['category_id']] == label
        assert item['bbox'] == pytest.approx([*low, *(high - low)])
        (polygon,) = item['segmentation']
        if kind == 'polygon':
            assert polygon == pytest.approx(np.ravel(points))
        else:
            corners = {(left, top), (right, top), (left, bottom), (right, bottom)}
            assert {*zip(polygon[::2], polygon[1::2])} == corners


def test_annotations_at_another_size_are_scaled(tmp_path):
    write(tmp_path, 'a', shape('dog', SQUARE), size=(400, 200))
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    (item,) = json.loads((tmp_path / 'annotations' / 'all.json').read_text())['annotations']
    assert item['bbox'] == [5, 10, 20, 30]
    assert 'annotated at another size, scaled to that of the image: 1 (a.png)' in str(summary)


def test_what_cannot_be_used_is_named(tmp_path):
    write(tmp_path, 'a', shape('dog', SQUARE), shape('dog', [[1, 2]], 'point'), shape('', SQUARE), shape('dog', 'x'))
    write(tmp_path, 'b', shape('dog', SQUARE), size=(300, 100))
    (tmp_path / 'c.json').write_text('[]')
    write(tmp_path, 'd', 'no shape')
    write(tmp_path, 'e', shape('dog', [[1, 2, 3]] * 4), shape('dog', [[1, 2], [3, float('nan')], [5, 6]]))
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    assert summary.images == 2 and summary.objects == {'dog': 1}
    text = str(summary)
    for says in (
        'a.png: shape 2 (dog): a point of 1 points is no object: expected a polygon, a rectangle or a circle',
        'a.png: shape 3 (): expected a text with visible characters as its "label"',
        'a.png: shape 4 (dog): ',
        'b: it was annotated with 300 x 100 pixels, and the image has 200 x 100. The aspect ratios differ',
        'c: c.json is no file of LabelMe: expected a list "shapes" of objects',
        'd: d.json is no file of LabelMe: expected a list "shapes" of objects',
        'e.png: shape 1 (dog): expected points of two numbers',
        'e.png: shape 2 (dog): expected points of two numbers',
    ):
        assert says in text
    with pytest.raises(UserError, match='--strict allows nothing to be dropped'):
        labelme_to_coco(str(tmp_path), strict=True)


def test_a_size_that_is_no_number_is_not_used_and_groups_may_have_any_name(tmp_path):
    write(tmp_path, 'a', shape('dog', SQUARE, group=['left']), shape('dog', SQUARE, group=['left']), size=(None, 'x'))
    labelme_to_coco(str(tmp_path))
    (item,) = json.loads((tmp_path / 'annotations' / 'all.json').read_text())['annotations']
    assert item['bbox'] == [10, 20, 40, 60] and len(item['segmentation']) == 2


@pytest.mark.parametrize('label', [None, False, ['cat'], {'cat': 1}, ' ', '\ud800'])
def test_a_label_that_is_no_text_is_named(tmp_path, label):
    write(tmp_path, 'a', shape('dog', SQUARE), shape(label, SQUARE))
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    assert summary.objects == {'dog': 1} and len(summary.dropped) == 1
    assert 'shape 2 ' in summary.dropped[0] and 'expected a text with visible characters' in summary.dropped[0]


def test_blanks_around_and_in_a_label_do_not_make_another_class(tmp_path):
    write(tmp_path, 'a', *(shape(label, SQUARE) for label in ('big dog', ' big dog', 'big  dog', 'big dog\n')))
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    assert summary.objects == {'big dog': 4}


@pytest.mark.parametrize('label', [0, 5, '0'])
def test_a_number_may_be_a_label(tmp_path, label):
    write(tmp_path, 'a', shape('dog', SQUARE), shape(label, SQUARE))
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    assert summary.objects == {str(label): 1, 'dog': 1} and not summary.dropped


@pytest.mark.parametrize(
    'points, box, pixels',
    [
        ([[0, 0], [400, 0], [0, 200]], [0, 0, 200, 100], 200 * 100),
        ([[-50, 20], [30, 20], [30, 150], [-50, 150]], [0, 20, 30, 80], 30 * 80),
        ([[100, -100], [400, 200], [100, 200]], [100, 0, 100, 100], 100 * 100),
        ([[0, 0], [1e200, 0], [1e200, 1e200], [0, 1e200]], [0, 0, 200, 100], 200 * 100),
    ],
)
def test_what_is_outside_of_the_image_is_cut_off(tmp_path, points, box, pixels):
    write(tmp_path, 'a', shape('dog', points), shape('dog', SQUARE))
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    item, inside = json.loads((tmp_path / 'annotations' / 'all.json').read_text())['annotations']
    assert item['bbox'] == pytest.approx(box) and item['area'] == pixels
    (rle,) = mask_utils.frPyObjects(item['segmentation'], 100, 200)
    assert mask_utils.area(rle) == pixels
    assert summary.clipped == ['a: object 1 (dog) shape 1'] and inside['bbox'] == [10, 20, 40, 60]


def test_the_image_that_a_file_names_must_be_that_beside_it(tmp_path):
    for name, path in (('a', 'b.png'), ('b', 'c:\\photos\\b.jpg'), ('c.1', '../old/c.1.png'), ('d', 'IMG_1.png')):
        write(tmp_path, name, shape('dog', SQUARE))
        content = json.loads((tmp_path / f'{name}.json').read_text())
        (tmp_path / f'{name}.json').write_text(json.dumps({**content, 'imagePath': path}))
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    (dropped,) = summary.dropped
    assert dropped.startswith('a: its JSON file has the "imagePath" b.png, and is beside a.png. Correct "imagePath"')
    assert 'of an image that is not there; check the objects: 1 (d.png)' in str(summary) and summary.images == 3


def test_images_without_a_json_file_are_named(tmp_path):
    write(tmp_path / 'train', 'a', shape('dog', SQUARE))
    for name in ('train/b.png', 'c.jpg'):
        cv2.imwrite(str(tmp_path / name), np.zeros((9, 9, 3), np.uint8))
    (tmp_path / 'train' / 'a.json').rename(tmp_path / 'train' / 'a.JSON')
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    assert 'images without a JSON file, left out: 2 (c.jpg, train/b.png)\ndropped nothing' in str(summary)


def test_a_file_of_the_user_is_converted_wherever_it_is_and_not_replaced(tmp_path):
    """The folder of the output may hold other files than this tool's."""
    write(tmp_path / 'annotations', 'annotations', shape('dog', SQUARE))
    write(tmp_path / 'train', 'a', shape('cat', SQUARE))
    text = (tmp_path / 'annotations' / 'annotations.json').read_text()
    with pytest.raises(UserError, match='annotations.json is to be read and to be written; give another name or fold'):
        labelme_to_coco(str(tmp_path))
    assert (tmp_path / 'annotations' / 'annotations.json').read_text() == text
    assert not (tmp_path / 'annotations' / 'train.json').exists()
    summaries = labelme_to_coco(str(tmp_path), str(tmp_path / 'out'))
    assert [sum(summary.objects.values()) for summary in summaries.values()] == [1, 1]
    assert len(labelme_to_coco(str(tmp_path), val_fraction=0.5)) == 2
    (tmp_path / 'train' / 'annotations.json').write_text('{')  # not readable, and yet not to be replaced
    with pytest.raises(UserError, match='annotations.json is to be read'):
        labelme_to_coco(str(tmp_path), str(tmp_path / 'train'))


def test_the_output_may_be_in_the_folder_itself(tmp_path):
    write(tmp_path, 'a', shape('dog', SQUARE))
    for _ in range(2):
        (summary,) = labelme_to_coco(str(tmp_path), str(tmp_path)).values()
        assert summary.images == 1 and not summary.dropped
    assert "JSON files in COCO's format, left out: 1 (all.json)" in str(summary)
    assert 'shapes' in json.loads((tmp_path / 'a.json').read_text())


def test_json_that_is_nested_too_deep_is_named(tmp_path):
    write(tmp_path, 'a', shape('dog', SQUARE))
    write(tmp_path, 'b', shape('dog', SQUARE))
    (tmp_path / 'b.json').write_text('[' * 200_000)
    (summary,) = labelme_to_coco(str(tmp_path)).values()
    (dropped,) = summary.dropped
    assert 'cannot read b.json as JSON' in dropped


def test_subfolders_are_splits_and_files_of_coco_are_not_read_again(tmp_path):
    write(tmp_path / 'train', 'a', shape('dog', SQUARE))
    write(tmp_path / 'val', 'a', shape('cat', SQUARE))
    for _ in range(2):
        summaries = labelme_to_coco(str(tmp_path), order='appearance')
        assert [path.rpartition('/')[2] for path in summaries] == ['train.json', 'val.json']
        assert not any(summary.dropped for summary in summaries.values())
    coco = json.loads((tmp_path / 'annotations' / 'val.json').read_text())
    assert [category['name'] for category in coco['categories']] == ['dog', 'cat']
    assert coco['images'][0]['file_name'] == 'val/a.png'
    assert len(labelme_to_coco(str(tmp_path), val_fraction=0.5)) == 2
    with pytest.raises(UserError, match='has no JSON files of LabelMe'):
        labelme_to_coco(str(tmp_path / 'annotations'))
