import json
import re
import runpy
import shutil
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from PIL import Image
from pycocotools.coco import COCO

from econvnext_mmdet.datasets import inspection
from econvnext_mmdet.datasets.checks import check_datasets
from econvnext_mmdet.datasets.inspection import as_data, draw_samples, has_errors, inspect_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT, tool
from .conftest import edit


def findings(inspections, split='train'):
    """The findings of a split, by what was found."""
    (found,) = (item for item in inspections if item.split == split)
    return {finding.what: finding for finding in found.findings}


def test_counts_agree_with_pycocotools(cfg):
    edit(cfg, lambda c: c['annotations'][0].update(iscrowd=1))
    edit(cfg, lambda c: [item.update(area=[100, 5000, 20000, 1024][i % 4]) for i, item in enumerate(c['annotations'])])
    train, evaluated = inspect_config(cfg)
    assert (train.split, evaluated.split) == ('train', 'val, test')
    assert not has_errors([train, evaluated])
    coco = COCO(train.ann_file)
    ranges = dict(small=[-1, 1024], medium=[1023.5, 9216], large=[9215.5, 1e10])  # pycocotools excludes the limits
    for category in coco.dataset['categories']:
        assert train.classes[category['name']] == {
            size: len(coco.getAnnIds(catIds=[category['id']], areaRng=area, iscrowd=False))
            for size, area in ranges.items()
        }
    assert (train.images, train.crowd, train.widths, train.heights) == (12, 1, (64, 64), (64, 64))
    assert json.loads(json.dumps(as_data([train])))[0]['classes'] == train.classes


