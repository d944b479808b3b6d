import json
import runpy
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from econvnext_mmdet.datasets.checks import check_datasets
from econvnext_mmdet.datasets.converters.sonar import CLASSES, sonar_to_coco
from econvnext_mmdet.utils.errors import UserError

from ...helpers import ROOT

XML = """<?xml version="1.0" encoding="UTF-8"?>
<annotation>
    <sonar>
        <type>Gemini 1200i</type>
        <horiangle>120</horiangle>
        <vertiangle>12</vertiangle>
    </sonar>
    <folder>sonar</folder>
    <filename>a.bmp</filename>
    <size>
        <width>0</width>
        <height>0</height>
    </size>
{}</annotation>
"""
OBJECT = """    <object>
        <name>{}</name>
        <bndbox>
            <xmin>{}</xmin>
            <ymin>{}</ymin>
            <xmax>{}</xmax>
            <ymax>{}</ymax>
        </bndbox>
    </object>
"""
# The mistakes in the XML shown on the page of the dataset.
FAULTS = dict(
    declaration=('version=', 'version'),
    vertiangle=('</vertiangle>', '</vertiangled>'),
    size=('</size>', '</sizes>'),
    filename=('filename>', 'filenane>'),
)


def xml(*objects, faults=()):
    """The text of an annotation file. An object is given by its class and its corners."""
    text = XML.format(''.join(OBJECT.format(label, *corners) for label, corners in objects))
    for fault in faults:
        text = text.replace(*FAULTS[fault])
    return text


CUBE = ('cube', (11, 9, 30, 28))


@pytest.fixture
def sonar(tmp_path):
    """A folder of the sonar dataset with almost black images of 64 x 48 pixels."""

    class Folder:
        path = tmp_path / 'sonar'

        def add(self, name, text=None, image=True):
            """Add an image and, unless the text is '', its annotation file, by default with one cube."""
            if text != '':
                content = xml(CUBE) if text is None else text
                (self.path / 'xml' / f'{name}.xml').write_bytes(
                    content if isinstance(content, bytes) else content.encode()
                )
            if image:
                echo = np.random.RandomState(0).randint(0, 6, (48, 64, 1), np.uint8)
                cv2.imwrite(str(self.path / 'images' / f'{name}.bmp'), echo.repeat(3, 2))

        def convert(self, **kwargs):
            """Convert, and return the reasons for unusable images, the summaries, and the contents of both files."""
            out_dir = self.path / 'annotations'
            unusable, summaries = sonar_to_coco(str(self.path), **kwargs)
            summaries = {Path(path).stem: summary for path, summary in summaries.items()}
            return unusable, summaries, {name: json.loads((out_dir / f'{name}.json').read_text()) for name in summaries}

        def boxes(self, text):
            """Convert the image 'a' with this text and an image 'other'. Return the classes and boxes of 'a'."""
            self.add('a', text)
            self.add('other')
            contents = self.convert(val_fraction=0.5)[2].values()
            (content,) = (item for item in contents if item['images'][0]['file_name'] == 'a.bmp')
            names = {category['id']: category['name'] for category in content['categories']}
            return [(names[item['category_id']], item['bbox']) for item in content['annotations']]

    for folder in ('images', 'xml'):
        (tmp_path / 'sonar' / folder).mkdir(parents=True)
    return Folder()


@pytest.fixture
def load(sonar):
    """A function that builds a split's dataset from a base config, on the folder's data.

    It removes the steps with the types in ``without``.
    """
    init_default_scope('mmdet')

    def dataset(base, split, without=()):
        cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / f'{base}.py')
        config = cfg[f'{split}_dataloader'].dataset
        config.data_root = f'{sonar.path}/'
        config.pipeline = [step for step in config.pipeline if step.type not in without]
        return DATASETS.build(config)

    return dataset


@pytest.mark.parametrize('faults', [(), *((fault,) for fault in FAULTS), tuple(FAULTS)])
def test_boxes_are_read_despite_mistakes_in_the_template(sonar, faults):
    text = xml(CUBE, ('tyre', (1, 1, 64, 48)), faults=faults)
    assert sonar.boxes(text) == [('cube', [10, 8, 20, 20]), ('tyre', [0, 0, 64, 48])]


