import json
from copy import deepcopy

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from econvnext_mmdet.datasets.coco_format import find_broken_rle
from econvnext_mmdet.errors import UserError
from econvnext_mmdet.evaluation.coco_eval import ENGINES, STATS, CocoEvaluator, coco_entries, evaluate_files

from .scenes import SIZE, make_scene


def rle_text(runs):
    """Runs as COCO's compressed text, without what pycocotools checks."""
    text = ''
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            code, value = value & 31, value >> 5
            more = value != (-1 if code & 16 else 0)
            text += chr(48 + code + 32 * more)
            if not more:
                break
    return text


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('seed', range(5))
def test_engines_agree(iou_type, seed):
    coco, entries = make_scene(seed)
    fast, official = (CocoEvaluator(deepcopy(coco), engine).evaluate(entries, iou_type) for engine in ENGINES)
    assert list(fast.stats) == list(official.stats) == list(STATS)
    np.testing.assert_allclose(list(fast.stats.values()), list(official.stats.values()), rtol=0, atol=1e-9)
    np.testing.assert_allclose(fast.precision, official.precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fast.scores, official.scores, rtol=0, atol=1e-9)
    for ours, theirs in zip(fast.classes, official.classes):
        assert ours == pytest.approx(theirs, abs=1e-9)
    assert 0 < fast.stats['AP'] < 1


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('engine', ENGINES)
def test_is_what_the_bare_library_gives(tmp_path, iou_type, engine):
    """As COCO's own example calls pycocotools, with the results of one kind in a file."""
    coco, entries = make_scene()
    for annotation in coco['annotations']:
        annotation['id'] += 1  # with an id of 0 the library is wrong, see below
    (tmp_path / 'gt.json').write_text(json.dumps(coco))
    drop = 'bbox' if iou_type == 'segm' else 'segmentation'
    (tmp_path / 'dt.json').write_text(json.dumps([{k: v for k, v in e.items() if k != drop} for e in entries]))
    ground_truth = COCO(str(tmp_path / 'gt.json'))
    bare = COCOeval(ground_truth, ground_truth.loadRes(str(tmp_path / 'dt.json')), iou_type)
    bare.evaluate()
    bare.accumulate()
    bare.summarize()
    ours = CocoEvaluator(coco, engine).evaluate(entries, iou_type)
    np.testing.assert_allclose(list(ours.stats.values()), bare.stats, rtol=0, atol=1e-9)


@pytest.mark.parametrize('engine', ENGINES)
def test_area_of_a_mask_is_the_masks(engine):
    """A thin false alarm: small by its mask, large by its box; it must not count among the large."""
    inside = np.zeros((SIZE, SIZE), np.uint8)
    inside[:100, :100] = 1
    found = mask_utils.encode(np.asfortranarray(inside))
    thin = mask_utils.encode(np.asfortranarray(np.eye(SIZE, dtype=np.uint8)))
    found, thin = (dict(size=rle['size'], counts=rle['counts'].decode()) for rle in (found, thin))
    coco = dict(images=[dict(id=1, file_name='a.jpg', height=SIZE, width=SIZE)], categories=[dict(id=1, name='a')],
                annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 100, 100], area=10000, iscrowd=0,
                                  segmentation=found)])
    entries = [dict(image_id=1, category_id=1, score=0.9, bbox=[0, 0, SIZE, SIZE], segmentation=thin),
               dict(image_id=1, category_id=1, score=0.8, bbox=[0, 0, 100, 100], segmentation=found)]
    stats = CocoEvaluator(coco, engine).evaluate(entries, 'segm').stats
    assert stats['APl'] == pytest.approx(1) and stats['AP'] == pytest.approx(0.5)


@pytest.mark.parametrize('engine', ENGINES)
def test_object_with_id_0_is_found(engine):
    coco = dict(images=[dict(id=1, file_name='a.jpg', height=9, width=9)], categories=[dict(id=1, name='a')],
                annotations=[dict(id=0, image_id=1, category_id=1, bbox=[0, 0, 5, 5], area=25, iscrowd=0)])
    entries = [dict(image_id=1, category_id=1, bbox=[0, 0, 5, 5], score=0.5)]
    assert CocoEvaluator(coco, engine).evaluate(entries).stats['AP'] == pytest.approx(1)


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('engine', ENGINES)
def test_no_detections_give_0(engine, iou_type):
    result = CocoEvaluator(make_scene()[0], engine).evaluate([], iou_type)
    assert set(result.stats.values()) == {0.}
    assert [entry['AP'] for entry in result.classes] == [0, 0, 0, -1]


@pytest.mark.parametrize('engine', ENGINES)
def test_classes(engine):
    """Each class as an evaluation of its own has it, and their mean is the whole's AP."""
    coco, entries = make_scene()
    evaluator = CocoEvaluator(coco, engine)
    before = deepcopy(entries)
    result = evaluator.evaluate(entries)
    assert entries == before
    for entry, category in zip(result.classes, coco['categories']):
        alone = evaluator.evaluate(entries, cat_ids=[category['id']]).stats
        assert entry['name'] == category['name']
        assert {key: entry[key] for key in STATS[:6]} == pytest.approx({key: alone[key] for key in STATS[:6]})
        assert entry['AR'] == pytest.approx(alone['AR100'])
    assert result.stats['AP'] == pytest.approx(np.mean([e['AP'] for e in result.classes if e['objects']]))
    assert sum(e['objects'] for e in result.classes) == sum(not a['iscrowd'] for a in coco['annotations'])