@pytest.mark.parametrize(
    'change, severity, what, example',
    [
        (
            lambda c: c['annotations'][1].update(image_id=99),
            'error',
            'annotations without their images',
            'annotation 2 ',
        ),
        (
            lambda c: c['annotations'][1].update(category_id=99),
            'error',
            'annotations without their categories',
            'id 99',
        ),
        (
            lambda c: c['annotations'][1].update(id=1),
            'error',
            'ids that occur twice',
            r'annotations\[1\] has the id 1 of',
        ),
        (lambda c: c['images'][1].update(id=1), 'error', 'ids that occur twice', r'images\[1\] has the id 1 of'),
        (lambda c: c['annotations'][1].pop('bbox'), 'error', 'entries that lack a field', 'lacks bbox'),
        (lambda c: c['annotations'][1].update(bbox=[1, 2, float('nan'), 4]), 'error', 'malformed boxes', 'nan'),
        (lambda c: c.pop('images'), 'error', 'missing lists', '"images"'),
        (lambda c: c['annotations'][1].update(bbox=[5, 5, 0, 9]), 'warning', 'boxes without area', 'annotation 2'),
        (
            lambda c: c['annotations'][1].update(bbox=[70, 5, 9, 9]),
            'warning',
            'boxes outside their image',
            'annotation 2',
        ),
        (
            lambda c: c['annotations'][1].update(bbox=[-9, 5, 20, 9]),
            'warning',
            'boxes that extend more',
            'annotation 2',
        ),
        (lambda c: c['annotations'][1].pop('segmentation'), 'warning', 'annotations without a mask', 'annotation 2'),
        (lambda c: c['annotations'][1].update(segmentation=[[1, 2, 3, 4]]), 'warning', 'masks that are neither', '2'),
        (lambda c: c['annotations'][1].update(segmentation='mask'), 'warning', 'masks that are neither', '2'),
        (
            lambda c: c['images'][1].update(width=65),
            'error',
            'images of a different size',
            '64 x 64 instead of 65 x 64',
        ),
        (lambda c: c['images'][1].update(file_name='no.jpg'), 'error', 'images that are missing', 'train/no.jpg'),
        (
            lambda c: c['annotations'][1].update(segmentation=dict(size=[64, 64], counts=[100, 300])),
            'warning',
            'masks that are neither',
            'annotation 2',
        ),
        (
            lambda c: c['annotations'][1].update(segmentation=dict(size=[64, 64], counts='o')),
            'warning',
            'masks that are neither',
            'annotation 2',
        ),
        (
            lambda c: c['annotations'][1].update(segmentation=dict(size=[64, 64], counts=['a', 'b'])),
            'warning',
            'masks that are neither',
            'annotation 2',
        ),
        (lambda c: c['annotations'][1].update(iscrowd='0'), 'error', 'iscrowd that is neither 0 nor 1', "'0'"),
        (lambda c: c['categories'][1].update(name='circle'), 'error', 'categories with the same name', "2 .* 'circle'"),
        (lambda c: c['categories'][0].update(name='ring'), 'error', "no training file has the class 'circle'", None),
        (lambda c: c['categories'].append(dict(id=9, name='ring')), 'warning', 'classes of the file that the', 'ring'),
        (
            lambda c: c['annotations'][1].update(segmentation=[[1, 2, 3, 4, 5, float('nan')]]),
            'warning',
            'masks that are neither',
            'annotation 2',
        ),
        (
            lambda c: c['annotations'][1].update(segmentation=[['1', 2, 3, 4, 5, 6]]),
            'warning',
            'masks that are neither',
            'annotation 2',
        ),
        (
            lambda c: c['annotations'][1].update(segmentation=dict(size=[60, 64], counts=[3840])),
            'warning',
            'masks of a different size than their image',
            'annotation 2',
        ),
        (
            lambda c: c['images'].append({**c['images'][0], 'id': 99}),
            'warning',
            'images that are listed more than once',
            '000000.jpg',
        ),
        (
            lambda c: c['annotations'][0].update(area=1040400),
            'warning',
            'areas larger than their box',
            r'1 \(annotation \d+\)',
        ),
        (
            lambda c: [c['annotations'].remove(a) for a in list(c['annotations']) if a['image_id'] == 1],
            'warning',
            'images without boxes',
            r'1 \(000000.jpg\)',
        ),
        (
            lambda c: [item.update(category_id=c['categories'][0]['id'], iscrowd=1) for item in c['annotations']],
            'error',
            'training would use no box',
            '',
        ),
        (
            lambda c: c['annotations'].clear(),
            'error',
            'training would use no box',
            '0 images are used',
        ),
        (
            lambda c: [item.update(width=8) for item in c['images']],
            'error',
            'training would use no box',
            'images that filter_cfg excludes',
        ),
        (
            lambda c: [c['annotations'].remove(a) for a in list(c['annotations']) if a['category_id'] == 2],
            'warning',
            'classes without a box',
            'square',
        ),
    ],
)
def test_each_problem_of_the_annotations_is_found(cfg, change, severity, what, example):
    edit(cfg, change)
    inspections = inspect_config(cfg)
    (finding,) = (finding for name, finding in findings(inspections).items() if name.startswith(what))
    assert finding.severity == severity and finding.count >= 1
    if example:
        assert re.search(example, str(finding))
    assert has_errors(inspections) == (severity == 'error')


def test_findings_are_counted_and_only_three_are_shown(cfg):
    edit(cfg, lambda c: [item.update(bbox=[0, 0, 0, 0]) for item in c['annotations'][:5]])
    finding = findings(inspect_config(cfg))['boxes without area, or less than a pixel wide or high']
    assert finding.count == 5 and len(finding.examples) == 3 and str(finding).endswith('annotation 3, ...)')


def test_masks_that_are_loaded_must_be_good(cfg):
    cfg.train_dataloader.dataset.pipeline[1].with_mask = True
    edit(cfg, lambda c: c['annotations'][1].pop('segmentation'))
    edit(cfg, lambda c: c['annotations'][2].update(segmentation=[]))
    edit(cfg, lambda c: c['annotations'][3].update(segmentation=[[1, 2]]))
    with pytest.raises(
        UserError, match='train.json: annotations without a mask: 2, for example annotation 2. The config loads'
    ):
        check_datasets(cfg, ['train'])
    found = findings(inspect_config(cfg))
    assert {finding.severity for name, finding in found.items() if 'mask' in name} == {'error'}
    assert found['annotations without a mask'].examples == ['annotation 2', 'annotation 3']
    assert found['masks that are neither valid polygons nor a valid RLE'].examples == ['annotation 4']


