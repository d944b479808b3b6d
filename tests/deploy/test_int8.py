"""Quantisation to int8: what is quantised, what stays in float32, and which images may calibrate it."""

import cv2
import numpy as np
import onnx
import openvino as ov
import pytest

from econvnext_mmdet.datasets.shapes import make_shapes
from econvnext_mmdet.deploy.export import ExportOptions, export
from econvnext_mmdet.deploy.images import load_images
from econvnext_mmdet.deploy.int8 import _attention, calibration_paths, quantize_onnx, quantize_openvino
from econvnext_mmdet.deploy.runtime import ExportedModel
from econvnext_mmdet.engine.exporting import accuracy
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.errors import UserError

from ..integration.test_detector_training import narrow

# The narrow backbone has 1, 1, 3 and 1 blocks in its stages. Each block has channel attention, and so has each stage.
ATTENTION = 6 + 4


@pytest.mark.parametrize('meets', ['Mul', 'Add', 'Concat'])
def test_attention_ends_where_a_map_comes_in_again(meets):
    nodes = [
        ('stem', 'Conv', ['images', 'weight'], ['map']),
        ('mean', 'ReduceMean', ['map'], ['pooled']),
        ('squeeze', 'Conv', ['pooled', 'weight', 'bias'], ['squeezed']),
        ('gate', 'HardSigmoid', ['squeezed'], ['gated']),
        ('size', 'Shape', ['map'], ['shape']),
        ('expand', 'Expand', ['gated', 'shape'], ['expanded']),
        ('meet', meets, ['expanded', 'map'], ['joined']),
        ('next', 'Conv', ['joined', 'weight'], ['output']),
    ]
    assert _attention(nodes, ['images']) == {'mean', 'squeeze', 'gate', 'expand', 'meet'}


@pytest.fixture(scope='module')
def images(built, shapes):
    cfg = built('retinanet').cfg
    return list(load_images(cfg, calibration_paths(cfg, str(shapes / 'train'))))


def consumers(graph, name):
    return [node for node in graph.node if name in node.input]


@pytest.mark.deploy
def test_onnx_convolutions_are_quantised_and_the_rest_stays_in_float(built, exported, images, tmp_path):
    result = exported('retinanet')
    model = onnx.load(result.path)
    metadata = {**{item.key: item.value for item in model.metadata_props}, 'weights': 'int8'}
    quantized = quantize_onnx(model, images, metadata)
    made_by = {output: node for node in quantized.graph.node for output in node.output}
    of_maps, in_float = [], []
    for node in quantized.graph.node:
        if node.op_type == 'Conv':
            quantised = made_by[node.input[0]].op_type == 'DequantizeLinear'
            assert quantised == (node.input[1] in made_by and made_by[node.input[1]].op_type == 'DequantizeLinear')
            (of_maps if quantised else in_float).append(node)
        if node.op_type == 'QuantizeLinear':
            assert {user.op_type for user in consumers(quantized.graph, node.output[0])} == {'DequantizeLinear'}
    last = [node for node in in_float if made_by[node.input[0]].op_type != 'ReduceMean']
    assert len(in_float) - len(last) == ATTENTION and len(of_maps) > 50
    # The layers that predict scores and boxes, on each level of the pyramid.
    settings = built('retinanet').cfg.model
    anchors = 9
    shapes = {item.name: list(item.dims) for item in quantized.graph.initializer}
    assert sorted(shapes[node.input[1]][0] for node in last) == sorted(
        [anchors * settings.bbox_head.num_classes, anchors * 4] * settings.neck.num_outs
    )
    assert {(item.domain, item.version) for item in quantized.opset_import} == {('', 20)}
    path = tmp_path / 'int8.onnx'
    onnx.save(quantized, path)
    exported_again = ExportedModel(str(path))
    assert exported_again.metadata.weights == 'int8' and exported_again.dynamic
    assert path.stat().st_size < 0.6 * result.size


@pytest.mark.deploy
@pytest.mark.parametrize('kind', ['retinanet', 'mask_rcnn'])
def test_openvinos_post_processing_and_attention_stay_in_float(exported, images, kind):
    model = quantize_openvino(ov.Core().read_model(exported(kind).path), images)
    quantised, float_convolutions = set(), 0
    for node in model.get_ordered_ops():
        types = [port.get_source_output().get_node().get_type_name() for port in node.inputs()]
        if 'FakeQuantize' in types:
            quantised.add(node.get_type_name())
        if node.get_type_name() == 'Convolution':
            float_convolutions += types[1] == 'Constant'  # int8 weights are converted first
    assert 'Convolution' in quantised
    assert not quantised & {'Sigmoid', 'Exp', 'TopK', 'GatherElements', 'NonMaxSuppression', 'Clamp', 'HSigmoid'}
    assert float_convolutions == ATTENTION


