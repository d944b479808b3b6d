import json
import math
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from PIL import Image

from econvnext_mmdet.evaluation.coco_eval import CocoEvaluator
from econvnext_mmdet.evaluation.coco_stats import COCO_STATS
from econvnext_mmdet.reports.results_page import read_curves, unique_names, write_report
from econvnext_mmdet.utils.errors import UserError

from ..scenes import SIZE, make_scene

LOG = [
    dict(lr=0.1, loss=2.5, loss_cls=1.5, epoch=1, iter=50, step=50),
    dict(loss=1.5, loss_cls=1.0, epoch=1, step=100),
    {'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_50': 0.5, 'step': 1},
]


class References(HTMLParser):
    """Collects everything that a page loads or links to, and its texts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(page.read_text())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ('src', 'href', 'srcset', 'data', 'action')]
        assert tag not in ('script', 'iframe', 'object', 'embed')

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture
def files(tmp_path):
    """A folder with annotations, two results files, images and a training log."""
    coco, entries = make_scene()
    coco['categories'][0]['name'] = '<b>cat & "dog"</b>'
    (tmp_path / 'images').mkdir()
    rng = np.random.default_rng(0)
    for image in coco['images']:
        cv2.imwrite(str(tmp_path / 'images' / image['file_name']), rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8))
    for name, content in (('gt', coco), ('a/results', entries), ('b/results', entries[::2])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    (tmp_path / 'scalars.json').write_text('\n'.join(map(json.dumps, LOG)))
    return tmp_path


def test_the_report_of_two_models_shows_all_its_files_and_has_the_right_metrics(files):
    gt, out = str(files / 'gt.json'), files / 'some' / 'report'
    page = write_report(
        gt,
        [str(files / f'{name}/results.json') for name in 'ab'],
        str(out),
        images=str(files / 'images'),
        logs=[str(files / 'scalars.json')],
    )
    assert page == str(out / 'index.html')
    references = References(out / 'index.html')
    local = {name for name in references.found if not name.startswith('data:')}
    assert local == {path.name for path in out.iterdir()} - {'index.html'}  # every file exists and is shown
    assert 'http' not in (out / 'index.html').read_text() and 'url(' not in (out / 'index.html').read_text()
    for name in local - {'report.json'}:
        image = cv2.imread(str(out / name))
        assert image is not None and image.std() > 1, name
    for part in (
        'precision-recall',
        'ap-by-iou',
        'ap-by-size',
        'ap-by-class',
        'errors',
        'confusion-1',
        '1-best-3',
        '0-worst-0',
    ):
        assert f'bbox-{part}.png' in local and f'segm-{part}.png' in local
    assert {'training-loss.png', 'training-ap.png'} <= local
    assert '<b>cat & "dog"</b>' in references.texts  # escaped

    numbers = json.loads((out / 'report.json').read_text())
    entries = json.loads((files / 'b' / 'results.json').read_text())
    for iou_type in ('bbox', 'segm'):
        result = CocoEvaluator(json.loads((files / 'gt.json').read_text())).evaluate(entries, iou_type)
        mine = numbers[iou_type]['b/results']
        assert {name: mine[name] for name in COCO_STATS} == result.stats
        assert np.mean(list(mine['AP_by_IoU'].values())) == pytest.approx(result.stats['AP'])
        assert mine['AP_by_IoU']['0.75'] == pytest.approx(result.stats['AP75'])
        assert f'{result.stats["AP"]:.3f}' in references.texts
        assert len(mine['F1_by_image']) == 12 and set(mine['errors']) == {
            'class',
            'location',
            'both',
            'duplicate',
            'background',
            'missed',
        }


def test_a_report_needs_no_images_masks_or_detections(files):
    (files / 'none.json').write_text('[]')
    write_report(str(files / 'gt.json'), [str(files / 'none.json')], str(files / 'report'))
    numbers = json.loads((files / 'report' / 'report.json').read_text())
    assert set(numbers) == {'bbox'} and numbers['bbox']['none']['AP'] == 0
    assert not any('worst' in path.name or 'best' in path.name for path in (files / 'report').iterdir())
    assert any(text.startswith('1.jpg: F1 0.00') for text in References(files / 'report' / 'index.html').texts)


def test_pictures_are_turned_as_the_images_were_annotated(files):
    coco, _ = make_scene()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    for image in coco['images']:
        image['width'] = 2 * SIZE
        Image.new('RGB', (2 * SIZE, SIZE), 'red').save(files / 'images' / image['file_name'], exif=exif)
    (files / 'gt.json').write_text(json.dumps(coco))
    (files / 'none.json').write_text('[]')
    write_report(
        str(files / 'gt.json'), [str(files / 'none.json')], str(files / 'report'), images=str(files / 'images')
    )
    pictures = list((files / 'report').glob('*worst*.png'))
    # Ground truth and detections stand side by side.
    assert pictures and {cv2.imread(str(path)).shape[:2] for path in pictures} == {(SIZE, 4 * SIZE)}
    assert all(cv2.imread(str(path)).mean((0, 1)).argmax() == 2 for path in pictures)  # BGR


def test_names_without_a_font_give_no_warning_for_each_character(files, recwarn):
    coco, entries = make_scene()
    coco['categories'][0]['name'] = '\U000f0000'  # for private use: no font has it
    (files / 'gt.json').write_text(json.dumps(coco))
    write_report(str(files / 'gt.json'), [str(files / 'a' / 'results.json')], str(files / 'report'))
    assert not [warning for warning in recwarn if 'missing from' in str(warning.message)]


def test_a_report_can_have_masks_without_boxes_and_only_some_classes(files):
    """A model such as Mask2Former may give masks only. A results file without detections removes no section."""
    coco, entries = make_scene()
    coco['categories'][1]['name'] = '$dog$'
    (files / 'gt.json').write_text(json.dumps(coco))
    (files / 'masks.json').write_text(json.dumps([{**entry, 'bbox': []} for entry in entries]))
    (files / 'none.json').write_text('[]')
    write_report(
        str(files / 'gt.json'),
        [str(files / 'masks.json'), str(files / 'none.json')],
        str(files / 'report'),
        images=str(files / 'images'),
        classes=['cat', '$dog$'],
    )
    numbers = json.loads((files / 'report' / 'report.json').read_text())
    assert set(numbers) == {'segm'} and set(numbers['segm']) == {'masks', 'none'}
    expected = CocoEvaluator(coco).evaluate(entries, 'segm', cat_ids=[1, 6]).stats
    assert {name: numbers['segm']['masks'][name] for name in COCO_STATS} == expected
    assert np.shape(numbers['segm']['masks']['confusion']) == (3, 3)
    assert (files / 'report' / 'segm-0-worst-0.png').is_file()


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(results=['absent.json']), 'cannot read .*absent.json'),
        (
            dict(results=['a/results.json', 'a/results.json']),
            'the same file is given twice: .*a/results.json, .*a/results.json$',
        ),
        (dict(images='nowhere'), 'no image folder .*nowhere'),
        (dict(images='a'), '.jpg is missing or is not a readable image'),
        (dict(logs=['gt.json']), 'gt.json holds no loss and no AP'),
        (dict(logs=['absent']), 'cannot read .*absent as a training log'),
        (dict(out='a'), 'exists already'),
        (dict(score_thr=30), 'the score threshold must be from 0 to 1; got 30'),
    ],
)
def test_wrong_input_leaves_no_files(files, change, message):
    arguments = {**dict(results=['a/results.json'], out='report', images='images', logs=[]), **change}
    before = set(files.rglob('*'))
    with pytest.raises(UserError, match=message):
        write_report(
            str(files / 'gt.json'),
            [str(files / name) for name in arguments['results']],
            str(files / arguments['out']),
            images=str(files / arguments['images']),
            logs=[str(files / name) for name in arguments['logs']],
            score_thr=arguments.get('score_thr', 0.3),
        )
    assert set(files.rglob('*')) == before


def test_an_existing_folder_is_an_error_before_any_work(files):
    (files / 'report').mkdir()
    with pytest.raises(UserError, match='report exists already'):
        write_report('absent.json', ['absent.json'], str(files / 'report'), logs=['absent'])


def test_the_error_without_jinja2_has_the_command_that_installs_it(files, monkeypatch):
    monkeypatch.setitem(sys.modules, 'jinja2', None)
    with pytest.raises(UserError, match=r'needs Jinja2; run `pip install "econvnext_mmdet\[report\]"`$'):
        write_report(str(files / 'gt.json'), [str(files / 'a' / 'results.json')], str(files / 'report'))
    assert not (files / 'report').exists()


def test_curves_are_read_from_a_training_log(files):
    assert read_curves(str(files / 'scalars.json')) == dict(
        loss=[(50, 2.5), (100, 1.5)], loss_cls=[(50, 1.5), (100, 1.0)], bbox_mAP=[(1, 0.25)]
    )


@pytest.mark.parametrize(
    'entry', [dict(loss=1.0), dict(loss=None, step=1), dict(loss='low', step=1), dict(loss=1, step=math.inf)]
)
def test_a_log_without_steps_or_numbers_is_rejected(tmp_path, entry):
    log = tmp_path / 'scalars.json'
    log.write_text(json.dumps(entry) + '\n')
    with pytest.raises(UserError, match='cannot read .*scalars.json as a training log: expected numbers'):
        read_curves(str(log))


def test_names_are_as_short_as_possible():
    assert unique_names(['x/a.json', 'y/b.json']) == ['a', 'b']
    assert unique_names(['/x/one/r.json', '/x/two/r.json']) == ['one/r', 'two/r']
    assert unique_names([]) == []
    assert unique_names(['x/a.json', 'x/a.txt']) == ['a.json', 'a.txt']
