import json
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from econvnext_mmdet.evaluation.coco_eval import (
    ENGINES,
    GEOMETRY,
    CocoEvaluator,
    coco_entries,
    coco_mean,
    evaluate_files,
    iou_types_of,
)
from econvnext_mmdet.evaluation.coco_stats import COCO_STATS, PRECISION_STATS
from econvnext_mmdet.utils.errors import UserError

from ..scenes import SIZE, make_scene, rle_counts


def write_files(folder, coco, entries):
    """Write an annotation file and a results file, and return their paths."""
    files = []
    for name, content in (('gt', coco), ('dt', entries)):
        path = folder / f'{name}.json'
        path.write_text(json.dumps(content))
        files.append(str(path))
    return files


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('seed', range(5))
def test_engines_agree(iou_type, seed):
    coco, entries = make_scene(seed)
    fast, official = (CocoEvaluator(deepcopy(coco), engine).evaluate(entries, iou_type) for engine in ENGINES)
    assert list(fast.stats) == list(official.stats) == list(COCO_STATS)
    np.testing.assert_allclose(list(fast.stats.values()), list(official.stats.values()), rtol=0, atol=1e-9)
    np.testing.assert_allclose(fast.precision, official.precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fast.scores, official.scores, rtol=0, atol=1e-9)
    for ours, theirs in zip(fast.classes, official.classes):
        assert ours == pytest.approx(theirs, abs=1e-9)
    assert 0 < fast.stats['AP'] < 1


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('engine', ENGINES)
def test_metrics_equal_those_of_pycocotools_alone(tmp_path, iou_type, engine):
    """pycocotools is called as in COCO's own example, with either boxes or masks in the results file."""
    coco, entries = make_scene()
    for annotation in coco['annotations']:
        annotation['id'] += 1  # pycocotools gives wrong numbers for an object with id 0, see below
    drop = 'bbox' if iou_type == 'segm' else 'segmentation'
    gt, dt = write_files(tmp_path, coco, [{k: v for k, v in e.items() if k != drop} for e in entries])
    ground_truth = COCO(gt)
    library = COCOeval(ground_truth, ground_truth.loadRes(dt), iou_type)
    library.evaluate()
    library.accumulate()
    library.summarize()
    ours = CocoEvaluator(coco, engine).evaluate(entries, iou_type)
    np.testing.assert_allclose(list(ours.stats.values()), library.stats, rtol=0, atol=1e-9)


@pytest.mark.parametrize('engine', ENGINES)
def test_the_area_of_a_mask_does_not_come_from_its_box(engine):
    """A thin false alarm is small by its mask but large by its box. It must not count as large."""
    inside = np.zeros((SIZE, SIZE), np.uint8)
    inside[:100, :100] = 1
    found = mask_utils.encode(np.asfortranarray(inside))
    thin = mask_utils.encode(np.asfortranarray(np.eye(SIZE, dtype=np.uint8)))
    found, thin = (dict(size=rle['size'], counts=rle['counts'].decode()) for rle in (found, thin))
    coco = dict(
        images=[dict(id=1, file_name='a.jpg', height=SIZE, width=SIZE)],
        categories=[dict(id=1, name='a')],
        annotations=[
            dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 100, 100], area=10000, iscrowd=0, segmentation=found)
        ],
    )
    entries = [
        dict(image_id=1, category_id=1, score=0.9, bbox=[0, 0, SIZE, SIZE], segmentation=thin),
        dict(image_id=1, category_id=1, score=0.8, bbox=[0, 0, 100, 100], segmentation=found),
    ]
    stats = CocoEvaluator(coco, engine).evaluate(entries, 'segm').stats
    assert stats['APl'] == pytest.approx(1) and stats['AP'] == pytest.approx(0.5)


