"""The export of a RetinaNet, and what takes the exported file in place of a checkpoint."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image

from econvnext_mmdet.benchmarks.exported_files import compare_files, file_table
from econvnext_mmdet.deploy import run_onnx
from econvnext_mmdet.deploy.agreement import check_images
from econvnext_mmdet.deploy.export import ExportOptions, export, load_model
from econvnext_mmdet.deploy.export import tested_size as size_in_tests
from econvnext_mmdet.deploy.images import load_images
from econvnext_mmdet.deploy.predictors import ExportedClassifier, ExportedDetector, use_exported
from econvnext_mmdet.deploy.runtime import ExportedModel
from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.inference.detection import DetectionOptions, detect
from econvnext_mmdet.utils.config import tested_dataset as dataset_of_tests
from econvnext_mmdet.utils.errors import UserError

from ..helpers import HIDE, ROOT

pytestmark = pytest.mark.deploy
WITHOUT = (
    HIDE
    + """
import runpy
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name='__main__')
"""
)


@pytest.fixture(scope='module')
def retinanet(built, exported):
    return built('retinanet'), exported('retinanet').path


def test_the_file_has_dynamic_sizes_standard_operators_and_no_path(retinanet):
    _, path = retinanet
    model = onnx.load(path)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == dict(
        images=['batch', 3, 'height', 'width'],
        boxes=['batch', 'detections', 4],
        scores=['batch', 'detections'],
        labels=['batch', 'detections'],
        num_dets=['batch'],
    )
    assert {(item.domain, item.version) for item in model.opset_import} == {('', 20)}
    assert {node.domain for node in model.graph.node} == {''} and not model.functions
    # The neck reads the backbone's last map twice, so one output norm stays.
    assert [node.op_type for node in model.graph.node].count('BatchNormalization') == 1
    assert str(ROOT).encode() not in Path(path).read_bytes() and b'site-packages' not in Path(path).read_bytes()


def test_the_metadata_are_those_of_the_config(retinanet):
    metadata = ExportedModel(retinanet[1]).metadata
    assert (metadata.task, metadata.names) == ('detect', ('circle', 'square', 'triangle', 'star'))
    assert (metadata.imgsz, metadata.resize, metadata.interpolation) == ((96, 96), 'fit', 'area')
    assert metadata.stride == 32
    assert metadata.mean == pytest.approx((123.675, 116.28, 103.53)) and metadata.channels_inside == 'RGB'
    (names,) = (item.value for item in onnx.load(retinanet[1]).metadata_props if item.key == 'names')
    assert json.loads(names) == {'0': 'circle', '1': 'square', '2': 'triangle', '3': 'star'}


def test_floats_give_the_detections_of_bytes(retinanet):
    model = ExportedModel(retinanet[1])
    images = check_images(2, (64, 96)).numpy()
    for key, value in model(images).items():
        np.testing.assert_array_equal(value, model(images.astype(np.float32))[key])


@pytest.mark.parametrize('shape', [(1, 3, 31, 64), (1, 3, 64, 8), (3, 64, 64), (1, 1, 64, 64)])
def test_images_of_a_wrong_shape_are_an_error(retinanet, shape):
    with pytest.raises(UserError, match='at least 32 pixels in height and width; got the shape'):
        ExportedModel(retinanet[1])(np.zeros(shape, np.uint8))


def test_testing_an_exported_file_gives_the_metrics_of_the_checkpoint(retinanet, tmp_path):
    detector, path = retinanet
    expected, found = (run_test(detector.cfg.copy(), file) for file in (detector.checkpoint, path))
    assert found == pytest.approx(expected, abs=1e-4)
    with pytest.raises(UserError, match='--tta needs a checkpoint of PyTorch'):
        run_test(detector.cfg.copy(), path, tta=True)


def test_long_images_give_the_detections_of_the_checkpoint(retinanet, tmp_path):
    """The test pipeline makes their short sides smaller than a stride. The file pads them."""
    detector, path = retinanet
    image = np.random.default_rng(0).integers(0, 256, (40, 600, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'long.png'), image)
    results = []
    for name, file in (('pytorch', detector.checkpoint), ('exported', path)):
        out = tmp_path / name
        options = DetectionOptions(out=str(out), pictures=False, score_thr=0.0)
        detect(detector.cfg.copy(), file, [str(tmp_path / 'long.png')], options)
        results.append(json.loads((out / 'results.json').read_text()))
    expected, found = ([(entry['score'], *entry['bbox']) for entry in entries] for entries in results)
    assert len(expected) > 0 and np.array(found) == pytest.approx(np.array(expected), abs=1e-2)


def test_the_config_of_another_model_is_an_error(built, retinanet):
    _, path = retinanet
    says = (
        r'net.onnx has 4 classes \(circle, square, triangle, ...\), and the model of the config has 3. Give the config'
    )
    with pytest.raises(UserError, match=says):
        ExportedDetector(path, num_classes=3)
    for kind, task in (('mask_rcnn', 'segment'), ('classifier', 'classify')):
        cfg = copy.deepcopy(built(kind).cfg)
        use_exported(cfg, path)
        settings = dict(cfg.model)
        predictor = {'ExportedDetector': ExportedDetector, 'ExportedClassifier': ExportedClassifier}[
            settings.pop('type')
        ]
        with pytest.raises(UserError, match=f'was exported for the task detect; expected {task}. Give the config'):
            predictor(**settings)


def test_other_settings_than_those_of_the_file_are_an_error(retinanet):
    detector, path = retinanet
    cfg = copy.deepcopy(detector.cfg)
    cfg.model.test_cfg.score_thr = 0.45
    with pytest.raises(UserError, match=r'score_thr=0\.3, and the config has model\.test_cfg\.score_thr=0\.45'):
        run_test(cfg, path)


def test_detection_with_an_exported_file_needs_no_operators_of_mmcv(retinanet, shapes, tmp_path):
    detector, path = retinanet
    detector.cfg.dump(str(tmp_path / 'config.py'))
    inputs = str(shapes / 'val')
    detect(detector.cfg.copy(), detector.checkpoint, [inputs], DetectionOptions(out=str(tmp_path / 'checkpoint')))
    argv = [
        str(ROOT / 'tools/infer.py'),
        str(tmp_path / 'config.py'),
        path,
        inputs,
        '--out',
        str(tmp_path / 'exported'),
    ]
    code = WITHOUT.format(absent=['mmcv._ext'], argv=argv)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    expected, found = (
        json.loads((tmp_path / name / 'results.json').read_text()) for name in ('checkpoint', 'exported')
    )
    assert len(found) == len(expected) > 20
    key = lambda entry: (entry['image_id'], -round(entry['score'], 4), entry['category_id'], entry['bbox'][0])  # noqa: E731
    for ours, theirs in zip(sorted(found, key=key), sorted(expected, key=key)):
        assert ours['score'] == pytest.approx(theirs['score'], abs=1e-4)
        assert ours['bbox'] == pytest.approx(theirs['bbox'], abs=1e-2)
    assert len(list((tmp_path / 'exported' / 'pictures').iterdir())) == 6


def test_an_operator_that_is_missing_is_an_error_in_words(retinanet, shapes, tmp_path):
    detector, _ = retinanet
    detector.cfg.dump(str(tmp_path / 'config.py'))
    argv = [str(ROOT / 'tools/infer.py'), str(tmp_path / 'config.py'), detector.checkpoint, str(shapes / 'val')]
    code = WITHOUT.format(absent=['mmcv._ext'], argv=argv)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert 'error: this needs the operator nms of MMCV, and MMCV is installed without its operators' in done.stderr


def test_the_script_for_devices_needs_no_torch_and_gives_the_same_boxes(retinanet, shapes, tmp_path):
    detector, path = retinanet
    image = str(shapes / 'val' / '000000.jpg')
    code = WITHOUT.format(
        absent=['torch', 'torchvision', 'mmcv', 'mmdet', 'mmengine', 'econvnext_mmdet'],
        argv=[run_onnx.__file__, path, image],
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix(f'{image} ').split() for line in done.stdout.splitlines()]
    detect(detector.cfg.copy(), path, [image], DetectionOptions(out=str(tmp_path / 'out'), pictures=False))
    expected = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert len(lines) == len(expected) > 0
    for (name, score, *box), entry in zip(lines, expected):
        assert name == detector.classes[entry['category_id'] - 1]
        x, y, w, h = entry['bbox']
        assert float(score) == pytest.approx(entry['score'], abs=1e-3)
        assert [float(value) for value in box] == pytest.approx([x, y, x + w, y + h], abs=0.1)
    assert len(Path(run_onnx.__file__).read_text().splitlines()) <= 100


def test_the_script_for_devices_names_unreadable_files(retinanet, shapes, tmp_path):
    def run(*arguments):
        command = [sys.executable, run_onnx.__file__, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    (tmp_path / 'broken.onnx').write_bytes(b'no model')
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    image = shapes / 'val' / '000000.jpg'
    (tmp_path / 'cut.jpg').write_bytes(image.read_bytes()[:-500])
    page = Image.open(image)
    page.save(tmp_path / 'pages.tif', save_all=True, append_images=[page])
    done = run('broken.onnx', image)
    assert done.returncode == 1 and done.stderr.startswith('error: cannot open broken.onnx: ')
    done = run(retinanet[1], 'broken.jpg', 'cut.jpg', 'pages.tif', image)
    assert done.returncode == 1
    # libjpeg may warn beside the errors.
    broken, cut, pages = (line for line in done.stderr.splitlines() if line.startswith('error'))
    assert broken == 'error: broken.jpg: ValueError: not a readable image'
    assert cut.startswith('error: cut.jpg: ')
    assert pages == 'error: pages.tif: ValueError: it has 2 pages; use a file with one'
    name = os.fsencode(tmp_path / 'a') + b'\xff.jpg'
    Path(os.fsdecode(name)).write_bytes(image.read_bytes())
    command = [sys.executable, run_onnx.__file__, str(retinanet[1]), name]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert done.stdout.startswith(str(image))


@pytest.mark.parametrize(
    'steps',
    [
        [dict(type='Resize', scale=(96, 128), keep_ratio=True)],
        [dict(type='Resize', scale=(128, 96))],
        [dict(type='Resize', scale=(128, 96), backend='pillow', interpolation='bicubic')],
        [dict(type='ResizeEdge', scale=100), dict(type='CenterCrop', crop_size=96)],
        [
            dict(type='ResizeEdge', scale=100, edge='short', backend='pillow', interpolation='bicubic'),
            dict(type='CenterCrop', crop_size=(97, 96)),
        ],
    ],
)
@pytest.mark.parametrize('shape', [(480, 640), (641, 480), (167, 251), (50, 77)])
def test_the_script_for_devices_makes_the_pixels_of_the_test_pipeline(built, tmp_path, steps, shape):
    kind = 'classifier' if steps[0]['type'] == 'ResizeEdge' else 'retinanet'
    cfg = copy.deepcopy(built(kind).cfg)
    pipeline = dataset_of_tests(cfg).pipeline
    resizing = [step for step in pipeline if 'Resize' in step['type'] or 'Crop' in step['type']]
    place = pipeline.index(resizing[0])
    dataset_of_tests(cfg).pipeline = [*pipeline[:place], *steps, *pipeline[place + len(resizing) :]]
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    (expected,) = load_images(cfg, [str(tmp_path / 'image.png')])
    resized = run_onnx.resize(image, size_in_tests(cfg))
    np.testing.assert_array_equal(resized.transpose(2, 0, 1), expected)


@pytest.mark.parametrize(
    'options, says',
    [
        (dict(format='tflite'), "expected the format onnx or openvino; got 'tflite'"),
        (dict(opset=17), 'expected an opset from 18 to 23; got 17'),
        (dict(out='net.pb'), 'expected the file extension .onnx for --out; got net.pb'),
        (dict(format='openvino', out='net.onnx'), "expected a folder in --out for OpenVINO's format; got net.onnx"),
    ],
)
def test_wrong_options_are_an_error(options, says):
    with pytest.raises(UserError, match=says):
        ExportOptions(**options)


def test_wrong_input_leaves_no_file(built, tmp_path):
    detector = built('retinanet')
    out = str(tmp_path / 'net.onnx')
    with pytest.raises(UserError, match='net.pth does not fit this ImageClassifier'):
        export(built('classifier').cfg, detector.checkpoint, ExportOptions(out=out))
    with pytest.raises(UserError, match='no checkpoint file'):
        export(detector.cfg, 'none.pth', ExportOptions(out=out))
    with pytest.raises(UserError, match='exists already. Remove it or choose another'):
        export(detector.cfg, detector.checkpoint, ExportOptions(format='openvino', out=str(tmp_path)))
    cfg = copy.deepcopy(detector.cfg)
    cfg.model.test_cfg.nms.type = 'soft_nms'
    with pytest.raises(UserError, match="cannot export model.test_cfg.nms of the type soft_nms; expected type='nms'"):
        export(cfg, detector.checkpoint, ExportOptions(out=out))
    assert not list(tmp_path.iterdir())


def test_an_exported_file_cannot_be_trained_or_used_as_a_checkpoint(retinanet, tmp_path):
    detector, path = retinanet
    with pytest.raises(UserError, match='net.onnx'):
        load_model(detector.cfg, path)
    with pytest.raises(UserError, match='net.onnx is an exported file already. Give the checkpoint'):
        export(detector.cfg, path, ExportOptions(out=str(tmp_path / 'again.onnx')))


@pytest.mark.parametrize('damage', ['truncated', 'foreign', 'other'])
def test_a_file_that_is_no_export_is_an_error(retinanet, tmp_path, damage):
    content = Path(retinanet[1]).read_bytes()
    path = tmp_path / 'net.onnx'
    if damage == 'truncated':
        path.write_bytes(content[: len(content) // 2])
        says = 'cannot open .*net.onnx: .*The file is damaged'
    elif damage == 'foreign':
        model = onnx.load_from_string(content)
        del model.metadata_props[:]
        path.write_bytes(model.SerializeToString())
        says = 'net.onnx was not written by tools/export.py: expected the producer econvnext_mmdet'
    else:
        cv2.imwrite(str(tmp_path / 'net.png'), np.zeros((8, 8, 3), np.uint8))
        (tmp_path / 'net.png').rename(path)
        says = 'cannot open .*net.onnx: .*The file is damaged'
    with pytest.raises(UserError, match=says):
        ExportedModel(str(path))
    with pytest.raises(UserError, match='no exported file'):
        ExportedModel(str(tmp_path / 'none.onnx'))


def test_the_comparison_of_files_has_accuracy_size_and_time_of_each(retinanet, capsys):
    detector, path = retinanet
    results = compare_files(detector.cfg.copy(), detector.checkpoint, [path], images=3, threads=1)
    assert [(result.runtime, result.weights) for result in results] == [
        ('PyTorch', 'float32'),
        ('ONNX Runtime', 'float32'),
    ]
    expected = run_test(detector.cfg.copy(), detector.checkpoint)['coco/bbox_mAP']
    for result in results:
        assert result.metrics == {'coco/bbox_mAP': pytest.approx(expected, abs=1e-4)}
        assert len(result.times) == 3 and min(result.times) > 0
        assert result.size == Path(result.file).stat().st_size
    lines = file_table(results).splitlines()
    assert lines[0] == '| runtime | weights | box AP | MiB | ms per image |' and len(lines) == 4
    assert f'| {expected:.4f} |' in lines[2]
    with pytest.raises(UserError, match='is no exported file: expected an .onnx file'):
        compare_files(detector.cfg.copy(), detector.checkpoint, [detector.checkpoint])
