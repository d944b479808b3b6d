"""Files that name this package as their producer, and are none that it exports: one sentence, and no results."""

import io
import json
import os
import re
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmengine.registry import init_default_scope
from onnx import TensorProto, helper, numpy_helper

from econvnext_mmdet.deploy import run_onnx
from econvnext_mmdet.deploy.libraries import library
from econvnext_mmdet.deploy.metadata import Metadata
from econvnext_mmdet.deploy.predictors import ExportedDetector
from econvnext_mmdet.deploy.runtime import ExportedModel
from econvnext_mmdet.utils.errors import UserError

METADATA = Metadata(
    task='detect',
    names=('circle', 'square', 'triangle', 'star'),
    imgsz=(96, 96),
    resize='fit',
    short_side=None,
    interpolation='area',
    backend='cv2',
    stride=32,
    mean=(),
    std=(),
    channels_inside='RGB',
).to_text()
# The outputs for one image. The last place has no detection.
OUTPUTS = dict(
    boxes=np.array([[[10, 10, 90, 90], [20, 20, 60, 60], [0, 0, 0, 0]]], np.float32),
    scores=np.array([[0.9, 0.5, 0.0]], np.float32),
    labels=np.array([[1, 3, -1]]),
    num_dets=np.array([2]),
)
IMAGES = np.zeros((2, 3, 96, 96), np.uint8)
KINDS = dict(uint8=TensorProto.UINT8, float=TensorProto.FLOAT, int64=TensorProto.INT64, string=TensorProto.STRING)


def make_onnx(outputs=OUTPUTS, metadata=METADATA, kind='uint8', size=('batch', 3, 'height', 'width'), more=()):
    """An ONNX model that gives the same outputs for every image."""
    inputs = [helper.make_tensor_value_info(name, KINDS[kind], size) for name in ('images', *more)]
    nodes = [helper.make_node('Shape', ['images'], ['number'], start=0, end=1)]
    constants, results = [], []
    for name, value in outputs.items():
        constants += [
            numpy_helper.from_array(value, f'{name}_of_one'),
            numpy_helper.from_array(np.ones(value.ndim - 1, np.int64), f'{name}_once'),
        ]
        nodes += [
            helper.make_node('Concat', ['number', f'{name}_once'], [f'{name}_times'], axis=0),
            helper.make_node('Tile', [f'{name}_of_one', f'{name}_times'], [name]),
        ]
        results.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None))
    graph = helper.make_graph(nodes, 'graph', inputs, results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)
    helper.set_model_props(model, metadata)
    return model


def run(path, **changes):
    onnx.save(make_onnx(**changes), path)
    return ExportedModel(str(path))(IMAGES)


def changed(**changes):
    """The outputs with some of them in another form. None leaves one out."""
    return {name: value for name, value in {**OUTPUTS, **changes}.items() if value is not None}


def with_value(name, value):
    """The outputs with another first value, and of a type that holds it."""
    values = OUTPUTS[name].astype(np.result_type(OUTPUTS[name], np.array(value).dtype.type(0)))
    values[(0,) * values.ndim] = value
    return {**OUTPUTS, name: values}


def test_outputs_of_the_right_form_are_accepted(tmp_path):
    found = run(tmp_path / 'net.onnx')
    assert {name: value.shape for name, value in found.items()} == dict(
        boxes=(2, 3, 4), scores=(2, 3), labels=(2, 3), num_dets=(2,)
    )