@pytest.mark.parametrize('number, says', [(0, 'found 0'), (9, 'found 9'), (10, None)])
def test_calibration_needs_ten_images(built, tmp_path, number, says):
    (tmp_path / 'notes.txt').write_text('no image')
    for i in range(number):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.zeros((40, 40, 3), np.uint8))
    cfg = built('retinanet').cfg
    if says is None:
        assert len(calibration_paths(cfg, str(tmp_path))) == number
    else:
        with pytest.raises(UserError, match=f'at least 10 images for calibration, better 100 or more; {says} in '):
            calibration_paths(cfg, str(tmp_path))


def test_wrong_calibration_is_an_error_before_the_export(built, tmp_path):
    detector, out = built('retinanet'), str(tmp_path / 'net.onnx')
    for calibration, says in (
        (str(tmp_path / 'none'), 'no folder .*none for --calibration'),
        (str(tmp_path), 'at least 10 images for calibration'),
    ):
        with pytest.raises(UserError, match=says):
            export(detector.cfg, 'none.pth', ExportOptions(out=out, int8=True, calibration=calibration))
    cfg = detector.cfg.copy()
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    with pytest.raises(UserError, match='cannot read the train set(.|\n)*a folder of images to --calibration'):
        export(cfg, 'none.pth', ExportOptions(out=out, int8=True))
    assert not list(tmp_path.iterdir())


def test_options_that_exclude_each_other_are_an_error():
    with pytest.raises(UserError, match='--half and --int8 exclude each other'):
        ExportOptions(half=True, int8=True)
    with pytest.raises(UserError, match='--calibration has an effect only with --int8'):
        ExportOptions(calibration='data')


def test_an_unreadable_calibration_image_leaves_no_file(built, shapes, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for path in (shapes / 'train').iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / '000003.jpg').write_bytes(b'broken')
    detector = built('retinanet')
    options = ExportOptions(out=str(tmp_path / 'net.onnx'), int8=True, calibration=str(folder))
    with pytest.raises(UserError, match='cannot load the image .*000003.jpg'):
        export(detector.cfg, detector.checkpoint, options)
    assert [path.name for path in tmp_path.iterdir()] == ['images']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A narrow PP-YOLOE that knows its 16 images by heart: its config and its checkpoint."""
    folder = tmp_path_factory.mktemp('trained')
    make_shapes(str(folder / 'data'), num_train=16, num_val=1, size=(96, 96), seed=3)
    options = {'optim_wrapper.optimizer.lr': 3e-3, 'param_scheduler.0.end': 20, 'param_scheduler.1.end': 80}
    options['model.train_cfg.initial_epoch'] = 26
    cfg = narrow('ppyoloe', folder / 'data', folder / 'work', 80, folder='train', **options)
    train(cfg.copy())
    return cfg, str(folder / 'work' / 'epoch_80.pth')


@pytest.mark.deploy
@pytest.mark.parametrize('kind', ['onnx', 'openvino'])
def test_a_trained_detector_keeps_its_accuracy_in_int8(trained, tmp_path, kind):
    cfg, checkpoint = trained
    said = []
    out = str(tmp_path / ('net.onnx' if kind == 'onnx' else 'net'))
    result = export(cfg, checkpoint, ExportOptions(format=kind, out=out, int8=True, threads=1), said.append)
    assert result.metadata.weights == 'int8'
    assert 'reading 16 images for the calibration, fewer than 100: the file may lose accuracy' in said[0]
    before, after = (accuracy(cfg, file, cfg)['coco/bbox_mAP'] for file in (checkpoint, out))
    assert before > 0.9 and after > before - 0.03


@pytest.mark.deploy
@pytest.mark.parametrize('kind', ['mask_rcnn', 'classifier'])
def test_other_kinds_can_be_quantised(built, shapes, tmp_path, kind):
    options = ExportOptions(
        format='openvino', out=str(tmp_path / 'net'), int8=True, calibration=str(shapes / 'train'), threads=1
    )
    result = export(built(kind).cfg, built(kind).checkpoint, options)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 130), dtype=np.uint8)
    outputs = ExportedModel(result.path)(images)
    assert outputs['scores'].shape[0] == 2 and result.metadata.weights == 'int8'
    assert all(np.isfinite(values).all() for values in outputs.values())
    if kind == 'mask_rcnn':
        found = outputs['masks'][outputs['labels'] >= 0]
        assert len(found) > 1 and found.std(0).max() > 0.01  # each detection has a mask of its own