@pytest.mark.parametrize('engine', ENGINES)
def test_object_with_id_0_is_found(engine):
    coco = dict(
        images=[dict(id=1, file_name='a.jpg', height=9, width=9)],
        categories=[dict(id=1, name='a')],
        annotations=[dict(id=0, image_id=1, category_id=1, bbox=[0, 0, 5, 5], area=25, iscrowd=0)],
    )
    entries = [dict(image_id=1, category_id=1, bbox=[0, 0, 5, 5], score=0.5)]
    assert CocoEvaluator(coco, engine).evaluate(entries).stats['AP'] == pytest.approx(1)


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('engine', ENGINES)
def test_no_detections_give_0(engine, iou_type):
    result = CocoEvaluator(make_scene()[0], engine).evaluate([], iou_type)
    assert set(result.stats.values()) == {0.0}
    assert [entry['AP'] for entry in result.classes] == [0, 0, 0, -1]


@pytest.mark.parametrize('engine', ENGINES)
def test_the_metrics_of_each_class_equal_those_of_its_separate_evaluation(engine):
    """The mean over the classes is the AP of all classes."""
    coco, entries = make_scene()
    evaluator = CocoEvaluator(coco, engine)
    before = deepcopy(entries)
    result = evaluator.evaluate(entries)
    assert entries == before
    for entry, category in zip(result.classes, coco['categories']):
        alone = evaluator.evaluate(entries, cat_ids=[category['id']]).stats
        assert entry['name'] == category['name']
        assert {key: entry[key] for key in PRECISION_STATS} == pytest.approx(
            {key: alone[key] for key in PRECISION_STATS}
        )
        assert entry['AR'] == pytest.approx(alone['AR100'])
    assert result.stats['AP'] == pytest.approx(np.mean([e['AP'] for e in result.classes if e['objects']]))
    assert sum(e['objects'] for e in result.classes) == sum(not a['iscrowd'] for a in coco['annotations'])


IDS = st.one_of(
    st.integers(-3, 20),
    # Neighbours that are equal as doubles.
    st.integers(0, 20).map(lambda i: 20_240_101_120_000_000 + i),
    st.integers(-(2**70), 2**70),
    st.text(max_size=3),
)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_ids_and_their_order_do_not_change_the_numbers_of_either_engine(data, seed):
    coco, entries = make_scene(seed, images=4)
    random = np.random.default_rng(seed)
    for item in coco['annotations']:
        item['area'] = float(item['area'] * random.choice([0.3, 1, 5]))
        if random.random() < 0.2:
            item['iscrowd'] = 1
    for entry in entries:
        entry['score'] = float(random.choice([entry['score'], 0.5]))
    expected = {name: CocoEvaluator(coco, 'pycocotools').evaluate(entries, name) for name in GEOMETRY}

    other, other_entries = deepcopy(coco), deepcopy(entries)
    for part, key in (('images', 'image_id'), ('categories', 'category_id'), ('annotations', None)):
        number = len(coco[part])
        ids = data.draw(st.lists(IDS, min_size=number, max_size=number, unique=True), part)
        new = dict(zip([item['id'] for item in coco[part]], ids))
        for item in other[part]:
            item['id'] = new[item['id']]
        for item in (*other['annotations'], *other_entries) if key else ():
            item[key] = new[item[key]]
    other['categories'] = data.draw(st.permutations(other['categories']))
    for engine in ENGINES:
        evaluator = CocoEvaluator(other, engine)
        for name, result in expected.items():
            found = evaluator.evaluate(other_entries, name)
            assert found.stats == pytest.approx(result.stats, abs=1e-12)
            assert [item['name'] for item in found.classes] == [item['name'] for item in other['categories']]
            classes = {item['name']: item for item in found.classes}
            for item in result.classes:
                assert classes[item['name']] == pytest.approx(item, abs=1e-12)


