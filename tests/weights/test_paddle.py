import math
import pickle
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import get_model

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.datasets.classes import label_names
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.weights.checkpoint import read_checkpoint
from econvnext_mmdet.weights.paddle import convert, convert_file
from econvnext_mmdet.weights.paddle_names import to_torch_name
from econvnext_mmdet.weights.pdparams import read_pdparams

from ..helpers import DEMO, ROOT, WIDEN, options, tool

REFERENCE = ROOT / 'tests' / 'data' / 'reference'


def source(arch):
    return str(REFERENCE / f'e_convnext_{arch}_reduced.pdparams')


def factors(arch):
    return dict(arch=arch, widen_factor=WIDEN[arch], deepen_factor=0.34)


@pytest.mark.parametrize('arch', list(WIDEN))
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_converted_classifier_gives_the_logits_of_the_reference(tmp_path, arch, suffix):
    """The tool converts the file. MMPretrain builds the model from the ImageNet config and loads the result."""
    out = tmp_path / f'net{suffix}'
    status, printed, err = tool(
        'tools/model_converters/convert_paddle_weights.py',
        source(arch),
        out,
        '--arch',
        arch,
        '--widen-factor',
        WIDEN[arch],
        '--deepen-factor',
        0.34,
    )
    assert status == 0, err
    assert f'E-ConvNeXt-{arch} classifier, ' in printed and 'stages.0.blocks.0.gamma' in printed
    cfg = Config.fromfile(ROOT / 'configs' / 'imagenet' / f'e-convnext-{arch}_16xb64_in1k.py')
    arrays = np.load(REFERENCE / f'e_convnext_{arch}_reduced.npz')
    cfg.merge_from_dict(
        {
            'model.backbone.widen_factor': WIDEN[arch],
            'model.backbone.deepen_factor': 0.34,
            'model.head.num_classes': 10,
            'model.head.in_channels': arrays['pooled'].shape[1],
        }
    )
    model = get_model(cfg, pretrained=str(out)).double()
    with torch.no_grad():
        logits = model(torch.from_numpy(arrays['image']).double(), mode='tensor').numpy()
    assert np.abs(logits - arrays['logits']).max() <= 1e-5 * np.abs(arrays['logits']).max()


@pytest.mark.parametrize('arch', list(WIDEN))
def test_a_backbone_gets_exactly_the_tensors_of_a_converted_file(tmp_path, arch):
    """This includes the output norms. A backbone without output norms loads the rest."""
    conversion = convert_file(source(arch), str(tmp_path / 'net.pth'), **factors(arch))
    assert conversion.unused and all(name.endswith('.gamma') for name in conversion.unused)
    arrays = read_pdparams(source(arch))
    converted = read_checkpoint(str(tmp_path / 'net.pth'))
    assert len(converted.state) + len(conversion.unused) == len(arrays)
    assert converted.meta['arch'] == factors(arch) and converted.meta['converted_from'] == Path(source(arch)).name
    np.testing.assert_array_equal(converted.state['head.fc.weight'], arrays['head.fc_cls.weight'].T)
    np.testing.assert_array_equal(converted.state['backbone.norm2.running_var'], arrays['norms.1._variance'])
    for kwargs in (dict(out_indices=(1, 2, 3)), dict(out_indices=(2,), norm_output=False)):
        model = EConvNeXt(
            **factors(arch), **kwargs, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'net.pth'))
        )
        model.init_weights()
        for key, value in model.state_dict().items():
            if 'num_batches' not in key:
                assert torch.equal(value, converted.state[f'backbone.{key}']), key


def test_a_detector_starts_with_exactly_the_tensors_of_a_converted_file(shapes, tmp_path):
    """Training with learning rate 0 and frozen statistics leaves the backbone as --pretrained loaded it."""
    convert_file(source('mini'), str(tmp_path / 'net.pth'), **factors('mini'))
    changes = {
        **options(shapes, tmp_path / 'work'),
        'optim_wrapper.optimizer.lr': 0.0,
        'train_cfg.max_epochs': 1,
        'model.backbone.norm_eval': True,
    }
    train(load_config(DEMO, changes), pretrained=str(tmp_path / 'net.pth'))
    state = read_checkpoint(str(tmp_path / 'work' / 'epoch_1.pth')).state
    names = {to_torch_name(key): key for key in read_pdparams(source('mini'))}
    arrays = read_pdparams(source('mini'))
    compared = [key for key in state if key.startswith('backbone.') and not key.endswith('num_batches_tracked')]
    assert sum(key.startswith('backbone.norm') for key in compared) == 12  # three output norms with four tensors each
    for key in compared:
        assert torch.equal(state[key], torch.from_numpy(arrays[names[key]])), key