@pytest.mark.parametrize(
    'changes, says',
    [
        (dict(kind='int64'), r'has the inputs tensor\(int64\) \(.batch., 3, .height., .width.\)'),
        (dict(kind='string'), r'has the inputs tensor\(string\)'),
        (dict(size=('batch', 1, 'height', 'width')), 'one of images'),
        (dict(size=('batch', 3)), 'one of images'),
        (dict(more=['second']), 'one of images'),
        (dict(size=(2, 3, 96, 64)), r'takes only images of the shape \(2, 3, 96, 64\); got \(2, 3, 96, 96\)'),
        (dict(outputs=changed(boxes=None)), 'has the outputs scores, labels, num_dets, and boxes, scores, labels'),
        (dict(outputs=changed(masks=OUTPUTS['boxes'])), 'num_dets, masks, and boxes, scores'),
        (dict(outputs=changed(boxes=np.zeros((1, 3, 5), np.float32))), r'gives boxes of the shape \(2, 3, 5\)'),
        (dict(outputs=changed(boxes=np.zeros((1, 4), np.float32))), r'gives boxes of the shape \(2, 4\)'),
        (dict(outputs=changed(scores=np.zeros((1, 1), np.float32))), r'the shape \(2, 1, 4\) and the type floating'),
        (dict(outputs=changed(scores=np.zeros(1, np.float32))), r'gives .* the shape'),
        (dict(outputs=with_value('labels', 1.5)), 'labels of .* float64, and .* the type integer'),
        (dict(outputs=with_value('labels', 99)), 'gives labels such as 99, and labels from 0 to 3'),
        (dict(outputs=with_value('labels', -1)), 'gives labels such as -1'),
        (dict(outputs=with_value('num_dets', 99)), 'gives num_dets such as 99, and numbers from 0 to 3'),
        (dict(outputs=with_value('num_dets', -1)), 'gives num_dets such as -1'),
        (dict(outputs=with_value('num_dets', np.nan)), 'num_dets of .* float64'),
        (dict(outputs=with_value('scores', np.nan)), 'gives scores such as nan, and finite numbers'),
        (dict(outputs=with_value('scores', 5)), r'gives scores such as 5\.0, and numbers from 0 to 1'),
        (dict(outputs=with_value('boxes', np.nan)), 'gives boxes such as .*nan'),
        (dict(outputs=with_value('boxes', -np.inf)), 'gives boxes such as -inf'),
        (dict(outputs=with_value('boxes', 95)), 'gives boxes such as .*, and x1 <= x2 and y1 <= y2'),
        (dict(outputs={}), 'has the outputs none'),
    ],
)
def test_a_graph_of_another_kind_is_an_error(changes, says, tmp_path):
    with pytest.raises(UserError, match=says) as caught:
        run(tmp_path / 'net.onnx', **changes)
    assert 'net.onnx' in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'task, outputs, says',
    [
        ('segment', changed(masks=np.full((1, 3, 2, 2), 2, np.float32)), 'masks such as 2.0, and numbers from 0 to 1'),
        ('segment', changed(masks=np.zeros((1, 2, 2, 2), np.float32)), r'masks of the shape \(2, 2, 2, 2\)'),
        ('classify', dict(scores=np.zeros((1, 3), np.float32)), r'scores of the shape \(2, 3\)'),
        ('classify', dict(scores=np.full((1, 4), np.nan, np.float32)), 'scores such as nan'),
        ('features', dict(maps=np.zeros((1, 2, 3, 3), np.float32)), 'has the outputs maps, and stride_8 were expected'),
        ('features', dict(stride_8=np.full((1, 2, 3, 3), np.inf, np.float32)), 'stride_8 such as inf'),
    ],
)
def test_each_task_has_its_own_outputs(task, outputs, says, tmp_path):
    metadata = {**METADATA, 'task': task}
    if task == 'features':
        metadata['names'] = '{}'
    if task == 'segment':
        metadata['mask_threshold'] = '0.5'
    with pytest.raises(UserError, match=says):
        run(tmp_path / 'net.onnx', outputs=outputs, metadata=metadata)


