"""Files of the right kind with a wrong content end in one sentence: checkpoints, images, annotations, results."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
import torch

from econvnext_mmdet.datasets.inspection import inspect_config
from econvnext_mmdet.engine.saving import latest_checkpoint
from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.evaluation.coco_eval import CocoEvaluator
from econvnext_mmdet.inference.inferencer import StrictInferencer
from econvnext_mmdet.reports.results_page import write_report
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.files import check_pixels
from econvnext_mmdet.utils.pixels import PIXELS_VARIABLE
from econvnext_mmdet.weights.publish import publish
from econvnext_mmdet.weights.unpickling import load_pth

from ..helpers import DEMO, options, tool
from ..scenes import SIZE, make_scene

WEIGHT = torch.zeros(2)
CONTENTS = {
    'nothing': None,
    'a tensor': WEIGHT,
    'a list': [WEIGHT],
    'no tensors': {'state_dict': {}},
    'a state dict of numbers': {'state_dict': {'a': 1, 'b': 2}},
    'a state dict that is a list': {'state_dict': [WEIGHT]},
    'a state dict that is a number': {'state_dict': 5},
    'names that are no texts': {'state_dict': {1: WEIGHT, (2, 3): WEIGHT}},
    'meta that is a list': {'state_dict': {'a': WEIGHT}, 'meta': [1]},
    'meta that is a number': {'state_dict': {'a': WEIGHT}, 'meta': 5},
    'no meta': {'state_dict': {'a': WEIGHT}, 'meta': None},
    'dataset_meta that is a text': {'state_dict': {'a': WEIGHT}, 'meta': {'dataset_meta': 'cats'}},
    'classes that are a number': {'state_dict': {'a': WEIGHT}, 'meta': {'dataset_meta': {'classes': 5}}},
    'an expanded view': {'state_dict': {'a': torch.ones(1).expand(2**20, 2**20)}},
    'names of classes that are numbers': {'state_dict': {'a': WEIGHT}, 'meta': {'dataset_meta': {'classes': [1, 2]}}},
    'a quantised tensor': {'a': torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8)},
    'a complex tensor': {'a': WEIGHT + 1j},
    'numbers of 8 bits': {'a': WEIGHT.to(torch.float8_e4m3fn)},
    'a sparse tensor': {'a': WEIGHT.to_sparse()},
    'a tensor without content': {'a': torch.empty(2, device='meta')},
    'a nested tensor': {'a': torch.nested.nested_tensor([WEIGHT, WEIGHT])},
    'a negative variance': {'norm.running_var': WEIGHT - 1},
    'a class without a readable name': {'state_dict': {'a': WEIGHT}, 'meta': {'dataset_meta': {'classes': ['\ud800']}}},
    'an epoch that is a text': {'state_dict': {'a': WEIGHT}, 'meta': {'epoch': 'three', 'iter': None}},
}
WAYS = {
    'pretrained': lambda path, cfg: train(cfg, pretrained=path),
    'resume': lambda path, cfg: train(cfg, resume=path),
    'load_from': lambda path, cfg: (cfg.update(load_from=path), train(cfg)),
    'test': lambda path, cfg: run_test(cfg, path),
    'infer': lambda path, cfg: StrictInferencer(cfg, path, 'cpu'),
    'publish': lambda path, cfg: publish(path, path.replace('net.pth', 'out.pth'), cfg),
}


@pytest.mark.parametrize('content', CONTENTS)
@pytest.mark.parametrize('way', WAYS)
def test_a_checkpoint_with_a_wrong_content_is_named(way, content, shapes, tmp_path):
    path = str(tmp_path / 'net.pth')
    torch.save(CONTENTS[content], path)
    with pytest.raises(UserError, match='net.pth') as caught:
        WAYS[way](path, load_config(DEMO, options(shapes, tmp_path / 'work')))
    assert '\n' not in str(caught.value) and not [*tmp_path.glob('work/*.pth'), *tmp_path.glob('out*')]


@pytest.mark.parametrize('way', WAYS)
def test_a_pipe_in_the_place_of_a_checkpoint_is_not_opened(way, shapes, tmp_path):
    os.mkfifo(tmp_path / 'net.pth')
    with pytest.raises(UserError, match='net.pth'):
        WAYS[way](str(tmp_path / 'net.pth'), load_config(DEMO, options(shapes, tmp_path / 'work')))
    with pytest.raises(UserError, match='net.pth is a device or a pipe'):  # as an init_cfg names it
        load_pth(str(tmp_path / 'net.pth'))


PROGRESS = [
    ('meta', 'epoch', 'x', 'is no checkpoint of a training run: its epoch is'),
    ('meta', 'epoch', -5, 'is no checkpoint of a training run: its epoch is'),
    ('meta', 'epoch', 10**30, 'is from epoch .*, and the config trains until 2'),
    ('meta', 'iter', None, 'is no checkpoint of a training run: its iter is'),
    ('meta', 'seed', 'x', 'its seed is'),
    ('optimizer', None, None, 'cannot go on from'),
    ('optimizer', None, [], 'cannot go on from'),
    ('optimizer', None, {'state': {}, 'param_groups': []}, 'cannot go on from'),
    ('message_hub', None, None, 'cannot go on from'),
    ('message_hub', None, {'log_scalars': 5}, 'cannot go on from'),
    ('param_schedulers', None, 'zz', 'cannot go on from'),
]


@pytest.mark.parametrize('part, key, value, says', PROGRESS)
def test_a_checkpoint_with_a_wrong_progress_is_named(part, key, value, says, trained, shapes, tmp_path):
    checkpoint = torch.load(trained[0] / 'epoch_1.pth', weights_only=False)
    if key:
        checkpoint[part][key] = value
    else:
        checkpoint[part] = value
    torch.save(checkpoint, tmp_path / 'net.pth')
    with pytest.raises(UserError, match=says) as caught:
        train(load_config(DEMO, options(shapes, tmp_path / 'work')), resume=str(tmp_path / 'net.pth'))
    assert 'net.pth' in str(caught.value) and not list(tmp_path.glob('work/*.pth'))


def test_a_pointer_to_the_latest_checkpoint_may_be_damaged(trained, tmp_path):
    shutil.copy(trained[0] / 'epoch_1.pth', tmp_path)
    (tmp_path / 'last_checkpoint').write_bytes(b'\xff\xfe\x00epoch')
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')


def test_a_model_whose_outputs_are_no_numbers_is_not_published(trained, shapes, tmp_path):
    checkpoint = torch.load(trained[0] / 'epoch_1.pth', weights_only=False)
    checkpoint['state_dict']['backbone.stem.0.conv.weight'] *= 1e38
    torch.save(checkpoint, tmp_path / 'net.pth')
    with pytest.raises(UserError, match='the outputs of the model with .*net.pth are infinite or not a number'):
        publish(str(tmp_path / 'net.pth'), str(tmp_path / 'out.pth'), load_config(DEMO, options(shapes, tmp_path)))
    assert not list(tmp_path.glob('out*'))


def test_an_image_of_too_many_pixels_is_named_and_skipped(trained, shapes, tmp_path, monkeypatch):
    small, large = tmp_path / 'images' / 'small.png', tmp_path / 'images' / 'large.png'
    small.parent.mkdir()
    cv2.imwrite(str(small), np.zeros((64, 64, 3), np.uint8))
    cv2.imwrite(str(large), np.zeros((80, 80, 3), np.uint8))
    monkeypatch.setenv(PIXELS_VARIABLE, '5000')
    check_pixels(str(small))
    says = f'large.png has 80 x 80 pixels, more than 5,000. Use a smaller image, or set .* {PIXELS_VARIABLE}'
    with pytest.raises(UserError, match=says):
        check_pixels(str(large))
    status, out, err = tool(
        'tools/infer.py', trained[0] / 'retinanet_e_convnext_mini_shapes.py', trained[0] / 'epoch_2.pth',
        small.parent, '--out', tmp_path / 'out',
    )  # fmt: skip
    assert status == 1 and '80 x 80 pixels' in err and 'Traceback' not in err
    assert [path.name for path in (tmp_path / 'out').rglob('small*')] and not list((tmp_path / 'out').rglob('large*'))


@pytest.fixture
def scene(tmp_path):
    """A function that writes a scene of boxes, its images and the results, and returns the paths."""

    def write(change):
        coco, entries = make_scene()
        change(coco, entries)
        (tmp_path / 'images').mkdir()
        for image in coco['images']:
            path = tmp_path / 'images' / image['file_name']
            cv2.imwrite(str(path), np.zeros((SIZE, SIZE, 3), np.uint8))
        for name, content in (('gt', coco), ('results', entries)):
            (tmp_path / f'{name}.json').write_text(json.dumps(content))
        return str(tmp_path / 'gt.json'), str(tmp_path / 'results.json'), str(tmp_path / 'images')

    return write


def test_a_report_draws_a_box_of_any_size_and_names_of_any_length(scene, tmp_path):
    def change(coco, entries):
        coco['categories'][0]['name'] = 'x' * 20_000
        entries[0]['bbox'] = [-1e30, -1e30, 1e30, 2e30]
        entries[1].update(bbox=[1e30, 1e30, 1e30, 1e30], score=1.0)

    gt, results, images = scene(change)
    write_report(gt, [results], str(tmp_path / 'report'), images)
    for picture in (tmp_path / 'report').glob('*.png'):
        assert max(cv2.imread(str(picture)).shape) < 4000


def test_a_report_draws_no_image_from_outside_of_its_folder(scene, tmp_path):
    def change(coco, entries):
        coco['images'][0]['file_name'] = '../private.png'
        coco['images'][1]['file_name'] = str(tmp_path / 'private.png')

    gt, results, images = scene(change)
    page = write_report(gt, [results], str(tmp_path / 'report'), images)
    text = open(page, encoding='utf-8').read()
    assert text.count('Not drawn: it is outside of the image folder') == 4  # two images, for boxes and for masks
    drawn = sum(1 for _ in (tmp_path / 'report').glob('bbox-0-*.png'))
    assert 0 < drawn == text.count('<img src="bbox-0-')


@pytest.mark.parametrize('box', [[5, 5, -3, 4], [5, 5, 3, -4]])
def test_a_box_of_negative_size_is_an_error(scene, box):
    def change(coco, entries):
        entries[2]['bbox'] = box

    gt, results, _ = scene(change)
    with pytest.raises(UserError, match=r'entry 2 .* is not a detection'):
        CocoEvaluator.from_file(gt).evaluate(json.loads(open(results).read()))


def test_an_annotated_box_of_negative_size_is_an_error(shapes, tmp_path):
    path = tmp_path / 'train.json'
    coco = json.loads((shapes / 'annotations' / 'train.json').read_text())
    coco['annotations'][3]['bbox'][2] *= -1
    path.write_text(json.dumps(coco))
    cfg = load_config(DEMO, {**options(shapes, tmp_path / 'work'), 'train_dataloader.dataset.ann_file': str(path)})
    with pytest.raises(UserError, match='train.json: malformed: annotation .* width and height of at least 0'):
        train(cfg)
    found = [inspection for inspection in inspect_config(cfg) if inspection.split == 'train'][0]
    assert any('malformed boxes' in str(finding) for finding in found.findings)


def test_a_work_directory_whose_name_is_not_utf_8_is_an_error(shapes, tmp_path):
    work_dir = os.fsdecode(os.fsencode(str(tmp_path)) + b'/stra\xdfe')
    cfg = load_config(DEMO, options(shapes, work_dir), work_dir=work_dir)
    with pytest.raises(UserError, match='work_dir must be a path in UTF-8; got '):
        train(cfg)


XML = '<!DOCTYPE annotation [<!ENTITY a "{inside}">{more}]><annotation><filename>&{name};</filename></annotation>'


@pytest.mark.parametrize(
    'text',
    [
        XML.format(
            inside='lol', name='j',
            more=''.join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip('abcdefghi', 'bcdefghij')),
        ),
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
        '<annotation>' + '<a>' * 100_000 + '</a>' * 100_000 + '</annotation>',
    ],
    ids=['a bomb', 'an external entity', 'nested deep'],
)  # fmt: skip
def test_hostile_xml_is_an_error(text, tmp_path):
    (tmp_path / 'a.xml').write_text(text)
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((8, 8, 3), np.uint8))
    status, out, err = tool('tools/dataset_converters/voc2coco.py', tmp_path, '--out-dir', tmp_path / 'out')
    assert status == 1 and 'Traceback' not in err and 'root:' not in out + err