def test_bare_backbone_is_converted(write_pdparams):
    arrays = read_pdparams(source('tiny'))
    backbone = {name: value for name, value in arrays.items() if not name.startswith(('norm.', 'head.'))}
    expected = convert(source('tiny'), **factors('tiny')).checkpoint.state
    expected = {key: value for key, value in expected.items() if key.startswith('backbone.')}
    for prefix in ('', 'backbone.'):
        content = {f'{prefix}{name}': value for name, value in backbone.items()}
        found = convert(write_pdparams(content), **factors('tiny')).checkpoint
        assert found.meta['model'] == 'E-ConvNeXt-tiny backbone' and set(found.state) == set(expected)
        assert all(torch.equal(value, expected[key]) for key, value in found.state.items())


@pytest.mark.parametrize(
    'name, kwargs, model',
    [
        ('ppyoloe_e_convnext_tiny', dict(widen_factor=0.125, deepen_factor=0.34), 'PP-YOLOE with E-ConvNeXt-tiny'),
        ('ppyoloe_cspresnet', dict(widen_factor=0.125, deepen_factor=0.33), 'PP-YOLOE with CSPResNet-L'),
        ('yolov10_e_convnext_tiny', dict(widen_factor=0.125, deepen_factor=0.34), 'YOLOv10 with E-ConvNeXt-tiny'),
        ('yolov10_csp_darknet', dict(widen_factor=0.25, deepen_factor=0.33), 'YOLOv10 with CSPDarknet-L'),
    ],
)
def test_whole_detector_is_converted(tmp_path, name, kwargs, model):
    """Every array is converted or listed as unused. The tests of the detectors compare the outputs."""
    path = str(REFERENCE / f'{name}_reduced.pdparams')
    arrays = read_pdparams(path)
    conversion = convert(path, **kwargs)
    state, meta = conversion.checkpoint
    assert meta['model'] == model and meta['bbox_head']['num_classes'] == 4
    assert meta['neck']['num_blocks'] == 1 and meta['neck'].get('arch', 'L') == 'L'
    # The state also has the numbers of the bins (integral.project), which the file lacks.
    assert len(state) - 1 == len(arrays) - len(conversion.unused)
    assert all(re.search(r'gamma$|^backbone\.norm\.|proj_conv', name) for name in conversion.unused)
    if meta['arch']['arch'] == 'tiny':  # the backbone can start a different detector
        convert_file(path, str(tmp_path / 'net.pth'), **kwargs)
        backbone = EConvNeXt(
            'tiny',
            out_indices=(1, 2, 3),
            **kwargs,
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'net.pth')),
        )
        backbone.init_weights()
        assert torch.equal(backbone.norm2.running_var, torch.from_numpy(arrays['backbone.norms.1._variance']))


@pytest.mark.parametrize(
    'damage, says',
    [
        (
            lambda a: a.pop('neck.fpn_routes.0.conv.weight'),
            r'PP-YOLOE with CSPResNet-L .* 1 missing from the file \(neck.reduce.0.conv.weight\)',
        ),
        (
            lambda a: a.update({'neck.fpn_stages.0.0.convs.1.conv1.conv.weight': np.ones(3)}),
            '1 not in the model .neck.top_down.0.blocks.1.conv1.conv.weight',
        ),
        (
            lambda a: a.pop('yolo_head.pred_reg.2.bias'),
            'lacks the parameter that becomes bbox_head.reg_convs.0',
        ),
        (
            lambda a: a.update({'yolo_head.other.weight': np.ones(3)}),
            r'parameters that PP-YOLOE with CSPResNet does not have \(1\): yolo_head.other.weight',
        ),
    ],
)
def test_detector_files_that_do_not_fit_are_refused(write_pdparams, tmp_path, damage, says):
    whole = str(REFERENCE / 'ppyoloe_cspresnet_reduced.pdparams')
    arrays = read_pdparams(whole)
    damage(arrays)
    path = write_pdparams(arrays)
    with pytest.raises(UserError, match=says):
        convert_file(path, str(tmp_path / 'out.pth'), 'L', 0.125, 0.33)
    with pytest.raises(UserError, match='whose arch must be one of S, M, L; got tiny'):
        convert(whole, 'tiny', 0.125, 0.33)
    assert not (tmp_path / 'out.pth').exists()


