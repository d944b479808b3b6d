import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from econvnext_mmdet.datasets import inspection
from econvnext_mmdet.datasets.inspection import as_data, draw_samples, has_errors, inspect_config
from econvnext_mmdet.errors import UserError

from ..conftest import ROOT
from ..test_tools import tool
from .conftest import edit


def findings(inspections, split='train'):
    (of_split, ) = (item for item in inspections if item.split == split)
    return {finding.what: finding for finding in of_split.findings}


def test_counts_are_pycocotools(cfg):
    edit(cfg, lambda c: c['annotations'][0].update(iscrowd=1))
    edit(cfg, lambda c: [item.update(area=[100, 5000, 20000, 1024][i % 4]) for i, item in enumerate(c['annotations'])])
    train, evaluated = inspect_config(cfg)
    assert (train.split, evaluated.split) == ('train', 'val, test')
    assert not has_errors([train, evaluated])
    coco = COCO(train.ann_file)
    ranges = dict(small=[-1, 1024], medium=[1023.5, 9216], large=[9215.5, 1e10])  # pycocotools leaves the limits out
    for category in coco.dataset['categories']:
        assert train.classes[category['name']] == {
            size: len(coco.getAnnIds(catIds=[category['id']], areaRng=area, iscrowd=False))
            for size, area in ranges.items()}
    assert (train.images, train.crowd, train.widths, train.heights) == (12, 1, (64, 64), (64, 64))
    assert json.loads(json.dumps(as_data([train])))[0]['classes'] == train.classes


@pytest.mark.parametrize('change, severity, what, example', [
    (lambda c: c['annotations'][1].update(image_id=99), 'error', 'annotations without their images', 'annotation 2 '),
    (lambda c: c['annotations'][1].update(category_id=99), 'error', 'annotations without their categories', 'id 99'),
    (lambda c: c['annotations'][1].update(id=1), 'error', 'ids that occur twice', r'annotations\[1\] has the id 1 of'),
    (lambda c: c['images'][1].update(id=1), 'error', 'ids that occur twice', r'images\[1\] has the id 1 of'),
    (lambda c: c['annotations'][1].pop('bbox'), 'error', 'entries that lack a field', 'lacks bbox'),
    (lambda c: c['annotations'][1].update(bbox=[1, 2, float('nan'), 4]), 'error', 'boxes that are none', 'nan'),
    (lambda c: c.pop('images'), 'error', 'a part that is missing', '"images"'),
    (lambda c: c['annotations'][1].update(bbox=[5, 5, 0, 9]), 'warning', 'boxes without area', 'annotation 2'),
    (lambda c: c['annotations'][1].update(bbox=[70, 5, 9, 9]), 'warning', 'boxes outside their image', 'annotation 2'),
    (lambda c: c['annotations'][1].update(bbox=[-9, 5, 20, 9]), 'warning', 'boxes that reach over', 'annotation 2'),
    (lambda c: c['annotations'][1].pop('segmentation'), 'warning', 'masks that are missing', 'annotation 2'),
    (lambda c: c['annotations'][1].update(segmentation=[[1, 2, 3, 4]]), 'warning', 'masks that are neither', '2'),
    (lambda c: c['annotations'][1].update(segmentation='mask'), 'warning', 'masks that are neither', '2'),
    (lambda c: c['images'][1].update(width=65), 'error', 'images of another size', '64 x 64 instead of 65 x 64'),
    (lambda c: c['images'][1].update(file_name='no.jpg'), 'error', 'images that are missing', 'train/no.jpg'),
    (lambda c: c['categories'][0].update(name='ring'), 'error', "the file lacks the class 'circle'", None),
    (lambda c: c['categories'].reverse(), 'error', 'the file has the classes in another order', None),
    (lambda c: c['categories'].append(dict(id=9, name='ring')), 'warning', 'classes of the file that the', 'ring'),
    (lambda c: c['annotations'].clear(), 'warning', 'images without boxes', '000000.jpg, 000001.jpg, 000002.jpg'),
    (lambda c: [c['annotations'].remove(a) for a in list(c['annotations']) if a['category_id'] == 2], 'warning',
     'classes without a box', 'square'),
])
def test_each_finding_of_the_annotations(cfg, change, severity, what, example):
    edit(cfg, change)
    inspections = inspect_config(cfg)
    (finding, ) = (finding for name, finding in findings(inspections).items() if name.startswith(what))
    assert finding.severity == severity and finding.count >= 1
    if example:
        assert re.search(example, str(finding))
    assert has_errors(inspections) == (severity == 'error')


