"""What training uses of its data, as MMDetection's own datasets have it."""

import json
import re
from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from econvnext_mmdet.datasets.inspection import inspect_config
from econvnext_mmdet.datasets.usable import usable
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.errors import UserError

from .conftest import edit


def set_all(key, value):
    def change(coco):
        for item in coco['annotations']:
            item[key] = value

    return change


def shrink(coco):
    """Coordinates from 0 to 1."""
    for item in coco['annotations']:
        item['bbox'] = [side / 1000 for side in item['bbox']]


def flat(coco):
    for item in coco['annotations']:
        item['area'] = 0


def outside(coco):
    for item in coco['annotations']:
        item['bbox'][0] += 10000


NO_BOX = [set_all('iscrowd', 1), set_all('ignore', 1), shrink, flat, outside]
IDS = ['crowd', 'ignore', 'normalised', 'no-area', 'outside']


@pytest.mark.parametrize('change', NO_BOX, ids=IDS)
def test_training_on_no_box_is_an_error_before_the_first_step(cfg, change):
    edit(cfg, change)
    cfg.launcher = 'none'
    with pytest.raises(UserError, match=r'training would use no box of \d+ in the file \(.*train\.json\)'):
        train(cfg)
    (found,) = [
        finding
        for inspection in inspect_config(cfg, read_images=False)
        for finding in inspection.findings
        if finding.severity == 'error'
    ]
    assert re.match(r'training would use no box of \d+ in the file', found.what)


def test_training_on_images_that_filter_cfg_excludes_is_an_error(cfg):
    cfg.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True, min_size=5000)
    cfg.launcher = 'none'
    with pytest.raises(UserError, match='filter_cfg leaves out all of its images'):
        train(cfg)


def test_the_numbers_are_those_of_the_samples_that_training_reads(cfg):
    """Crowd regions, ignored boxes and small images are left out, and a wrapper does not hide them."""
    rows = []

    def change(coco):
        coco['annotations'][0]['iscrowd'] = 1
        coco['annotations'][1]['ignore'] = 1
        rows.extend(coco['annotations'])

    edit(cfg, change)
    init_default_scope('mmdet')
    dataset = cfg.train_dataloader.dataset
    built = DATASETS.build(
        dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset] * 2))
    )
    found = usable(built)
    samples = [built.dataset[i]['data_samples'] for i in range(len(built.dataset))]
    assert found.images == len(samples)
    assert found.boxes.total() == sum(len(sample.gt_instances) for sample in samples) == 2 * (len(rows) - 2)
    assert found.crowd == sum(len(sample.ignored_instances) for sample in samples) == 2
    assert found.listed.total() == 2 * len(rows)
    assert found.problems(built.metainfo['classes']) == []


def test_a_class_without_a_usable_box_and_many_boxes_that_are_left_out_are_said(cfg):
    def change(coco):
        for item in coco['annotations']:
            item['iscrowd'] = int(item['category_id'] != 1)

    edit(cfg, change)
    (train_set, *_) = inspect_config(cfg, read_images=False)
    said = [finding.what for finding in train_set.findings if finding.what.startswith('training uses')]
    assert said[0].startswith('training uses no box of square, triangle, star, so the model cannot learn it')
    assert re.match(r'training uses only \d+ boxes of \d+ in the file. MMDetection leaves out crowd regions', said[1])


def test_all_training_files_are_judged_together(cfg):
    """A class without boxes in one file may have them in another."""
    file = Path(cfg.root, 'annotations', 'train.json')
    coco = json.loads(file.read_text())
    for name, keep in (('circles', lambda label: label == 1), ('others', lambda label: label != 1)):
        part = [item for item in coco['annotations'] if keep(item['category_id'])]
        (file.parent / f'{name}.json').write_text(json.dumps({**coco, 'annotations': part}))
    dataset = cfg.train_dataloader.dataset
    files = [{**dataset, 'ann_file': f'annotations/{name}.json'} for name in ('circles', 'others')]
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=files)
    said = [str(finding) for found in inspect_config(cfg, read_images=False) for finding in found.findings]
    assert not any('the model cannot learn it' in line for line in said)
    cfg.train_dataloader.dataset.datasets[1:] = []
    said = [str(finding) for found in inspect_config(cfg, read_images=False) for finding in found.findings]
    assert any('training uses no box of square, triangle, star' in line for line in said)


def test_the_inspection_counts_the_images_that_indices_leaves(cfg):
    cfg.train_dataloader.dataset.indices = 3
    (found, *_) = inspect_config(cfg, read_images=False)
    init_default_scope('mmdet')
    assert found.usable.images == usable(DATASETS.build(cfg.train_dataloader.dataset)).images == 3


def test_classes_of_areas_without_boxes_are_no_fault(cfg, tmp_path):
    """Panoptic segmentation has boxes for things only."""
    init_default_scope('mmdet')
    (tmp_path / 'none.json').write_text(json.dumps(dict(images=[], annotations=[], categories=[])))
    built = DATASETS.build(
        dict(
            type='CocoPanopticDataset',
            ann_file=str(tmp_path / 'none.json'),
            data_prefix=dict(img='', seg=''),
            lazy_init=True,
        )
    )
    assert usable(built) is None