PPYOLOE = str(REFERENCE / 'ppyoloe_e_convnext_tiny_reduced.pdparams')


def test_class_names_go_into_the_checkpoint(tmp_path):
    names, kwargs = ('cat', 'big dog', 'ape', 'cow'), dict(widen_factor=0.125, deepen_factor=0.34)
    for suffix in ('.pth', '.safetensors'):
        convert_file(PPYOLOE, str(tmp_path / f'net{suffix}'), **kwargs, classes=names)
        assert tuple(read_checkpoint(str(tmp_path / f'net{suffix}')).classes) == names
    digits = [str(digit) for digit in range(10)]
    assert convert(source('mini'), **factors('mini'), classes=digits).checkpoint.classes == tuple(digits)
    for wrong in (names[:3], (*names, 'ox'), (*names[:3], 'cat'), (*names[:3], '  '), (*names[:3], '\ud800')):
        says = "with 4 classes; expected as many different names with visible characters, .*: 'cat', 'big dog', 'ape'"
        with pytest.raises(UserError, match=says):
            convert_file(PPYOLOE, str(tmp_path / 'wrong.pth'), **kwargs, classes=wrong)
    assert not (tmp_path / 'wrong.pth').exists()


def test_a_backbone_has_no_classes(write_pdparams):
    arrays = read_pdparams(source('tiny'))
    backbone = {name: value for name, value in arrays.items() if not name.startswith(('norm.', 'head.'))}
    with pytest.raises(UserError, match='E-ConvNeXt-tiny backbone with 0 classes'):
        convert(write_pdparams(backbone), **factors('tiny'), classes=['cat'])


def test_the_tool_says_where_names_come_from(tmp_path, monkeypatch, capsys):
    """Both ways that it names give the names to a detector of four classes."""
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'ppyoloe-s_e-convnext-mini_8e_shapes.py')
    names = cfg.train_dataloader.dataset.metainfo.classes
    command = ['convert_paddle_weights.py', PPYOLOE, str(tmp_path / 'net.pth')]
    command += ['--widen-factor', '0.125', '--deepen-factor', '0.34']
    says = 'the file has no class names: tools/infer.py takes metainfo.classes of the datasets in the config'
    for given, expected in ((), tuple(names)), (('--classes', *'abcd'), tuple('abcd')):
        monkeypatch.setattr(sys, 'argv', [*command, *given])
        runpy.run_path(str(ROOT / 'tools' / 'model_converters' / command[0]), run_name='__main__')
        assert (says in capsys.readouterr().out) == (not given)
        assert label_names(cfg, read_checkpoint(command[2]).meta, 4, command[2]) == expected


def change(name, value):
    return lambda arrays: arrays.update({name: value(arrays[name])})


WEIGHT, VARIANCE = 'stages.1.conv1.conv.weight', 'stages.1.conv1.bn._variance'
NO_NUMBERS = r'infinite or not a number in 1 of .* \(backbone.stages.1.conv1.conv.weight\)'


@pytest.mark.parametrize(
    'name, options, says',
    [
        *(('mini', dict(widen_factor=x), 'widen_factor=.* is too large') for x in (1e9, math.inf)),
        ('mini', dict(widen_factor=1e-9), 'widths must be at least 2'),
        ('mini', dict(deepen_factor=1e6), 'deepen_factor=.* is too large'),
        ('ppyoloe_cspresnet', dict(widen_factor=1e-9), 'does not fit this PP-YOLOE with CSPResNet-S'),
        ('ppyoloe_cspresnet', dict(deepen_factor=1e6), 'deepen_factor=.* is too large'),
        ('yolov10_csp_darknet', dict(widen_factor=1e-9), 'cannot build YOLOv10CSPDarknet'),
    ],
)
def test_factors_out_of_range_are_refused(name, options, says):
    path = source(name) if name in WIDEN else str(REFERENCE / f'{name}_reduced.pdparams')
    with pytest.raises(UserError, match=says):
        convert(path, **options)