def test_polygons_and_uncompressed_runs_in_results_are_masks():
    """SAHI and other tools write polygons, and an empty list beside a box."""
    coco, entries = make_scene()
    expected = CocoEvaluator(coco).evaluate(entries, 'segm').stats
    runs = deepcopy(entries)
    for entry in runs:
        mask = mask_utils.decode(entry['segmentation']).ravel(order='F')
        ends = np.flatnonzero(np.diff(mask, prepend=0, append=1 - mask[-1]))
        entry['segmentation']['counts'] = np.diff(ends, prepend=0).tolist()
    assert CocoEvaluator(coco).evaluate(runs, 'segm').stats == pytest.approx(expected, abs=1e-12)
    polygons, corners = (
        deepcopy(entries),
        [[10.0, 10.0, 60.0, 10.0, 60.0, 60.0, 10.0, 60.0], [80.0, 80.0, 90.0, 80.0, 90.0, 90.0]],
    )
    rle = mask_utils.merge(mask_utils.frPyObjects(corners, SIZE, SIZE))
    compressed = deepcopy(entries)
    for one, other in zip(polygons, compressed):
        one['segmentation'] = corners
        other['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode())
    found = [CocoEvaluator(coco).evaluate(part, 'segm').stats for part in (polygons, compressed)]
    assert found[0] == found[1]
    for entry in polygons:
        entry['segmentation'] = []
    assert iou_types_of(CocoEvaluator(coco), polygons) == ['bbox']


@pytest.mark.parametrize('mask', [[[0, 0, 1e9, 0, 1e9, 1e9]], dict(size=[-SIZE, -SIZE], counts=[0, SIZE**2])])
def test_a_mask_in_the_results_that_could_crash_pycocotools_is_refused(mask):
    coco, entries = make_scene()
    entries[0]['segmentation'] = mask
    with pytest.raises(UserError, match='entry 0 .* is not a detection: expected .* a segmentation'):
        CocoEvaluator(coco).evaluate(entries, 'segm')


def test_the_output_of_a_model_becomes_entries_of_a_results_file():
    entries = coco_entries(
        7,
        dict(
            labels=np.array([1, 0]),
            bboxes=np.array([[1, 2, 4, 8], [0, 0, 2, 2]], np.float32),
            scores=np.array([0.5, 0.25]),
            masks=[dict(size=[9, 9], counts=b'ab'), dict(size=[9, 9], counts='cd')],
        ),
        [3, 5],
    )
    assert entries == [
        dict(image_id=7, category_id=5, bbox=[1, 2, 3, 6], score=0.5, segmentation=dict(size=[9, 9], counts='ab')),
        dict(image_id=7, category_id=3, bbox=[0, 0, 2, 2], score=0.25, segmentation=dict(size=[9, 9], counts='cd')),
    ]


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(score=float('nan')), 'entry 4 .counted from 0. is not a detection: expected image_id'),
        (dict(score='high'), 'entry 4 .* not a detection'),
        (dict(score='0.5'), 'entry 4 .* not a detection'),
        (dict(bbox=['1', '2', '3', '4']), 'entry 4 .* not a detection'),
        (dict(image_id=[1]), 'entry 4 .* not a detection'),
        (dict(image_id=None), 'have 1 values of image_id that are not in the annotation file, for example None; check'),
        (dict(segmentation=None), 'entry 4 .* not a detection.*polygons, or an RLE'),
        (dict(segmentation=dict(size=[160, 160], counts='')), 'entry 4 .* not a detection.*polygons, or an RLE'),
        (dict(segmentation=dict(size=[160, 160], counts=rle_counts([100, 300]))), 'entry 4 .* not a detection'),
        (dict(segmentation=dict(size=[160, 160], counts=rle_counts([25600, 1]))), 'entry 4 .* not a detection'),
        (dict(segmentation=dict(size=[160, 160], counts='ooooooooooooo0')), 'entry 4 .* not a detection'),
        (dict(segmentation=dict(size=[160, 160], counts='o')), 'entry 4 .* not a detection'),
        (dict(segmentation=dict(size=[160, 160], counts='~ é')), 'entry 4 .* not a detection'),
        (dict(bbox=[1, 2, 3]), 'entry 4 .* not a detection.*four numbers'),
        (dict(bbox=[1, 2, 3, float('inf')]), 'entry 4 .* not a detection'),
        (dict(bbox=None), 'entry 4 .* not a detection'),
        (dict(bbox=[]), 'entry 4 .* not a detection'),
        (dict(segmentation=[[1, 2, 3, 4]]), 'entry 4 .* not a detection.*polygons, or an RLE'),
        (dict(segmentation=dict(size=[160, 160], counts=[25601])), 'entry 4 .* not a detection.*polygons, or an RLE'),
        (
            dict(segmentation=dict(size=[9, 9], counts='Q1')),
            'entry 4 .* not a detection.*an RLE with the size of its image',
        ),
        (dict(image_id=4), '1 values of image_id .*, for example 4; check that both files belong to the same dataset'),
        (dict(category_id=2), '1 values of category_id .*, for example 2'),
    ],
)
def test_malformed_results_are_rejected(tmp_path, change, message):
    coco, entries = make_scene()
    entries[4].update(change)
    with pytest.raises(UserError, match=f'dt.json against .*gt.json: .*{message}'):
        evaluate_files(*write_files(tmp_path, coco, entries))


