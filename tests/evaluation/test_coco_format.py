import math

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from econvnext_mmdet.evaluation.coco_format import (
    are_polygons,
    check_annotations,
    find_bad_masks,
    find_malformed,
    is_rle,
    rle_areas,
)
from econvnext_mmdet.utils.errors import UserError

from ..scenes import SIZE, make_scene, rle_counts


def test_well_formed_annotations_are_accepted():
    coco, _ = make_scene()
    check_annotations(coco, pycocotools=True)
    assert not any(find_malformed(coco)) and not any(find_bad_masks(coco).bad.values())


def test_a_test_set_may_lack_annotations():
    coco, _ = make_scene()
    del coco['annotations']
    check_annotations(coco)
    with pytest.raises(UserError, match='malformed: expected a list "categories", as in COCO.s format'):
        check_annotations(dict(images=[]))


@pytest.mark.parametrize('id', ['image 1', 2**63])
def test_pycocotools_needs_ids_of_64_bits(id):
    coco, _ = make_scene()
    coco['images'][1]['id'] = id
    coco['annotations'] = []
    check_annotations(coco)
    with pytest.raises(UserError, match=r'images\[1\] has the id .*; expected a whole number of 64 bits. The metric'):
        check_annotations(coco, pycocotools=True)


def test_pycocotools_needs_iscrowd():
    coco, _ = make_scene()
    del coco['annotations'][3]['iscrowd']
    check_annotations(coco)
    with pytest.raises(UserError, match=r'malformed: annotations\[3\] lacks iscrowd'):
        check_annotations(coco, pycocotools=True)


def test_all_problems_are_found_and_the_first_is_raised():
    coco, _ = make_scene()
    coco['annotations'][0]['bbox'] = [1, 2, 3]
    coco['annotations'][1]['area'] = 'large'
    coco['annotations'][2]['category_id'] = 99
    assert [kind for kind, _ in find_malformed(coco)] == [
        'malformed boxes',
        'malformed areas',
        'annotations without their categories',
    ]
    with pytest.raises(UserError, match=r'malformed: annotation 0 has the bbox \[1, 2, 3\]'):
        check_annotations(coco)


def test_bad_masks_are_grouped_by_kind():
    coco, _ = make_scene()
    masks = [None, [[1, 2]], dict(size=[SIZE, SIZE], counts=rle_counts([100, 300])), dict(size=[9, 9], counts=[81])]
    for annotation, mask in zip(coco['annotations'], masks):
        annotation['segmentation'] = mask
    assert find_bad_masks(coco).bad == {
        'annotations without a mask': [0],
        'masks that are neither valid polygons nor a valid RLE': [1, 2],
        'masks of a different size than their image': [3],
    }


@pytest.mark.parametrize(
    'mask, expected',
    [
        (dict(size=[3, 4], counts='o'), True),  # only the form counts
        (dict(size=[3, 4], counts=[5, 7]), True),
        (dict(size=[3, 4], counts=[-5, 17]), False),
        (dict(size=[2**16, 2**16], counts=[2**32]), False),  # too long for the engines
        (dict(size=[3, 4], counts=b'o'), False),
        (dict(size=[3.0, 4], counts='o'), False),
        (dict(size=[-3, -4], counts='o'), False),
        (dict(size=[3], counts='o'), False),
        (dict(size=[3, 4]), False),
        ([[1, 2, 3, 4, 5, 6]], False),
        (dict(size=[3, 4], counts=[True, 11]), False),
    ],
)
def test_only_the_form_decides_what_is_an_rle(mask, expected):
    assert is_rle(mask) is expected


@pytest.mark.parametrize('far', [1e9, -1e9, math.nan, math.inf])
def test_a_polygon_that_could_crash_pycocotools_is_none(far):
    assert are_polygons([[0, 0, 9, 0, 9, 9]]) and not are_polygons([[0, 0, 9, 0, 9, far]])
    assert not are_polygons([]) and not are_polygons([[0, 0, 9, 0, 9, 10**400]])