def test_ids_that_are_texts():
    coco, entries = make_scene()
    expected = CocoEvaluator(deepcopy(coco)).evaluate(entries).stats
    for item in coco['images']:
        item['id'] = f'image {item["id"]:04d}'
    for item in (*coco['annotations'], *entries):
        item['image_id'] = f'image {item["image_id"]:04d}'
    assert CocoEvaluator(deepcopy(coco), 'pycocotools').evaluate(entries).stats == pytest.approx(expected, abs=1e-12)
    with pytest.raises(UserError, match="numbers as ids of images, and here is 'image 0003'; take the engine 'pycoco"):
        CocoEvaluator(coco)


def test_entries_of_a_model():
    entries = coco_entries(7, dict(
        labels=np.array([1, 0]), bboxes=np.array([[1, 2, 4, 8], [0, 0, 2, 2]], np.float32),
        scores=np.array([0.5, 0.25]), masks=[dict(size=[9, 9], counts=b'ab'), dict(size=[9, 9], counts='cd')]), [3, 5])
    assert entries == [
        dict(image_id=7, category_id=5, bbox=[1, 2, 3, 6], score=0.5, segmentation=dict(size=[9, 9], counts='ab')),
        dict(image_id=7, category_id=3, bbox=[0, 0, 2, 2], score=0.25, segmentation=dict(size=[9, 9], counts='cd'))]


@pytest.mark.parametrize('change, message', [
    (dict(score=float('nan')), 'entry 4 is no detection'),
    (dict(score='high'), 'entry 4 is no detection'),
    (dict(score='0.5'), 'entry 4 is no detection'),
    (dict(bbox=['1', '2', '3', '4']), 'entry 4 is no detection'),
    (dict(image_id=[1]), 'entry 4 is no detection'),
    (dict(image_id=None), 'no image_id None'),
    (dict(segmentation=None), 'entry 4 is no detection.*compressed RLE'),
    (dict(segmentation=dict(size=[160, 160], counts='')), 'entry 4 is no detection.*compressed RLE'),
    (dict(segmentation=dict(size=[160, 160], counts=rle_text([100, 300]))), 'entry 4 is no detection'),
    (dict(segmentation=dict(size=[160, 160], counts=rle_text([25600, 1]))), 'entry 4 is no detection'),
    (dict(segmentation=dict(size=[160, 160], counts='ooooooooooooo0')), 'entry 4 is no detection'),
    (dict(segmentation=dict(size=[160, 160], counts='o')), 'entry 4 is no detection'),
    (dict(segmentation=dict(size=[160, 160], counts='~ é')), 'entry 4 is no detection'),
    (dict(bbox=[1, 2, 3]), 'entry 4 is no detection.*four numbers'),
    (dict(bbox=[1, 2, 3, float('inf')]), 'entry 4 is no detection'),
    (dict(bbox=None), 'entry 4 is no detection'),
    (dict(bbox=[]), 'entry 4 is no detection'),
    (dict(segmentation=[[1, 2, 3, 4]]), 'entry 4 is no detection.*compressed RLE'),
    (dict(segmentation=dict(size=[160, 160], counts=[25600])), 'entry 4 is no detection.*compressed RLE'),
    (dict(segmentation=dict(size=[9, 9], counts='Q1')), 'entry 4 is no detection.*compressed RLE of its image.s size'),
    (dict(image_id=4), 'no image_id 4.*are these the results of its images'),
    (dict(category_id=2), 'no category_id 2'),
])
def test_bad_results(tmp_path, change, message):
    coco, entries = make_scene()
    entries[4].update(change)
    for name, content in (('gt', coco), ('dt', entries)):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=f'dt.json against .*gt.json: .*{message}'):
        evaluate_files(str(tmp_path / 'gt.json'), str(tmp_path / 'dt.json'))


@pytest.mark.parametrize('key', ['image_id', 'category_id', 'score', 'bbox', 'segmentation'])
def test_an_entry_that_lacks_something(tmp_path, key):
    coco, entries = make_scene()
    del entries[4][key]
    for name, content in (('gt', coco), ('dt', entries)):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match='entry 4 is no detection'):
        evaluate_files(str(tmp_path / 'gt.json'), str(tmp_path / 'dt.json'))


@pytest.mark.parametrize('mask', ['mask', dict(a=1), [[1, 2]], [[1, 2, 30, 40]], ['abcdef'], [1, 2, 3, 4, 5, 6],
                                  dict(size=[160, 160], counts=[100, 300]), dict(size=[160, 160], counts=['a', 'b']),
                                  dict(size=[160, 160], counts=[-1, 25601]), dict(size=[9, 9], counts=[81]),
                                  dict(size=[160, 160], counts=rle_text([100, 300]))])