@pytest.mark.parametrize('key', ['image_id', 'category_id', 'score', 'bbox', 'segmentation'])
def test_an_entry_that_lacks_a_field_is_rejected(tmp_path, key):
    coco, entries = make_scene()
    del entries[4][key]
    with pytest.raises(UserError, match='entry 4 .* not a detection'):
        evaluate_files(*write_files(tmp_path, coco, entries))


@pytest.mark.parametrize(
    'mask',
    [
        'mask',
        dict(a=1),
        [[1, 2]],
        [[1, 2, 30, 40]],
        ['abcdef'],
        [1, 2, 3, 4, 5, 6],
        dict(size=[160, 160], counts=[100, 300]),
        dict(size=[160, 160], counts=['a', 'b']),
        dict(size=[160, 160], counts=[-1, 25601]),
        dict(size=[9, 9], counts=[81]),
        dict(size=[160, 160], counts=rle_counts([100, 300])),
    ],
)
@pytest.mark.parametrize('engine', ENGINES)
def test_malformed_masks_in_the_ground_truth_are_rejected(engine, mask):
    """With such masks, the engines return wrong numbers, fail or never end."""
    coco, entries = make_scene()
    coco['annotations'][3]['segmentation'] = mask
    with pytest.raises(UserError, match='the ground truth has 1 masks .*, for example annotation 4 .counted from 1.;'):
        CocoEvaluator(coco, engine).evaluate(entries, 'segm')
    assert CocoEvaluator(coco, engine).evaluate(entries, 'bbox').stats['AP'] > 0


def test_selected_classes_give_the_metrics_of_a_model_with_these_classes(tmp_path):
    coco, entries = make_scene()
    known = [category['id'] for category in coco['categories'][:2]]
    expected = CocoEvaluator(deepcopy(coco)).evaluate(entries, cat_ids=known)
    files = write_files(tmp_path, coco, entries)
    found = evaluate_files(*files, classes=['dog', 'cat'])['bbox']
    assert found.stats == expected.stats and found.classes == expected.classes
    assert found.stats != evaluate_files(*files)['bbox'].stats
    with pytest.raises(
        UserError, match='gt.json: the annotation file has no class cow; it has cat, dog, bird, nothing'
    ):
        evaluate_files(*files, classes=['cow'])


def test_errors_give_no_position_after_classes_are_left_out(tmp_path):
    """The position in the shortened list is not the position in the file."""
    coco, entries = make_scene()
    left_out = next(i for i, entry in enumerate(entries) if entry['category_id'] != coco['categories'][0]['id'])
    kept = next(i for i in range(left_out, len(entries)) if entries[i]['category_id'] == coco['categories'][0]['id'])
    entries[kept] |= dict(score='high')
    files = write_files(tmp_path, coco, entries)
    with pytest.raises(UserError, match=f'entry {kept} .counted from 0. is not a detection'):
        evaluate_files(*files)
    with pytest.raises(UserError, match='an entry is not a detection: expected image_id'):
        evaluate_files(*files, classes=[coco['categories'][0]['name']])