@pytest.mark.parametrize('split', ['val', 'test'])
def test_masks_that_any_split_evaluates_must_be_good(cfg, split):
    edit(cfg, lambda c: c['annotations'][1].pop('segmentation'), 'val')
    assert findings(inspect_config(cfg), 'val, test')['annotations without a mask'].severity == 'warning'
    cfg[f'{split}_evaluator'] = {**cfg[f'{split}_evaluator'], 'metric': ['bbox', 'segm']}
    assert findings(inspect_config(cfg), 'val, test')['annotations without a mask'].severity == 'error'


def test_boxes_that_mmdetection_drops_are_counted(cfg):
    """Boxes at, over and beyond each border, and thin boxes, compared with those that MMDetection's dataset keeps."""
    odd = [
        (x, y, w, h)
        for x in (-9, -9.5, 0, 30, 63.5, 64)
        for y in (-9, 5, 64)
        for w in (0, 0.5, 1, 9, 20)
        for h in (0.5, 9)
    ]
    edit(
        cfg,
        lambda c: c.update(
            annotations=[
                {**c['annotations'][0], 'id': i, 'bbox': box, 'area': box[2] * box[3]} for i, box in enumerate(odd, 1)
            ]
        ),
    )
    found = findings(inspect_config(cfg))
    cfg.train_dataloader.dataset.pipeline = []
    (data,) = DATASETS.build(cfg.train_dataloader.dataset)
    dropped = (
        found['boxes without area, or less than a pixel wide or high'].count + found['boxes outside their image'].count
    )
    assert 0 < dropped == len(odd) - len(data['instances']) < len(odd)


def test_data_without_masks_is_accepted(cfg):
    edit(cfg, lambda c: [item.pop('segmentation') for item in c['annotations']])
    assert not any('mask' in name for name in findings(inspect_config(cfg)))


def test_each_problem_of_the_images_is_found(cfg, monkeypatch):
    root = Path(cfg.root)
    forbidden, read_bytes = [root / 'train' / '000007.jpg', root / 'train' / '000008.jpg'], Path.read_bytes

    def read(path):
        if path in forbidden:
            raise PermissionError
        return read_bytes(path)

    monkeypatch.setattr(Path, 'read_bytes', read)
    (root / 'train' / '000001.jpg').write_bytes(b'not an image')
    (root / 'train' / '000002.jpg').write_bytes(b'')
    (root / 'train' / '000003.jpg').unlink()
    shutil.copy(root / 'train' / '000004.jpg', root / 'train' / '000005.jpg')
    shutil.copy(root / 'train' / '000006.jpg', root / 'val' / '000000.jpg')
    inspections = inspect_config(cfg)
    found = findings(inspections)
    unreadable = found['images that cannot be read: damaged, too large, in an unknown format or without permission']
    assert unreadable.examples == ['000001.jpg', '000007.jpg', '000008.jpg']
    assert found['images that are empty files'].examples == [f'{root}/train/000002.jpg']
    assert found['images that are missing'].examples == [f'{root}/train/000003.jpg']
    assert found['images with identical content'].examples == ['000004.jpg = 000005.jpg']
    leak = findings(inspections, 'val, test')['images that are also in the training data']
    assert leak.severity == 'error' and leak.examples == ['000000.jpg = 000006.jpg']


def test_images_are_loaded_as_the_config_loads_them(cfg):
    """A photograph with EXIF's orientation has the annotated size only for the loader that the boxes were made for."""
    path = f'{cfg.root}/train/000000.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.open(path).resize((64, 32)).save(path, exif=exif)
    edit(cfg, lambda c: c['images'][0].update(width=64, height=32))
    what = 'images of a different size than annotated'
    assert findings(inspect_config(cfg))[what].examples == ['000000.jpg: 32 x 64 instead of 64 x 32']
    cfg.train_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'
    assert what not in findings(inspect_config(cfg))