@pytest.mark.parametrize('faults', [(), tuple(FAULTS)])
def test_class_names_have_single_spaces(sonar, faults):
    text = xml(('human body', CUBE[1]), ('\n\tcircle \n cage ', CUBE[1]), faults=faults)
    assert [label for label, _ in sonar.boxes(text)] == ['human body', 'circle cage']


@pytest.mark.parametrize('faults', [(), tuple(FAULTS)])
def test_difficult_objects_become_crowds(sonar, faults):
    sonar.add('a', xml(CUBE, faults=faults).replace('</name>', '</name><difficult>1</difficult>'))
    sonar.add('other')
    contents = sonar.convert(val_fraction=0.5)[2].values()
    crowds = {content['images'][0]['file_name']: content['annotations'][0]['iscrowd'] for content in contents}
    assert crowds == {'a.bmp': 1, 'other.bmp': 0}


@pytest.mark.parametrize(
    'content',
    [
        xml(CUBE)
        .replace('UTF-8', 'GB2312')
        .replace('Gemini', '声呐')
        .encode('gbk'),  # which Python's XML parser does not support
        xml(CUBE).replace('Gemini', '声呐').encode('gbk'),  # not the declared encoding
        '\ufeff' + xml(CUBE, faults=FAULTS),
        xml(CUBE, faults=FAULTS).replace('\n', '\r\n'),
        xml(CUBE, faults=FAULTS).replace('<annotation>', '<annotation verified="yes">'),  # as labelImg writes it
        xml(CUBE, faults=FAULTS).replace('<folder>', '<!-- <object> --><folder>R&D '),
    ],
)
def test_everything_that_boxes_do_not_need_may_be_malformed(sonar, content):
    assert sonar.boxes(content) == [('cube', [10, 8, 20, 20])]


def test_comments_without_an_end_take_no_time(sonar):
    sonar.add('whole', xml(CUBE))
    sonar.add('other')
    sonar.add('endless', xml(CUBE, faults=FAULTS).replace('<folder>', '<!--' * 100_000 + '<folder>'))
    start = time.process_time()
    unusable, _, _ = sonar.convert(val_fraction=0.5)
    assert 'endless' in unusable[0] and time.process_time() - start < 10  # 40 s if each is searched for its end


@pytest.mark.parametrize('faults', [(), tuple(FAULTS)])
def test_truncated_file_is_not_used(sonar, faults):
    """The file may be cut off anywhere, in an object or after one."""
    text = xml(CUBE, CUBE, faults=faults).rstrip()
    ends = range(len(text) - 1, -1, -6)
    for end in ends:
        sonar.add(f'cut{end}', text[:end] or ' ')
    sonar.add('whole', text)
    sonar.add('other')
    unusable, summaries, _ = sonar.convert(val_fraction=0.5)
    assert [summary.images for summary in summaries.values()] == [1, 1]
    assert len(unusable) == len(ends) and all('is not well-formed XML' in line for line in unusable)


def test_summary_gives_the_reason_for_everything_unused(sonar):
    sonar.add('a')
    sonar.add('b', xml(('wreck', CUBE[1]), CUBE, ('ball', (5, 5, 5, 5))))
    sonar.add('noxml', '')
    sonar.add('noimage', image=False)
    sonar.add('badimage')
    (sonar.path / 'images' / 'badimage.bmp').write_bytes(b'BM')
    sonar.add('noobject', xml())
    sonar.add('noname', xml((' ', CUBE[1])))
    sonar.add('nonumber', xml(('cube', (1, 'nan', 5, 5)), faults=FAULTS))
    sonar.add('nocorner', xml(CUBE, faults=FAULTS).replace('xmax>', 'xmx>'))
    sonar.add('badobject', xml(CUBE, faults=FAULTS).replace('</object>', '</objects>'))
    (sonar.path / 'images' / 'Thumbs.db').write_bytes(b'no image')
    unusable, summaries, _ = sonar.convert(val_fraction=0.5)
    lacks = 'object 1 of {0}.xml lacks a name or one of the four numbers of its box'
    expected = dict(
        badimage='{0}.bmp is not a readable image',
        badobject='{0}.xml is not well-formed XML',
        nocorner=lacks,
        noimage='no image file {0}.*',
        noname=lacks,
        nonumber=lacks,
        noobject='{0}.xml has no objects',
        noxml='no annotation file {0}.xml',
    )
    assert len(unusable) == len(expected)
    for line, (name, reason) in zip(unusable, expected.items()):
        assert line.startswith(f'{name}: {reason.format(name)}')
    (split,) = (name for name, summary in summaries.items() if summary.dropped)
    assert [line.split(': ', 2)[2] for line in summaries[split].dropped] == [
        'its class is not among the requested classes',
        'no area inside the 64 x 48 image',
    ]
    assert 'b: object 1 (wreck)' in str(summaries[split])
    assert [summary.images for summary in summaries.values()] == [1, 1]