@pytest.mark.parametrize('engine', ENGINES)
def test_bad_masks_of_the_ground_truth(engine, mask):
    """On some of them the engines give numbers, on some they fail, and on some they never end."""
    coco, entries = make_scene()
    coco['annotations'][3]['segmentation'] = mask
    with pytest.raises(UserError, match='the ground truth has masks .* that of annotation 4 '):
        CocoEvaluator(coco, engine).evaluate(entries, 'segm')
    assert CocoEvaluator(coco, engine).evaluate(entries, 'bbox').stats['AP'] > 0


def test_classes_that_a_model_does_not_know(tmp_path):
    """The file's numbers with the classes named are those of the metric for a model of these classes."""
    coco, entries = make_scene()
    known = [category['id'] for category in coco['categories'][:2]]
    expected = CocoEvaluator(deepcopy(coco)).evaluate(entries, cat_ids=known)
    for name, content in (('gt', coco), ('dt', entries)):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    files = str(tmp_path / 'gt.json'), str(tmp_path / 'dt.json')
    found = evaluate_files(*files, classes=['dog', 'cat'])['bbox']
    assert found.stats == expected.stats and found.classes == expected.classes
    assert found.stats != evaluate_files(*files)['bbox'].stats
    with pytest.raises(UserError, match='gt.json: there is no class cow; there are cat, dog, bird, nothing'):
        evaluate_files(*files, classes=['cow'])


def test_what_is_evaluated_is_what_both_files_have(tmp_path):
    coco, entries = make_scene()

    def evaluated(coco, entries):
        for name, content in (('gt', coco), ('dt', entries)):
            (tmp_path / f'{name}.json').write_text(json.dumps(content))
        return list(evaluate_files(str(tmp_path / 'gt.json'), str(tmp_path / 'dt.json')))

    def without(items, key):
        return [{name: value for name, value in item.items() if name != key} for item in items]

    boxes_alone = dict(coco, annotations=without(coco['annotations'], 'segmentation'))
    assert evaluated(coco, entries) == ['bbox', 'segm']
    assert evaluated(coco, without(entries, 'bbox')) == ['segm']
    assert evaluated(coco, without(entries, 'segmentation')) == evaluated(coco, []) == ['bbox']
    assert evaluated(boxes_alone, entries) == ['bbox']
    with pytest.raises(UserError, match='nothing to compare: neither do all results and the annotations have masks'):
        evaluated(boxes_alone, without(entries, 'bbox'))


def test_sizes_and_ids_of_other_kinds():
    coco, entries = make_scene()
    expected = CocoEvaluator(deepcopy(coco)).evaluate(entries, 'segm').stats
    floats = deepcopy(coco)
    for image in floats['images']:
        image.update(height=float(SIZE), width=float(SIZE))
    assert CocoEvaluator(floats).evaluate(entries, 'segm').stats == expected
    for change, says in ((lambda c: c['categories'][0].update(id='x'), "as ids of categories, and here is 'x'"),
                         (lambda c: c['annotations'][0].update(iscrowd='0'), "has the iscrowd '0'"),
                         (lambda c: c['categories'][0].update(name='dog'), "2 categories are named 'dog'"),
                         (lambda c: c.update(categories=[], annotations=[]), 'there are no categories')):
        changed = deepcopy(coco)
        change(changed)
        if says.startswith('as ids'):
            changed['annotations'] = []
        with pytest.raises(UserError, match=says):
            CocoEvaluator(changed)


def test_broken_rle_are_found_among_good_ones():
    """Against masks that pycocotools encodes, and runs that do not fill their image."""
    rng = np.random.default_rng(0)
    masks = []
    for i in range(200):
        size = rng.integers(1, 60, 2)
        inside = rng.random(size) < rng.choice([0, 0.02, 0.5, 1])
        rle = mask_utils.encode(np.asfortranarray(inside, dtype=np.uint8))
        counts = rle['counts'].decode()
        masks.append(dict(size=rle['size'], counts=counts + '1' if i % 7 == 3 else counts))
    assert find_broken_rle(masks, at_once=30) == find_broken_rle(masks) == list(range(3, 200, 7))
    assert find_broken_rle([]) == []


def test_bad_files(tmp_path):
    coco, entries = make_scene()
    gt, dt = tmp_path / 'gt.json', tmp_path / 'dt.json'
    gt.write_text(json.dumps(coco))
    dt.write_text(json.dumps(entries))
    with pytest.raises(UserError, match='cannot read .*absent.json'):
        evaluate_files(str(tmp_path / 'absent.json'), str(dt))
    with pytest.raises(UserError, match='gt.json is not what was expected, a results file: a list'):
        evaluate_files(str(dt.with_name('gt.json')), str(gt))
    with pytest.raises(UserError, match="the engine is one of .*got 'fast'"):
        evaluate_files(str(gt), str(dt), engine='fast')
    del coco['annotations'][3]['segmentation']
    gt.write_text(json.dumps(coco))
    with pytest.raises(UserError, match='masks cannot be evaluated: .* masks that are missing, 1 in all, .*tion 4 '):
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