def test_nearly_black_images_are_named(cfg):
    pixels = np.random.default_rng(0).integers(0, 2**12, (64, 64), dtype=np.uint16)
    for number, factor in ((1, 1), (2, 16)):
        cv2.imwrite(f'{cfg.root}/train/{number}.png', pixels * factor)
    edit(cfg, lambda c: [c['images'][i].update(file_name=f'{i}.png', width=64, height=64) for i in (1, 2)])
    found = findings(inspect_config(cfg))
    (dark,) = (finding for name, finding in found.items() if name.startswith('images of 16 bits'))
    assert dark.examples == ['1.png']


def test_images_that_libjpeg_calls_corrupt_are_named(cfg):
    """They are read, with a part in gray or shifted, and libjpeg does not print their names."""
    path = Path(cfg.root, 'train', '000003.jpg')
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = bytearray(cv2.imencode('.jpg', pixels)[1])
    content[-400:-390] = bytes(10)
    path.write_bytes(content)
    found = findings(inspect_config(cfg))
    (finding,) = (finding for name, finding in found.items() if 'the decoder complains about' in name)
    assert finding.severity == 'warning' and finding.count == 1
    assert finding.examples[0].startswith('000003.jpg: Corrupt JPEG data')


def test_samples_of_one_channel_are_drawn_in_gray(cfg, tmp_path):
    cfg.train_dataloader.dataset.pipeline[0].color_type = 'grayscale'
    cfg.train_dataloader.dataset.pipeline = [
        step for step in cfg.train_dataloader.dataset.pipeline if 'Photo' not in step['type']
    ]
    edit(cfg, lambda c: c['annotations'].clear())
    cfg.train_dataloader.dataset.filter_cfg = None
    draw_samples(cfg, str(tmp_path / 'samples.png'), count=1)
    picture = cv2.imread(str(tmp_path / 'samples.png')).astype(int)
    assert abs(picture - picture.mean(axis=2, keepdims=True)).max() <= 2


def test_malformed_annotations_do_not_hide_problems_of_the_images(cfg):
    edit(cfg, lambda c: c['annotations'][1].update(image_id=99))
    Path(cfg.root, 'train', '000003.jpg').unlink()
    found = findings(inspect_config(cfg))
    assert 'annotations without their images' in found and 'images that are missing' in found


def test_missing_folder_does_not_hide_problems_of_the_annotations(cfg):
    shutil.rmtree(f'{cfg.root}/train')
    edit(cfg, lambda c: c['annotations'][0].update(bbox=[70, 5, 9, 9]))
    found = findings(inspect_config(cfg))
    assert [finding.what[:15] for finding in found.values() if finding.severity == 'error'] == ['no image folder']
    assert 'boxes outside their image' in found


def test_images_in_more_than_one_file_are_found(cfg):
    """The training set has two files, one of them twice."""
    root, dataset = Path(cfg.root), cfg.train_dataloader.dataset
    (root / 'more').mkdir()
    shutil.copy(root / 'train' / '000004.jpg', root / 'more' / 'x.jpg')
    shutil.copy(root / 'val' / '000001.jpg', root / 'more' / 'y.jpg')
    coco = json.loads((root / 'annotations' / 'train.json').read_text())
    coco['images'] = [{**image, 'file_name': name} for image, name in zip(coco['images'], ('x.jpg', 'y.jpg'))]
    coco['annotations'] = [item for item in coco['annotations'] if item['image_id'] in (1, 2)]
    (root / 'annotations' / 'more.json').write_text(json.dumps(coco))
    more = {**dataset, 'ann_file': 'annotations/more.json', 'data_prefix': dict(img='more/')}
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[dataset, dataset, more])
    first, second, evaluated = inspect_config(cfg)
    assert (first.split, second.split, evaluated.split) == ('train', 'train', 'val, test') and not first.findings
    again = {finding.what: finding for finding in second.findings}['images that are also in another training file']
    (leak,) = evaluated.findings
    assert (again.severity, again.examples) == ('warning', ['x.jpg = 000004.jpg'])
    assert (leak.severity, leak.examples) == ('error', ['000001.jpg = y.jpg'])