def test_the_files_of_openvino_are_checked_too(tmp_path):
    ov = library('openvino')
    for name, changes in (
        ('right', {}),
        ('input', dict(kind='int64')),
        ('label', dict(outputs=with_value('labels', 9))),
    ):
        onnx.save(make_onnx(**changes), tmp_path / 'net.onnx')
        model = ov.Core().read_model(tmp_path / 'net.onnx')
        for key, value in METADATA.items():
            model.set_rt_info(value, ['model_info', key])
        ov.save_model(model, tmp_path / name / 'model.xml')
    assert ExportedModel(str(tmp_path / 'right'))(IMAGES)['labels'].tolist()[0] == [1, 3, -1]
    with pytest.raises(UserError, match='input is not as it was exported: it has the inputs i64'):
        ExportedModel(str(tmp_path / 'input'))
    with pytest.raises(UserError, match='label is not as it was exported: it gives labels such as 9'):
        ExportedModel(str(tmp_path / 'label'))(IMAGES)
    (tmp_path / 'right' / 'model.bin').unlink()
    os.mkfifo(tmp_path / 'right' / 'model.bin')
    with pytest.raises(UserError, match='model.bin is a device or a pipe'):
        ExportedModel(str(tmp_path / 'right'))
    (tmp_path / 'empty.xml').write_text('<net name="m" version="11"><layers></layers><edges></edges></net>')
    with pytest.raises(UserError, match='empty.xml'):
        ExportedModel(str(tmp_path / 'empty.xml'))


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that runs the script for devices on a model and an image, and returns its status and its output."""

    def run_script(image, **changes):
        onnx.save(make_onnx(**changes), tmp_path / 'net.onnx')
        cv2.imwrite(str(tmp_path / 'image.png'), image)
        monkeypatch.setattr('sys.argv', ['run_onnx.py', str(tmp_path / 'net.onnx'), str(tmp_path / 'image.png')])
        monkeypatch.setattr('sys.stdout', io.TextIOWrapper(io.BytesIO(), encoding='utf-8'))
        with pytest.raises(SystemExit) as ended:
            run_onnx.main()
        sys.stdout.flush()
        return ended.value.code, sys.stdout.buffer.getvalue().decode()

    return run_script


IMAGE = np.zeros((96, 96, 3), np.uint8)
THIN = np.zeros((1, 1000, 3), np.uint8)
CLASSIFIER = {**METADATA, 'task': 'classify'}


def test_the_script_for_devices_prints_what_a_file_of_the_right_form_finds(script):
    status, out = script(IMAGE)
    assert status == 0 and [line.split()[1:] for line in out.splitlines()] == [
        ['square', '0.900', '10.0', '10.0', '90.0', '90.0'],
        ['star', '0.500', '20.0', '20.0', '60.0', '60.0'],
    ]
    scores = np.array([[0.1, 0.2, 0.6, 0.1]], np.float32)
    status, out = script(IMAGE, outputs=dict(scores=scores), metadata=CLASSIFIER)
    assert status == 0 and out.split()[1:] == ['triangle', '0.600']


def test_a_name_cannot_add_a_line_to_the_output_of_the_script(script):
    names = METADATA['names'].replace('square', r'a.png cat 1.000\nb.png \u001b[2J')
    status, out = script(IMAGE, metadata={**METADATA, 'names': names})
    assert status == 0 and len(out.splitlines()) == 2 and r"'a.png cat 1.000\nb.png \x1b[2J' 0.900" in out


@pytest.mark.parametrize(
    'image, changes, says',
    [
        (THIN, {}, 'image.png: ValueError: 1000 x 1 pixels are too thin to be resized to 96 x 0'),
        (IMAGE, dict(metadata={**METADATA, 'names': 'null'}), 'image.png: TypeError'),
        (IMAGE, dict(metadata={**METADATA, 'names': '[' * 100_000}), 'cannot open .*net.onnx: RecursionError'),
        (IMAGE, dict(metadata={**METADATA, 'imgsz': '[-1, -1]'}), 'cannot open .*net.onnx: ValueError'),
        (IMAGE, dict(metadata={**METADATA, 'imgsz': '[1000000, 96]'}), r'it cannot fit images to \[1000000, 96\]'),
        (IMAGE, dict(metadata={**METADATA, 'resize': 'shear'}), r'it cannot shear images to \[96, 96\]'),
        (IMAGE, dict(metadata={'producer': METADATA['producer']}), "cannot open .*net.onnx: KeyError: 'task'"),
        (IMAGE, dict(size=('batch', 1, 'height', 'width')), 'image.png: InvalidArgument'),
        (IMAGE, dict(outputs=changed(boxes=None)), "image.png: KeyError: 'boxes'"),
        (IMAGE, dict(outputs=changed(boxes=np.zeros((1, 3, 5), np.float32))), 'gives other outputs than'),
        (IMAGE, dict(outputs=with_value('num_dets', 99)), 'gives other outputs than'),
        (IMAGE, dict(outputs=with_value('num_dets', -1)), 'gives other outputs than'),
        (IMAGE, dict(outputs=with_value('num_dets', 1.5)), 'image.png: TypeError'),
        (IMAGE, dict(outputs=with_value('labels', 99)), "image.png: KeyError: '99'"),
        (IMAGE, dict(outputs=with_value('scores', np.nan)), 'gives other outputs than'),
        (IMAGE, dict(outputs=with_value('boxes', np.nan)), 'gives other outputs than'),
        (IMAGE, dict(outputs=with_value('boxes', 95)), 'gives other outputs than'),
        (IMAGE, dict(outputs=dict(scores=np.zeros((1, 3), np.float32)), metadata=CLASSIFIER), 'gives other outputs'),
    ],
)
def test_the_script_for_devices_refuses_a_graph_of_another_kind(image, changes, says, script):
    status, out = script(image, **changes)
    assert re.search(says, status) and status.startswith('error: ') and '\n' not in status and not out


def test_a_detector_can_be_opened_after_a_classifier(tmp_path):
    onnx.save(make_onnx(), tmp_path / 'net.onnx')
    init_default_scope('mmpretrain')
    found = ExportedDetector(str(tmp_path / 'net.onnx'))([torch.zeros(3, 96, 96, dtype=torch.uint8)])
    assert found[0].pred_instances.labels.tolist() == [1, 3]
    init_default_scope('mmdet')


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'net.onnx')
    with pytest.raises(UserError, match='net.onnx is a device or a pipe'):
        ExportedModel(str(tmp_path / 'net.onnx'))


@pytest.mark.parametrize(
    'key, text, says',
    [
        ('task', 'xyz', "task is 'xyz', and detect or segment or classify or features was expected"),
        ('names', '{"0": 1, "1": 2}', 'names is .* a readable name for each class'),
        ('names', '{"0": ["a"], "1": ["b"]}', 'names is'),
        ('names', '{"0": "a", "1": "a"}', 'names is .* a different name for each class'),
        ('names', '["a", "b"]', 'incomplete metadata'),
        ('names', '{}', 'names is'),
        ('names', '[' * 100_000, 'nested too deep'),
        ('imgsz', 'null', 'incomplete metadata'),
        ('imgsz', '[-1, 96]', 'imgsz is .*, and a height and a width in pixels was expected'),
        ('imgsz', '"ab"', 'imgsz is'),
        ('imgsz', '[96, 1000000000]', 'imgsz is'),
        ('stride', '1000000000', 'stride is'),
        ('imgsz', '[96]', 'imgsz is'),
        ('resize', 'shear', 'resize is'),
        ('short_side', '96', 'short_side is'),
        ('interpolation', 'box', "interpolation is 'box', and an interpolation of cv2"),
        ('backend', 'gpu', 'backend is'),
        ('stride', '0', 'stride is'),
        ('stride', '"a"', 'stride is'),
        ('stride', 'true', 'stride is'),
        ('mean', '[1, 2]', 'mean is'),
        ('mean', '[NaN]', 'mean is'),
        ('std', '[1, 1, 0]', 'std is'),
        ('channels', 'RGB', 'channels is'),
        ('channels_inside', 'gray', 'channels_inside is'),
        ('weights', 'int4', 'weights is'),
        ('mask_threshold', '0.5', 'mask_threshold is'),
        ('test_cfg', '[1]', 'test_cfg is'),
    ],
)
def test_wrong_metadata_are_an_error(key, text, says):
    with pytest.raises(UserError, match=says) as caught:
        Metadata.from_text({**METADATA, key: text}, 'net.onnx')
    assert str(caught.value).startswith('net.onnx has ') and len(str(caught.value)) < 400


def test_what_is_no_mistake_in_metadata_is_read():
    twice = {**METADATA, 'task': 'classify', 'names': json.dumps({'0': 'crane', '1': 'crane'})}  # ImageNet has both
    assert Metadata.from_text(twice, 'net.onnx').names == ('crane', 'crane')
    masks = {**METADATA, 'task': 'segment', 'mask_threshold': '0.5', 'mean': '[1]', 'std': '[2.5]'}
    assert Metadata.from_text(masks, 'net.onnx').mask_threshold == 0.5