def test_boxes_and_masks_are_evaluated_if_both_files_have_them(tmp_path):
    coco, entries = make_scene()

    def evaluated(coco, entries):
        return list(evaluate_files(*write_files(tmp_path, coco, entries)))

    def without(items, key):
        return [{name: value for name, value in item.items() if name != key} for item in items]

    without_masks = dict(coco, annotations=without(coco['annotations'], 'segmentation'))
    assert evaluated(coco, entries) == ['bbox', 'segm']
    assert evaluated(coco, without(entries, 'bbox')) == ['segm']
    assert evaluated(coco, without(entries, 'segmentation')) == evaluated(coco, []) == ['bbox']
    assert evaluated(without_masks, entries) == ['bbox']
    with pytest.raises(
        UserError, match='nothing to evaluate: expected boxes .* in all results, or masks .* and in the annotation'
    ):
        evaluated(without_masks, without(entries, 'bbox'))


def test_image_sizes_may_be_floats():
    coco, entries = make_scene()
    expected = CocoEvaluator(deepcopy(coco)).evaluate(entries, 'segm').stats
    for image in coco['images']:
        image.update(height=float(SIZE), width=float(SIZE))
    assert CocoEvaluator(coco).evaluate(entries, 'segm').stats == expected


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda c: (c['categories'][0].update(id=1.5), c.update(annotations=[])),
            'id 1.5; expected a whole number',
        ),
        (lambda c: c['annotations'][0].update(iscrowd='0'), "has the iscrowd '0'; expected 0 or 1"),
        (lambda c: c['annotations'][0].update(area=-25), 'has the area -25; expected a number of at least 0'),
        (lambda c: c['annotations'][0].update(ignore='no'), "has the ignore 'no'; expected 0 or 1"),
        (lambda c: c['annotations'][0].update(ignore=float('nan')), 'has the ignore nan; expected 0 or 1'),
        (lambda c: c['categories'][0].update(name='dog'), "2 categories are named 'dog'"),
        (lambda c: c.update(categories=[], annotations=[]), 'the annotation file has no categories'),
    ],
)
def test_a_malformed_ground_truth_is_rejected(tmp_path, change, message):
    coco, entries = make_scene()
    change(coco)
    files = write_files(tmp_path, coco, entries)
    with pytest.raises(UserError, match=f'gt.json: .*{message}'):
        evaluate_files(*files)
    with pytest.raises(UserError, match=message):
        CocoEvaluator(coco)


def test_unreadable_and_malformed_files_are_rejected(tmp_path):
    coco, entries = make_scene()
    gt, dt = tmp_path / 'gt.json', tmp_path / 'dt.json'
    write_files(tmp_path, coco, entries)
    with pytest.raises(UserError, match='cannot read .*absent.json'):
        evaluate_files(str(tmp_path / 'absent.json'), str(dt))
    with pytest.raises(UserError, match='gt.json has the wrong content: expected a results file: a list'):
        evaluate_files(str(gt), str(gt))
    with pytest.raises(UserError, match="the engine must be .*got 'fast'"):
        evaluate_files(str(gt), str(dt), engine='fast')
    del coco['annotations'][3]['segmentation']
    gt.write_text(json.dumps(coco))
    with pytest.raises(
        UserError, match='masks cannot be evaluated: .* 1 annotations without a mask, for example annotation 4 '
    ):
        evaluate_files(str(gt), str(dt))
    del coco['annotations'][2]['area'], coco['annotations'][2]['bbox']
    gt.write_text(json.dumps(coco))
    with pytest.raises(UserError, match=r'gt.json: malformed: annotations\[2\] lacks bbox, area'):
        evaluate_files(str(gt), str(dt))
    gt.write_text(json.dumps(dict(images=[], annotations=[])))
    with pytest.raises(UserError, match='expected a list "categories"'):
        evaluate_files(str(gt), str(dt))
    dt.write_text('[{"image_id": 3, ')
    with pytest.raises(UserError, match='cannot read .*dt.json as JSON'):
        evaluate_files(str(gt), str(dt))


def test_coco_mean_ignores_what_has_no_ground_truth():
    assert coco_mean(np.array([[0.5, -1], [0.25, 0]])) == 0.25
    assert coco_mean(np.array([-1.0, -1.0])) == coco_mean(np.array([])) == -1