def test_evaluation_on_the_training_file_is_only_a_warning(cfg):
    cfg.val_dataloader.dataset.update(ann_file='annotations/train.json', data_prefix=dict(img='train/'))
    cfg.val_evaluator.ann_file = f'{cfg.root}/annotations/train.json'
    inspections = inspect_config(cfg)
    assert not has_errors(inspections)
    (finding,) = findings(inspections, 'val').values()
    assert finding.severity == 'warning' and finding.what.startswith('training reads the same file')


def test_inspection_of_annotations_alone_opens_no_image(cfg, monkeypatch):
    monkeypatch.setattr(inspection, '_read', lambda path: pytest.fail(f'opened {path}'))
    Path(cfg.root, 'train', '000001.jpg').write_bytes(b'not an image')
    assert not has_errors(inspect_config(cfg, read_images=False))


def test_config_must_match_the_data(cfg):
    cfg.model.bbox_head.num_classes = 5
    cfg.val_evaluator.ann_file = f'{cfg.root}/annotations/train.json'
    inspections = inspect_config(cfg)
    assert any('num_classes=5' in name for name in findings(inspections))
    assert any('val_evaluator.ann_file is' in name for name in findings(inspections, 'val, test'))
    cfg.model.language_model = dict(type='BertModel')  # with it, num_classes is a number of tokens
    cfg.train_dataloader.dataset.metainfo = dict(classes=('circle'))
    found = findings(inspect_config(cfg))
    assert [name for name in found if 'classes' in name] == [
        'metainfo.classes must be a tuple of names or the path of a text file with one name per line, and there is no '
        "file 'circle'; for a single class, write ('circle', )"
    ]


def test_evaluation_needs_iscrowd_only_if_it_reads_the_file(cfg):
    """Same as in the checks before training: MMDetection's metric can also use what the dataset has read."""
    edit(cfg, lambda c: c['annotations'][0].pop('iscrowd'), 'val')
    assert not has_errors(inspect_config(cfg))
    cfg.val_evaluator.type = 'CocoMetric'
    assert has_errors(inspect_config(cfg))
    cfg.test_evaluator = cfg.val_evaluator
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = None
    assert not has_errors(inspect_config(cfg))


def test_only_mmdetections_metric_needs_numeric_ids(cfg):
    def name_ids(coco):
        for item in coco['images']:
            item['id'] = f'image {item["id"]}'
        for item in coco['annotations']:
            item['image_id'] = f'image {item["image_id"]}'

    edit(cfg, name_ids)
    assert not has_errors(inspect_config(cfg))
    check_datasets(cfg, ['train'])
    edit(cfg, name_ids, 'val')
    check_datasets(cfg, ['val'])
    assert not has_errors(inspect_config(cfg))
    cfg.val_evaluator.type = 'CocoMetric'
    assert findings(inspect_config(cfg), 'val, test')["ids that the config's metric cannot evaluate"].count == 6
    with pytest.raises(UserError, match="val.json: malformed: images.0. has the id 'image 1'; .* OfficialCocoMetric"):
        check_datasets(cfg, ['val'])


def test_missing_split_does_not_hide_problems_of_others(cfg):
    Path(cfg.root, 'annotations', 'train.json').unlink()
    edit(cfg, lambda c: c['annotations'][0].update(bbox=[5, 5, 0, 9]), 'val')
    inspections = inspect_config(cfg)
    assert any(name.startswith('no annotation file') for name in findings(inspections))
    assert 'boxes without area, or less than a pixel wide or high' in findings(inspections, 'val, test')


def test_datasets_that_cannot_be_inspected_are_named(cfg):
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.type = 'CrowdHumanDataset'
    cfg.val_evaluator = cfg.test_evaluator = dict(type='CrowdHumanMetric', ann_file=None)
    inspections = inspect_config(cfg)
    assert 'not inspected' in str(inspections[1]) and 'CrowdHumanDataset' in str(inspections[1])
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[cfg.train_dataloader.dataset, dict(type='LVISV1Dataset', ann_file='lvis.json')]
    )
    names = [str(item).splitlines()[0] for item in inspect_config(cfg)]
    assert 'train: LVISV1Dataset lvis.json' in names and f'train: {cfg.root}/annotations/train.json' in names
    cfg.train_dataloader.dataset.datasets.pop(0)
    with pytest.raises(UserError, match="no local files in COCO's format or in Pascal VOC's"):
        inspect_config(cfg)