@pytest.mark.parametrize('name', ['', ' ', '\ud800'])
def test_a_category_has_a_readable_name(name):
    coco, _ = make_scene()
    coco['categories'][0]['name'] = name
    with pytest.raises(UserError, match='malformed: a category is named .*; expected visible characters'):
        check_annotations(coco)


def test_characters_beyond_ascii_are_no_runs():
    """As a question mark, the character would be a run of 15 pixels. Found by fuzzing."""
    assert rle_areas([dict(size=[5, 3], counts=text) for text in ('?', 'ÿ', '\udcff')]).tolist() == [0, -1, -1]


@pytest.mark.parametrize('side', [0, -4, math.inf, math.nan])
def test_an_image_has_a_size(side):
    coco, _ = make_scene()
    coco['images'][1]['height'] = side
    with pytest.raises(UserError, match=r'images\[1\] has the height .*; expected numbers of at least 1'):
        check_annotations(coco)


def test_areas_are_those_of_the_masks_and_broken_rles_have_none():
    """pycocotools makes the masks. In every seventh one, the runs are then longer or shorter than the image."""
    rng = np.random.default_rng(0)
    masks, areas = [], []
    for i in range(200):
        size = rng.integers(1, 60, 2)
        inside = rng.random(size) < rng.choice([0, 0.02, 0.5, 1])
        rle = mask_utils.encode(np.asfortranarray(inside, dtype=np.uint8))
        counts = rle['counts'].decode()
        if i % 14 == 3:
            counts += '1'
        elif i % 14 == 10:
            rle['size'] = [rle['size'][0] + 1, rle['size'][1]]
        masks.append(dict(size=rle['size'], counts=counts))
        areas.append(-1 if i % 7 == 3 else inside.sum())
    assert rle_areas(masks, at_once=30).tolist() == rle_areas(masks).tolist() == areas
    assert rle_areas([]).tolist() == []


@pytest.mark.parametrize('part, key', [('images', 'id'), ('images', 'width'), ('annotations', 'category_id')])
def test_true_is_no_number(part, key):
    coco = dict(
        images=[dict(id=1, file_name='a.jpg', width=1, height=1)],
        categories=[dict(id=1, name='cat')],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 1, 1], area=1)],
    )
    coco[part][0][key] = True
    with pytest.raises(UserError, match=rf'{part}\[0\] has the {key} True; expected a '):
        check_annotations(coco)


def test_masks_without_a_pixel_in_their_image_are_found():
    """The last masks are the second implementation's: pycocotools draws them."""
    masks = [
        [[2, 2, 9, 2, 9, 9]],
        [[-9, 2, 9, 2, 9, 9]],
        [[SIZE, 2, SIZE + 9, 2, SIZE + 9, 9]],
        [[-9, -9, -2, -9, -2, -2]],
        [[5, 5, 5, 5, 5, 5]],
        [[-9, -9, -2, -9, -2, -2], [2, 2, 9, 2, 9, 9]],
        dict(size=[SIZE, SIZE], counts=[SIZE**2]),
        dict(size=[SIZE, SIZE], counts=[0, SIZE**2]),
        *(
            {**rle, 'counts': rle['counts'].decode()}
            for rle in mask_utils.encode(np.stack([np.zeros((SIZE, SIZE)), np.eye(SIZE)], 2).astype('uint8', 'F'))
        ),
    ]
    coco = dict(
        images=[dict(id=1, width=SIZE, height=SIZE)],
        annotations=[dict(id=i, image_id=1, segmentation=mask) for i, mask in enumerate(masks)],
    )
    assert not any(find_bad_masks(coco).bad.values())
    assert find_bad_masks(coco).empty == [2, 3, 4, 6, 8]
    drawn = [mask if isinstance(mask, list) else [mask] for mask in masks]
    areas = [
        sum(int(mask_utils.decode(rle).sum()) for rle in (mask_utils.frPyObjects(part, SIZE, SIZE) if i < 6 else part))
        for i, part in enumerate(drawn)
        if i not in (6, 7)
    ]
    assert [i for i, area in zip((0, 1, 2, 3, 4, 5, 8, 9), areas) if area == 0] == [2, 3, 4, 8]