def test_split_is_complete_and_depends_only_on_names_and_seed(sonar):
    for i in range(20):
        sonar.add(f'{i:02}', xml((CLASSES[i % 8], CUBE[1])))

    def split(**kwargs):
        summaries, contents = sonar.convert(**kwargs)[1:]
        assert {name: summary.images for name, summary in summaries.items()} == {
            name: len(content['images']) for name, content in contents.items()
        }
        return {name: [image['file_name'] for image in content['images']] for name, content in contents.items()}

    first = split()
    assert len(first['val']) == 4 and not {*first['train']} & {*first['val']}
    assert sorted(first['train'] + first['val']) == [f'{i:02}.bmp' for i in range(20)]
    assert first['val'] == ['03.bmp', '07.bmp', '12.bmp', '15.bmp']  # on every machine
    sonar.add('00', xml(('tyre', CUBE[1]), CUBE, faults=FAULTS))
    sonar.add('unused', xml())
    assert split() == split(seed=0, classes=('tyre', 'cube')[::-1] + CLASSES[:2]) == first
    assert split(seed=1)['val'] != first['val'] and len(split(val_fraction=0.5)['val']) == 10


def test_both_splits_have_the_same_categories(sonar):
    sonar.add('a')
    sonar.add('b', xml(('ball', CUBE[1])))
    contents = sonar.convert(val_fraction=0.5)[2]
    assert (
        contents['train']['categories']
        == contents['val']['categories']
        == [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
    )
    contents = sonar.convert(val_fraction=0.5, classes=('cube', 'ball'))[2]
    assert [category['name'] for category in contents['val']['categories']] == ['cube', 'ball']


def test_errors_write_nothing(sonar):
    with pytest.raises(UserError, match=r'no image in .* is usable: .* found 0 \.bmp files'):
        sonar.convert()
    sonar.add('broken', '<annotation>')
    with pytest.raises(UserError, match='is usable: .* found 1 .*\n  broken: broken.xml is not well-formed'):
        sonar.convert()
    for name in 'abc':
        sonar.add(name)
    for fraction in (0, 1, -0.2, 20, float('nan')):
        with pytest.raises(UserError, match=f'must be between 0 and 1; got {fraction}'):
            sonar.convert(val_fraction=fraction)
    for fraction, split in ((0.1, 'val'), (0.9, 'train')):
        with pytest.raises(UserError, match=f'{split}.json would have no images: .* 3 usable images, .*\n  broken: '):
            sonar.convert(val_fraction=fraction)
    says = 'train.json would have no objects; nothing was written\n.*: box 0\n(.|\n)*object 1 .cube.'
    with pytest.raises(UserError, match=says):
        sonar.convert(classes=['box'])
    with pytest.raises(UserError, match='is not a folder of the sonar dataset: expected images/'):
        sonar_to_coco(f'{sonar.path}/images')
    assert not (sonar.path / 'annotations').exists()


def test_what_was_changed_is_reported_for_the_file_with_the_image(sonar):
    text = xml(CUBE, ('tyre', (60, 40, 70, 60)))
    for name in 'abcd':
        sonar.add(name, text.replace('>0<', '>128<', 1).replace('>0<', '>96<', 1))
    sonar.add('e', xml(('cube', (0.5, 0.5, 1, 1))))
    _, summaries, contents = sonar.convert(val_fraction=0.4)
    assert {len(content['images']) for content in contents.values()} == {2, 3}
    notes = {name: set() for name in 'abcde'}
    for split, summary in summaries.items():
        own = {image['file_name'] for image in contents[split]['images']}
        for what, where in summary.notes.items():
            assert own >= {*where}, (split, what)
            for name in where:
                notes[name[0]].add(what)
    assert notes.pop('e') == {'boxes from 0 to 1, read as fractions of the image'}
    assert {*map(tuple, notes.values())} == {('annotated at another size, scaled to that of the image',)}


def test_config_reads_what_the_tool_writes(sonar, monkeypatch, capsys):
    for name in 'abcde':
        sonar.add(name, xml(CUBE, faults=FAULTS))
    sonar.add('broken', '<annotation>')
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'sonar_detection.py')
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = f'{sonar.path}/'
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = f'{sonar.path}/annotations/val.json'
    with pytest.raises(UserError, match='no annotation file .*train.json: .*; tools/dataset_converters/ makes'):
        check_datasets(cfg, ['train'])
    monkeypatch.setattr(sys, 'argv', ['sonar2coco.py', str(sonar.path), '--val-fraction', '0.4', '--seed', '3'])
    with pytest.raises(SystemExit) as ended:  # a status other than 0, because an image was dropped
        runpy.run_path(str(ROOT / 'tools' / 'dataset_converters' / 'sonar2coco.py'), run_name='__main__')
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert f'{sonar.path}/annotations/train.json: 3 images, 3 objects: ball 0, circle cage 0, cube 3' in out
    assert f'{sonar.path}/annotations/val.json: 2 images, 2 objects' in out
    assert '1 images could not be used:\n  broken: broken.xml is not well-formed XML (' in out
    check_datasets(cfg, ['train', 'val', 'test'])


