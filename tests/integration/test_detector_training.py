"""PP-YOLOE and YOLOv10 from end to end: trained, resumed, tested, and folded for inference."""

import json

import pytest
from mmdet.registry import TASK_UTILS
from mmdet.utils import register_all_modules

from econvnext_mmdet.datasets.shapes import make_shapes
from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.inference import inferencer
from econvnext_mmdet.inference.detection import DetectionOptions, detect
from econvnext_mmdet.models.fuse import fuse
from econvnext_mmdet.models.ppyoloe import PPYOLOEHead
from econvnext_mmdet.utils.config import load_config

from ..helpers import ROOT

# The settings that make the detectors narrow.
WIDTHS = {
    'ppyoloe': {'model.neck.out_channels': [48, 96, 192], 'model.bbox_head.in_channels': [48, 96, 192]},
    'yolov10': {'model.bbox_head.in_channels': [48, 96, 192]},
}


@pytest.fixture(autouse=True)
def registered():
    register_all_modules()


def narrow(kind, shapes, work_dir, epochs, folder='val', **options):
    """A narrow BCCD config that trains on synthetic shapes and evaluates on the images of ``folder``."""
    changes = {
        'work_dir': str(work_dir),
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
        'default_hooks.checkpoint.interval': epochs,
        'model.backbone.widen_factor': 0.25,
        'model.backbone.deepen_factor': 0.34,
        'model.neck.in_channels': [48, 96, 192],
        'model.bbox_head.num_classes': 4,
        'train_dataloader.batch_size': 4,
        **WIDTHS[kind],
        **options,
    }
    for split in ('train', 'val', 'test'):
        source = 'train' if split == 'train' else folder
        changes.update(
            {
                f'{split}_dataloader.num_workers': 0,
                f'{split}_dataloader.persistent_workers': False,
                f'{split}_dataloader.dataset.data_root': f'{shapes}/',
                f'{split}_dataloader.dataset.metainfo.classes': ('circle', 'square', 'triangle', 'star'),
                f'{split}_dataloader.dataset.ann_file': f'annotations/{source}.json',
                f'{split}_dataloader.dataset.data_prefix.img': f'{source}/',
            }
        )
        if split != 'train':
            changes[f'{split}_evaluator.ann_file'] = f'{shapes}/annotations/{source}.json'
    cfg = load_config(str(ROOT / f'configs/bccd/{kind}-s_e-convnext-mini_8e_bccd.py'), changes)
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (96, 96)
            elif step.type == 'RandomFlip':
                step.update(prob=0.0, direction='horizontal')
    return cfg


@pytest.mark.runs
@pytest.mark.parametrize('kind, epochs', [('ppyoloe', 80), ('yolov10', 90)])
def test_detectors_overfit_sixteen_images_and_folding_keeps_the_detections(tmp_path, monkeypatch, kind, epochs):
    make_shapes(str(tmp_path / 'data'), num_train=16, num_val=1, size=(96, 96), seed=3)
    options = {'optim_wrapper.optimizer.lr': 3e-3, 'param_scheduler.0.end': 20, 'param_scheduler.1.end': epochs}
    if kind == 'ppyoloe':
        options['model.train_cfg.initial_epoch'] = epochs // 3
    cfg = narrow(kind, tmp_path / 'data', tmp_path / 'work', epochs, folder='train', **options)
    train(cfg.copy())
    checkpoint = str(tmp_path / 'work' / f'epoch_{epochs}.pth')
    metrics = run_test(cfg.copy(), checkpoint, out=str(tmp_path / 'tested.json'))
    assert metrics['coco/bbox_mAP'] > 0.85
    detection_options = DetectionOptions(
        out=str(tmp_path / 'inferred'),
        annotations=str(tmp_path / 'data' / 'annotations' / 'train.json'),
        pictures=False,
    )
    folded = []
    monkeypatch.setattr(inferencer, 'fuse', lambda model: folded.append(fuse(model)))
    detect(cfg.copy(), checkpoint, [str(tmp_path / 'data' / 'train')], detection_options)
    assert len(folded) == 1
    tested, inferred = (
        sorted(json.loads(path.read_text()), key=lambda d: (d['image_id'], -d['score']))
        for path in (tmp_path / 'tested.json', tmp_path / 'inferred' / 'results.json')
    )
    sure = [[d for d in found if d['score'] > 0.3] for found in (tested, inferred)]
    assert len(sure[0]) == len(sure[1]) >= 16
    for ours, theirs in zip(*sure):
        assert (ours['image_id'], ours['category_id']) == (theirs['image_id'], theirs['category_id'])
        assert [ours['score'], *ours['bbox']] == pytest.approx([theirs['score'], *theirs['bbox']], abs=0.01)


def test_the_assigner_changes_with_the_epoch_and_after_resume(shapes, tmp_path, monkeypatch):
    """The first of two epochs uses ATSS. A run that is resumed after it uses the task-aligned assigner."""
    used = []
    by_place, assigner = PPYOLOEHead.assign_by_place, TASK_UTILS.get('InsideTaskAlignedAssigner')
    assign = assigner.assign
    monkeypatch.setattr(
        PPYOLOEHead, 'assign_by_place', lambda self, *args: (used.append('atss'), by_place(self, *args))[1]
    )
    monkeypatch.setattr(assigner, 'assign', lambda self, *args: (used.append('task-aligned'), assign(self, *args))[1])

    def assigners_of(name, epochs, resume=None):
        used.clear()
        train(
            narrow(
                'ppyoloe',
                shapes,
                tmp_path / name,
                epochs,
                **{'model.train_cfg.initial_epoch': 1, 'default_hooks.checkpoint.interval': 1},
            ),
            resume=resume,
        )
        return used

    assert assigners_of('whole', 2) == ['atss'] * 12 + ['task-aligned'] * 12
    assert assigners_of('cut', 1) == ['atss'] * 12
    assert assigners_of('cut', 2, resume='auto') == ['task-aligned'] * 12