def test_samples_are_drawn(cfg, tmp_path):
    draw_samples(cfg, str(tmp_path / 'new' / 'samples.png'), count=5)
    drawn = cv2.imread(str(tmp_path / 'new' / 'samples.png'))
    tiles = [tile for row in np.array_split(drawn, 2) for tile in np.array_split(row, 3, axis=1)]
    assert [tile.std() > 10 for tile in tiles] == [True] * 5 + [False]  # the sixth place is empty
    # Annotations change the picture.
    edit(cfg, lambda c: [item.update(iscrowd=1) for item in c['annotations']])
    cfg.train_dataloader.dataset.filter_cfg = None
    draw_samples(cfg, str(tmp_path / 'plain.png'), count=5)
    assert np.abs(cv2.imread(str(tmp_path / 'plain.png')).astype(int) - drawn).mean() > 1


def test_number_of_samples_must_be_positive(cfg, tmp_path):
    with pytest.raises(UserError, match='expected at least 1 sample to draw; got 0'):
        draw_samples(cfg, str(tmp_path / 'samples.png'), count=0)
    assert not list(tmp_path.glob('*.png'))


def test_tool_prints_findings_and_writes_files(cfg, tmp_path):
    config, picture, numbers = tmp_path / 'mine.py', tmp_path / 'samples.jpg', tmp_path / 'found.json'
    cfg.dump(config)
    status, out, err = tool('tools/check_dataset.py', config, '--picture', picture, '--json', numbers)
    assert status == 0, err
    assert out.rstrip().endswith('no errors') and picture.is_file()
    assert [item['split'] for item in json.loads(numbers.read_text())] == ['train', 'val, test']
    edit(cfg, lambda c: c['annotations'][0].update(image_id=99))
    Path(cfg.root, 'annotations', 'val.json').unlink()
    picture.unlink()
    status, out, err = tool('tools/check_dataset.py', config, '--picture', picture)
    assert status == 1 and 'Traceback' not in err
    assert f'error: no annotation file {cfg.root}/annotations/val.json' in out
    assert 'error: annotations without their images: 1' in out and not picture.exists()
    assert 'no samples drawn' in out


def test_ctrl_c_stops_reading_images(cfg, monkeypatch, tmp_path):
    """Images that wait must not delay the exit."""
    monkeypatch.setattr(inspection, 'READERS', 1)

    def slow(path, load):
        with open(tmp_path / 'read', 'a') as file:
            file.write(path + '\n')
        time.sleep(0.05)
        return inspection._ReadImage(path, (64, 64))

    def interrupted(images, *rest, **options):
        yield next(iter(images))
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection, '_read', slow)
    monkeypatch.setattr('rich.progress.Progress.track', lambda _, images, *rest, **options: interrupted(images))
    with pytest.raises(KeyboardInterrupt):
        inspect_config(cfg)
    assert len((tmp_path / 'read').read_text().splitlines()) < 6


@pytest.mark.parametrize(
    'option, says',
    [
        (['--samples', '0'], "--samples: expected a whole number from 1 to 1000, got '0'"),
        (['--picture', 'x.txt'], '--picture expects a .jpg or .png file, got x.txt'),
        (['--json', 'x.jpg'], '--json expects a .json file, got x.jpg'),
    ],
)
def test_wrong_options_are_usage_errors(monkeypatch, capsys, option, says):
    monkeypatch.setattr(sys, 'argv', ['check_dataset.py', 'configs/none.py', *option])
    with pytest.raises(SystemExit, match='2'):
        runpy.run_path(str(ROOT / 'tools' / 'check_dataset.py'))['parse_args']()
    assert says in capsys.readouterr().err