@pytest.mark.parametrize('base', ['sonar_detection', 'sonar_detection_equalized'])
def test_pipelines_make_square_images(sonar, load, base):
    sonar.add('a')
    sonar.add('b')
    sonar.convert(val_fraction=0.5)
    np.random.seed(0)
    train, test = load(base, 'train'), load(base, 'test')
    assert train.metainfo['classes'] == test.metainfo['classes'] == CLASSES
    (sample,) = train
    assert sample['inputs'].shape == (3, 640, 640)
    assert sample['data_samples'].gt_instances.labels.tolist() == [CLASSES.index('cube')]
    (sample,) = test
    assert sample['inputs'].shape == (3, 640, 640)
    assert sample['data_samples'].scale_factor == pytest.approx((640 / 64, 640 / 48))
    assert sample['data_samples'].gt_instances.bboxes.tensor.tolist() == [[10, 8, 30, 28]]  # in the original image


def test_equalized_images_always_span_the_full_range(sonar, load):
    sonar.add('a')
    sonar.add('b')
    sonar.convert(val_fraction=0.5)
    (plain,) = load('sonar_detection', 'test')
    assert plain['inputs'].max() < 6
    dataset = load('sonar_detection_equalized', 'test')
    first = dataset[0]['inputs']
    assert first.min() == 0 and first.max() == 255
    assert all((dataset[0]['inputs'] == first).all() for _ in range(10))
    # This holds in training too, without the steps that change colours or remove pixels.
    changes = ('PhotoMetricDistortion', 'Expand', 'MinIoURandomCrop')
    (sample,) = load('sonar_detection_equalized', 'train', without=changes)
    assert sample['inputs'].min() == 0 and sample['inputs'].max() == 255


def test_boxes_stay_with_the_pixels(sonar, load):
    """The box bounds the white pixels of a black image after every expansion, crop and flip."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[60:100, 80:200] = 255
    for name in 'ab':
        sonar.add(name, xml(('tyre', (81, 61, 200, 100))))
        cv2.imwrite(str(sonar.path / 'images' / f'{name}.bmp'), image)
    sonar.convert(val_fraction=0.5)
    dataset = load('sonar_detection', 'train', without=['PhotoMetricDistortion'])  # it moves nothing
    (expand,) = (step for step in dataset.pipeline.transforms if type(step).__name__ == 'Expand')
    expand.mean = [103] * 3  # a grey canvas; the config's is as black as the image
    np.random.seed(0)
    seen = []
    for _ in range(60):
        sample = dataset[0]
        white = (sample['inputs'] > 127).all(0)  # the canvas is darker; interpolated edges are half white
        rows, columns = white.any(1).nonzero(), white.any(0).nonzero()
        (box,) = sample['data_samples'].gt_instances.bboxes.tensor.tolist()
        assert box == pytest.approx(
            [int(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)], abs=1.5
        )
        seen.append((sample['data_samples'].flip, bool((sample['inputs'] == 103).float().mean() > 0.1), round(box[0])))
    flips, canvases, lefts = map(set, zip(*seen))
    assert flips == canvases == {False, True} and len(lefts) > 20