def test_counts_of_findings(cfg):
    edit(cfg, lambda c: [item.update(bbox=[0, 0, 0, 0]) for item in c['annotations'][:5]])
    finding = findings(inspect_config(cfg))['boxes without area, which training drops']
    assert finding.count == 5 and len(finding.examples) == 3 and str(finding).endswith('annotation 3, ...)')


def test_masks_must_be_right_where_they_are_loaded(cfg):
    cfg.train_dataloader.dataset.pipeline[1].with_mask = True
    edit(cfg, lambda c: c['annotations'][1].pop('segmentation'))
    edit(cfg, lambda c: c['annotations'][2].update(segmentation=[]))
    found = findings(inspect_config(cfg))
    assert found['masks that are missing'].severity == 'error'
    assert found['masks that are neither polygons nor RLE'].examples == ['annotation 3']


def test_boxes_alone_are_no_fault(cfg):
    edit(cfg, lambda c: [item.pop('segmentation') for item in c['annotations']])
    assert not any('masks' in name for name in findings(inspect_config(cfg)))


def test_each_finding_of_the_images(cfg):
    root = Path(cfg.root)
    (root / 'train' / '000001.jpg').write_bytes(b'no image')
    (root / 'train' / '000002.jpg').write_bytes(b'')
    (root / 'train' / '000003.jpg').unlink()
    shutil.copy(root / 'train' / '000004.jpg', root / 'train' / '000005.jpg')
    shutil.copy(root / 'train' / '000006.jpg', root / 'val' / '000000.jpg')
    inspections = inspect_config(cfg)
    found = findings(inspections)
    assert found['images that are damaged or of an unknown format'].examples == ['000001.jpg']
    assert found['images that are empty files'].examples == [f'{root}/train/000002.jpg']
    assert found['images that are missing'].examples == [f'{root}/train/000003.jpg']
    assert found['images that are the same file'].examples == ['000004.jpg = 000005.jpg']
    leak = findings(inspections, 'val, test')['images that training has too']
    assert leak.severity == 'error' and leak.examples == ['000000.jpg = 000006.jpg']


def test_annotations_alone_open_no_image(cfg, monkeypatch):
    monkeypatch.setattr(inspection, '_read', lambda path: pytest.fail(f'opened {path}'))
    Path(cfg.root, 'train', '000001.jpg').write_bytes(b'no image')
    assert not has_errors(inspect_config(cfg, read_images=False))


def test_config_against_data(cfg):
    cfg.model.bbox_head.num_classes = 5
    cfg.val_evaluator.ann_file = f'{cfg.root}/annotations/train.json'
    inspections = inspect_config(cfg)
    assert any('num_classes=5' in name for name in findings(inspections))
    assert any('val_evaluator.ann_file is' in name for name in findings(inspections, 'val, test'))


def test_a_split_that_is_missing_hides_no_other(cfg):
    Path(cfg.root, 'annotations', 'train.json').unlink()
    edit(cfg, lambda c: c['annotations'][0].update(bbox=[5, 5, 0, 9]), 'val')
    inspections = inspect_config(cfg)
    assert any(name.startswith('no annotation file') for name in findings(inspections))
    assert 'boxes without area, which training drops' in findings(inspections, 'val, test')


def test_what_cannot_be_inspected_is_said(cfg):
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.type = 'VOCDataset'
    cfg.val_evaluator = cfg.test_evaluator = dict(type='VOCMetric')
    inspections = inspect_config(cfg)
    assert 'not inspected' in str(inspections[1]) and 'VOCDataset' in str(inspections[1])
    cfg.train_dataloader.dataset.type = 'VOCDataset'
    with pytest.raises(UserError, match="no local dataset in COCO's format"):
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


def test_from_the_command_line(cfg, tmp_path):
    config, picture, numbers = tmp_path / 'mine.py', tmp_path / 'samples.jpg', tmp_path / 'found.json'
    cfg.dump(config)
    status, out, err = tool('tools/check_dataset.py', config, '--picture', picture, '--json', numbers)
    assert status == 0, err
    assert out.rstrip().endswith('no errors') and picture.is_file()
    assert [item['split'] for item in json.loads(numbers.read_text())] == ['train', 'val, test']
    edit(cfg, lambda c: c['annotations'][0].update(image_id=99))
    picture.unlink()
    status, out, _ = tool('tools/check_dataset.py', config, '--picture', picture)
    assert status == 1 and 'error: annotations without their images: 1' in out and not picture.exists()
    demo = ROOT / 'configs' / 'retinanet_e_convnext.py'
    status, out, err = tool('tools/check_dataset.py', demo, '--cfg-options', 'train_dataloader.dataset.data_root=none/')
    assert status == 1 and 'Traceback' not in err and 'error: no annotation file none/annotations/' in out
