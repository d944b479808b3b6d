"""RetinaNet and PP-YOLOE on a small copy of Pascal VOC: trained, tested and evaluated."""

import shutil

import pytest
import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.utils import register_all_modules
from mmengine.structures import InstanceData

from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import datasets_of, load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT
from ..voc import make_voc

NARROW = {
    'train_cfg.max_epochs': 1,
    'model.backbone.widen_factor': 0.25,
    'model.backbone.deepen_factor': 0.34,
    'model.neck.in_channels': [48, 96, 192],
    **{f'{split}_dataloader.num_workers': 0 for split in ('train', 'val', 'test')},
}
RETINANET = {'model.neck.out_channels': 32, 'model.bbox_head.in_channels': 32, 'model.bbox_head.feat_channels': 32}
PPYOLOE = {
    'model.neck.out_channels': [48, 96, 192],
    'model.bbox_head.in_channels': [48, 96, 192],
    'model.data_preprocessor.batch_augments': None,
}


def perfect(self, batch_inputs, batch_data_samples, rescale=True):
    """The ground truth as detections."""
    for sample in batch_data_samples:
        truth = sample.gt_instances
        sample.pred_instances = InstanceData(
            bboxes=truth.bboxes, labels=truth.labels, scores=torch.ones(len(truth.labels))
        )
    return batch_data_samples


@pytest.mark.parametrize(
    'name, options', [('retinanet_e-convnext-mini_fpn_1x', RETINANET), ('ppyoloe-s_e-convnext-mini_36e', PPYOLOE)]
)
def test_a_detector_trains_and_is_tested_on_voc(tmp_path, monkeypatch, name, options):
    register_all_modules()
    monkeypatch.chdir(tmp_path)
    make_voc('data/VOCdevkit', pictures=4)
    cfg = load_config(str(ROOT / f'configs/voc/{name}_voc0712.py'), {**NARROW, **options}, work_dir='work')
    for split in ('train', 'val', 'test'):
        for dataset in datasets_of(cfg, split):
            for step in dataset.pipeline:
                if step.type == 'Resize':
                    step.scale = (128, 128)
    train(cfg.copy())
    (log,) = tmp_path.glob('work/*/*.log')
    assert 'training uses 8 images and 16 boxes: aeroplane 0, ' in log.read_text()
    checkpoint = 'work/best_pascal_voc_mAP_epoch_1.pth'
    monkeypatch.setattr(SingleStageDetector, 'predict', perfect)
    assert run_test(cfg.copy(), checkpoint) == {'pascal_voc/mAP': 1, 'pascal_voc/AP50': 1}
    shutil.rmtree('data')
    with pytest.raises(UserError, match='no annotation file data/VOCdevkit/VOC2007/ImageSets/Main/test.txt: expected'):
        run_test(cfg.copy(), checkpoint)
