"""The export of every kind of model. It takes minutes, so `make test-deploy` runs it, and `make test` does not."""

import re

import onnx
import pytest
import torch
from mmdet.structures import DetDataSample

from econvnext_mmdet.deploy.agreement import check_images
from econvnext_mmdet.deploy.export import ExportOptions
from econvnext_mmdet.deploy.predictors import ExportedDetector
from econvnext_mmdet.deploy.runtime import ExportedModel
from econvnext_mmdet.engine import exporting
from econvnext_mmdet.engine.exporting import export_and_check
from econvnext_mmdet.utils.errors import UserError

pytestmark = pytest.mark.deploy


@pytest.mark.parametrize(
    'kind, task, detections',
    [
        ('mask_rcnn', 'segment', 100),
        ('cascade', 'segment', 100),
        ('ppyoloe', 'detect', 100),
        ('yolov10', 'detect', 100),
        ('classifier', 'classify', 0),
    ],
)
def test_the_exported_model_agrees_with_pytorch(built, exported, kind, task, detections):
    """export() compares the two, on sizes and batches that it did not use, and raises an error if they differ."""
    result = exported(kind)
    assert result.metadata.task == task and result.metadata.names == built(kind).classes
    found = result.agreement.detections or 0
    assert result.agreement.images == 7 and found >= detections and result.agreement.ties <= 0.01 * found
    assert ExportedModel(result.path).dynamic


@pytest.mark.parametrize('kind', ['mask_rcnn', 'cascade'])
def test_a_two_stage_detector_computes_no_more_places_than_its_detections_need(exported, kind):
    model = ExportedModel(exported(kind).path)
    for number, shape in ((1, (64, 64)), (3, (96, 160))):
        found = model(check_images(number, shape).numpy())
        most = max(1, found['num_dets'].max())
        assert {value.shape[:2] for key, value in found.items() if key != 'num_dets'} == {(number, most)}


def test_an_image_without_objects_has_no_masks(exported):
    """An image size other than that of the input, as after the resize of the test pipeline."""
    model = ExportedDetector(exported('mask_rcnn').path)
    outputs = {
        key: torch.from_numpy(value)[0] for key, value in model.exported(check_images(1, (64, 96)).numpy()).items()
    }
    sample = DetDataSample(metainfo=dict(ori_shape=(32, 48), img_shape=(64, 96), scale_factor=(2.0, 2.0)))
    model.add(sample, {**outputs, 'num_dets': torch.tensor(0)})
    assert sample.pred_instances.masks.shape == (0, 32, 48) and len(sample.pred_instances.bboxes) == 0
    model.add(sample, outputs)
    assert sample.pred_instances.masks.shape[1:] == (32, 48) and len(sample.pred_instances.masks) > 0


def test_openvinos_folder_has_the_metadata_of_the_onnx_file(exported):
    result, other = exported('yolov10', format='openvino'), exported('yolov10')
    assert ExportedModel(result.path).metadata == result.metadata == other.metadata
    assert result.agreement.detections == other.agreement.detections
    assert ExportedModel(result.path).dynamic


@pytest.mark.parametrize('opset', [18, 23])
def test_the_oldest_and_the_newest_opset_agree_with_pytorch(exported, opset):
    result = exported('ppyoloe', opset=opset)
    assert {(item.domain, item.version) for item in onnx.load(result.path).opset_import} == {('', opset)}
    assert result.agreement.detections >= 100


@pytest.mark.parametrize('options', [{}, dict(format='openvino')])
def test_half_weights_take_half_the_space_and_hardly_change_the_scores(exported, options):
    whole, half = exported('yolov10', **options), exported('yolov10', half=True, **options)
    assert half.metadata.weights == 'float16' and half.size < 0.7 * whole.size
    images = check_images(2, (96, 128)).numpy()
    expected, found = (ExportedModel(result.path)(images)['scores'] for result in (whole, half))
    assert abs(expected - found).max() < 0.01


def test_a_file_that_loses_accuracy_is_not_written_and_an_older_one_stays(built, tmp_path, monkeypatch):
    detector, out, said = built('retinanet'), tmp_path / 'net.onnx', []
    options = ExportOptions(out=str(out), threads=1)
    export_and_check(detector.cfg, detector.checkpoint, options, detector.cfg, said.append)
    assert out.is_file() and re.fullmatch(r'coco/bbox_mAP: (0.\d{5}) with PyTorch, \1 with the exported file', said[-1])
    out.write_bytes(b'older')
    monkeypatch.setattr(exporting, 'LARGEST_LOSS', dict(float32=-0.1))
    with pytest.raises(UserError, match='loses 0.00000 of coco/bbox_mAP; expected at most -0.1 .*Nothing was written'):
        export_and_check(detector.cfg, detector.checkpoint, options, detector.cfg)
    assert out.read_bytes() == b'older' and list(tmp_path.iterdir()) == [out]


def test_a_backbone_returns_its_maps(built, exported):
    result = exported('retinanet', backbone=True)
    assert (result.metadata.task, result.metadata.names) == ('features', ())
    assert result.agreement.images == 7 and 0 < result.agreement.maps < 1e-4
    found = ExportedModel(result.path)(check_images(2, (64, 96)).numpy())
    shapes = {name: value.shape for name, value in found.items()}
    assert shapes == dict(stride_8=(2, 48, 8, 12), stride_16=(2, 96, 4, 6), stride_32=(2, 192, 2, 3))