@pytest.mark.parametrize(
    'damage, says',
    [
        *((change(WEIGHT, lambda a, x=x: np.full_like(a, x)), NO_NUMBERS) for x in (np.nan, np.inf)),
        (change(WEIGHT, lambda a: np.full(a.shape, 1e300)), NO_NUMBERS),
        *(
            (change(WEIGHT, lambda a, kind=kind: np.ones(a.shape, kind)), f'{WEIGHT} has the type .*float32 there')
            for kind in (np.int64, bool, np.uint16, np.longdouble)
        ),
        (change(VARIANCE, lambda a: -a), r'negative variances \(backbone.stages.1.conv1.bn.running_var\)'),
        (
            lambda a: a.update({f'backbone.{WEIGHT}': a[WEIGHT]}),
            f'two parameters for backbone.{WEIGHT}: {WEIGHT} and backbone.{WEIGHT}',
        ),
    ],
)
def test_numbers_that_are_no_weights_are_refused(write_pdparams, tmp_path, damage, says):
    arrays = read_pdparams(source('mini'))
    damage(arrays)
    with pytest.raises(UserError, match=says):
        convert_file(write_pdparams(arrays), str(tmp_path / 'out.pth'), **factors('mini'))
    assert not (tmp_path / 'out.pth').exists()


def drop(name):
    return lambda arrays: arrays.pop(name)


@pytest.mark.parametrize(
    'damage, arch, says',
    [
        (
            lambda a: None,
            'tiny',
            r'fit this E-ConvNeXt-tiny classifier .* missing from the file .*backbone.stem.1.conv.weight',
        ),
        (
            lambda a: None,
            None,
            r'fit this E-ConvNeXt-mini classifier .* with a different shape or type .backbone.stem.0.conv.weight',
        ),
        (
            drop('stages.1.conv1.conv.weight'),
            'mini',
            r'1 missing from the file \(backbone.stages.1.conv1.conv.weight\)',
        ),
        (drop('norms.1._mean'), 'mini', r'1 missing from the file \(backbone.norm2.running_mean\)'),
        (drop('head.fc_cls.bias'), 'mini', 'missing from the file .head.fc.bias'),
        (
            lambda a: a.update({'stages.1.conv1.conv.wieght': a.pop('stages.1.conv1.conv.weight')}),
            'mini',
            r'1 missing from the file \(backbone.stages.1.conv1.conv.weight\), 1 not in the model',
        ),
        (
            lambda a: a.update({'stem.weight': np.ones(3)}),
            'mini',
            r'parameters that E-ConvNeXt does not have \(1\): stem.weight',
        ),
        (
            lambda a: a.update({'norm.weight': np.ones(3, np.float32)}),
            'mini',
            r'head.norm.weight \(3,\) instead of \(192,\)',
        ),
        (
            lambda a: a.update({'head.fc_cls.weight': a['head.fc_cls.weight'].T}),
            'mini',
            'with a different shape or type .head.fc.weight',
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(write_pdparams, tmp_path, damage, arch, says):
    arrays = read_pdparams(source('mini'))
    damage(arrays)
    path = write_pdparams(arrays)
    kwargs = {**factors('mini'), 'arch': arch} if arch else {}
    with pytest.raises(UserError, match=says):
        convert_file(path, str(tmp_path / 'out.pth'), **kwargs)
    assert not (tmp_path / 'out.pth').exists()


def test_the_converted_file_must_end_in_pth_or_safetensors(tmp_path):
    with pytest.raises(UserError, match='file extension .pth or .safetensors for the converted file'):
        convert_file(source('mini'), str(tmp_path / 'net.txt'), **factors('mini'))


def test_the_converted_file_does_not_replace_the_source(tmp_path):
    (tmp_path / 'net.pth').write_bytes(Path(source('mini')).read_bytes())
    with pytest.raises(UserError, match='net.pth is to be read and to be written; give another name'):
        convert_file(str(tmp_path / 'net.pth'), str(tmp_path / 'net.pth'), **factors('mini'))
    assert (tmp_path / 'net.pth').read_bytes() == Path(source('mini')).read_bytes()


def test_names_that_are_no_texts_are_an_error(tmp_path):
    """Found by fuzzing."""
    (tmp_path / 'a.pdparams').write_bytes(pickle.dumps({'a': np.zeros(2), True: np.zeros(2)}, 2))
    with pytest.raises(UserError, match='has arrays whose names are no texts'):
        read_pdparams(str(tmp_path / 'a.pdparams'))
