import io
import os
import pickle
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import get_model

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.checkpoint import read_checkpoint
from econvnext_mmdet.engine import run
from econvnext_mmdet.errors import UserError
from econvnext_mmdet.paddle_names import to_torch_name
from econvnext_mmdet.paddle_pickle import read_pdparams
from econvnext_mmdet.paddle_weights import convert, convert_file

from .conftest import ROOT, WIDEN, options

REFERENCE = ROOT / 'tests' / 'data' / 'reference'


def source(arch):
    return str(REFERENCE / f'e_convnext_{arch}_reduced.pdparams')


def factors(arch):
    return dict(arch=arch, widen_factor=WIDEN[arch], deepen_factor=0.34)


@pytest.mark.parametrize('arch', list(WIDEN))
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_converted_classifier_gives_the_references_logits(tmp_path, arch, suffix):
    """From the command line to MMPretrain's model, built from the ImageNet config and loaded by MMPretrain."""
    out = tmp_path / f'net{suffix}'
    done = subprocess.run(
        [sys.executable, 'tools/convert_paddle_weights.py', source(arch), out, '--arch', arch, '--widen-factor',
         str(WIDEN[arch]), '--deepen-factor', '0.34'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f'E-ConvNeXt-{arch} classifier, ' in done.stdout and 'stages.0.blocks.0.gamma' in done.stdout
    cfg = Config.fromfile(ROOT / 'configs' / 'imagenet' / f'e-convnext-{arch}_16xb64_in1k.py')
    arrays = np.load(REFERENCE / f'e_convnext_{arch}_reduced.npz')
    cfg.merge_from_dict({'model.backbone.widen_factor': WIDEN[arch], 'model.backbone.deepen_factor': 0.34,
                         'model.head.num_classes': 10, 'model.head.in_channels': arrays['pooled'].shape[1]})
    model = get_model(cfg, pretrained=str(out)).double()
    with torch.no_grad():
        logits = model(torch.from_numpy(arrays['image']).double(), mode='tensor').numpy()
    assert np.abs(logits - arrays['logits']).max() <= 1e-5 * np.abs(arrays['logits']).max()


@pytest.mark.parametrize('arch', list(WIDEN))
def test_a_backbone_starts_bit_equal_from_a_converted_file(tmp_path, arch):
    """All of its norms, too; one without output norms takes the rest."""
    conversion = convert_file(source(arch), str(tmp_path / 'net.pth'), **factors(arch))
    assert conversion.unused and all(name.endswith('.gamma') for name in conversion.unused)
    arrays = read_pdparams(source(arch))
    converted = read_checkpoint(str(tmp_path / 'net.pth'))
    assert len(converted.state) + len(conversion.unused) == len(arrays)
    assert converted.meta['arch'] == factors(arch) and converted.meta['converted_from'] == Path(source(arch)).name
    np.testing.assert_array_equal(converted.state['head.fc.weight'], arrays['head.fc_cls.weight'].T)
    np.testing.assert_array_equal(converted.state['backbone.norm2.running_var'], arrays['norms.1._variance'])
    for kwargs in (dict(out_indices=(1, 2, 3)), dict(out_indices=(2, ), norm_output=False)):
        model = EConvNeXt(**factors(arch), **kwargs, init_cfg=dict(type='Pretrained',
                                                                   checkpoint=str(tmp_path / 'net.pth')))
        model.init_weights()
        for key, value in model.state_dict().items():
            if 'num_batches' not in key:
                assert torch.equal(value, converted.state[f'backbone.{key}']), key


def write(path, content, protocol=4):
    Path(path).write_bytes(pickle.dumps(content, protocol=protocol))
    return str(path)


def test_a_detector_starts_bit_equal_from_a_converted_file(shapes, tmp_path):
    """Against the arrays of the source; at a rate of 0, and with the statistics held, training leaves the backbone as
    --pretrained loaded it."""
    convert_file(source('mini'), str(tmp_path / 'net.pth'), **factors('mini'))
    changes = {**options(shapes, tmp_path / 'work'), 'optim_wrapper.optimizer.lr': 0., 'train_cfg.max_epochs': 1,
               'model.backbone.norm_eval': True}
    run.train(run.load_config(str(ROOT / 'configs/demo/retinanet_e_convnext_mini_shapes.py'), changes),
              pretrained=str(tmp_path / 'net.pth'))
    state = read_checkpoint(str(tmp_path / 'work' / 'epoch_1.pth')).state
    names = {to_torch_name(key): key for key in read_pdparams(source('mini'))}
    arrays = read_pdparams(source('mini'))
    compared = [key for key in state if key.startswith('backbone.') and not key.endswith('num_batches_tracked')]
    assert sum(key.startswith('backbone.norm') for key in compared) == 12  # of the outputs: three norms of four
    for key in compared:
        assert torch.equal(state[key], torch.from_numpy(arrays[names[key]])), key


def test_a_bare_backbone(tmp_path):
    arrays = read_pdparams(source('tiny'))
    backbone = {name: value for name, value in arrays.items() if not name.startswith(('norm.', 'head.'))}
    expected = convert(source('tiny'), **factors('tiny')).checkpoint.state
    expected = {key: value for key, value in expected.items() if key.startswith('backbone.')}
    for prefix in ('', 'backbone.'):
        content = {f'{prefix}{name}': value for name, value in backbone.items()}
        found = convert(write(tmp_path / 'net.pdparams', content), **factors('tiny')).checkpoint
        assert found.meta['model'] == 'E-ConvNeXt-tiny backbone' and set(found.state) == set(expected)
        assert all(torch.equal(value, expected[key]) for key, value in found.state.items())


@pytest.mark.parametrize('name, kwargs, model', [
    ('ppyoloe_e_convnext_tiny', dict(widen_factor=0.125, deepen_factor=0.34), 'PP-YOLOE with E-ConvNeXt-tiny'),
    ('ppyoloe_cspresnet', dict(widen_factor=0.125, deepen_factor=0.33), 'PP-YOLOE with CSPResNet-L'),
    ('yolov10_e_convnext_tiny', dict(widen_factor=0.125, deepen_factor=0.34), 'YOLOv10 with E-ConvNeXt-tiny'),
    ('yolov10_csp_darknet', dict(widen_factor=0.25, deepen_factor=0.33), 'YOLOv10 with CSPDarknet-L'),
])
def test_a_whole_detector(tmp_path, name, kwargs, model):
    """Every array of the file has its place, but those named as unused; what its outputs are is another test."""
    path = str(REFERENCE / f'{name}_reduced.pdparams')
    arrays = read_pdparams(path)
    conversion = convert(path, **kwargs)
    state, meta = conversion.checkpoint
    assert meta['model'] == model and meta['bbox_head']['num_classes'] == 4
    assert meta['neck']['num_blocks'] == 1 and meta['neck'].get('arch', 'L') == 'L'
    assert len(state) - 1 == len(arrays) - len(conversion.unused)  # and the bins' numbers, which are not in the file
    assert all(re.search(r'gamma$|^backbone\.norm\.|proj_conv', name) for name in conversion.unused)
    if conversion.checkpoint.meta['arch']['arch'] == 'tiny':  # its backbone starts another detector
        convert_file(path, str(tmp_path / 'net.pth'), **kwargs)
        backbone = EConvNeXt('tiny', out_indices=(1, 2, 3), **kwargs, init_cfg=dict(
            type='Pretrained', checkpoint=str(tmp_path / 'net.pth')))
        backbone.init_weights()
        assert torch.equal(backbone.norm2.running_var, torch.from_numpy(arrays['backbone.norms.1._variance']))


@pytest.mark.parametrize('name, damage, says', [
    ('ppyoloe_cspresnet', lambda a: a.pop('neck.fpn_routes.0.conv.weight'),
     r'PP-YOLOE with CSPResNet-L: .* 1 missing \(neck.reduce.0.conv.weight\)'),
    ('ppyoloe_cspresnet', lambda a: a.update({'neck.fpn_stages.0.0.convs.1.conv1.conv.weight': np.ones(3)}),
     'that it does not have .neck.top_down.0.blocks.1.conv1.conv.weight'),
    ('ppyoloe_cspresnet', lambda a: a.pop('yolo_head.pred_reg.2.bias'), 'lacks the parameter .* bbox_head.reg_convs.0'),
    ('ppyoloe_cspresnet', lambda a: a.update({'yolo_head.other.weight': np.ones(3)}),
     "none of PP-YOLOE with CSPResNet's: yolo_head.other.weight"),
])
def test_detectors_that_do_not_fit(tmp_path, name, damage, says):
    arrays = read_pdparams(str(REFERENCE / f'{name}_reduced.pdparams'))
    damage(arrays)
    path = write(tmp_path / 'net.pdparams', arrays)
    with pytest.raises(UserError, match=says):
        convert_file(path, str(tmp_path / 'out.pth'), 'L', 0.125, 0.33)
    with pytest.raises(UserError, match='whose arch is one of S, M, L; got tiny'):
        convert(str(REFERENCE / f'{name}_reduced.pdparams'), 'tiny', 0.125, 0.33)
    assert not (tmp_path / 'out.pth').exists()


def drop(name):
    return lambda arrays: arrays.pop(name)


@pytest.mark.parametrize('damage, arch, says', [
    (lambda a: None, 'tiny', r'fit this E-ConvNeXt-tiny classifier: .* missing .*backbone.stem.1.conv.weight'),
    (lambda a: None, None, r'fit this E-ConvNeXt-mini classifier: .* of another shape .backbone.stem.0.conv.weight'),
    (drop('stages.1.conv1.conv.weight'), 'mini', r'1 missing \(backbone.stages.1.conv1.conv.weight\)'),
    (drop('norms.1._mean'), 'mini', r'1 missing \(backbone.norm2.running_mean\)'),
    (drop('head.fc_cls.bias'), 'mini', 'missing .head.fc.bias'),
    (lambda a: a.update({'stages.1.conv1.conv.wieght': a.pop('stages.1.conv1.conv.weight')}), 'mini',
     r'1 missing \(backbone.stages.1.conv1.conv.weight\), 1 that it does not have'),
    (lambda a: a.update({'stem.weight': np.ones(3)}), 'mini', "1 parameters that are none of .*: stem.weight"),
    (lambda a: a.update({'norm.weight': np.ones(3, np.float32)}), 'mini', r'head.norm.weight \(3,\) for \(192,\)'),
    (lambda a: a.update({'head.fc_cls.weight': a['head.fc_cls.weight'].T}), 'mini', 'of another shape .head.fc.weight'),
])
def test_files_that_do_not_fit(tmp_path, damage, arch, says):
    arrays = read_pdparams(source('mini'))
    damage(arrays)
    path = write(tmp_path / 'net.pdparams', arrays)
    kwargs = {**factors('mini'), 'arch': arch} if arch else {}
    with pytest.raises(UserError, match=says):
        convert_file(path, str(tmp_path / 'out.pth'), **kwargs)
    assert not (tmp_path / 'out.pth').exists()


ARRAYS = {'a': np.arange(12, dtype=np.float32).reshape(3, 4), 'b': np.asfortranarray(np.arange(6.).reshape(2, 3)),
          'c': np.array(7, np.int64), 'd': np.zeros((0, 3), np.float16), 'e': np.arange(4, dtype='>f4'),
          'f': np.array([True, False])}


@pytest.mark.parametrize('protocol', range(2, 6))
@pytest.mark.parametrize('core', ['numpy._core', 'numpy.core'])
def test_pickles_of_each_protocol_and_numpy(tmp_path, protocol, core):
    content = pickle.dumps(OrderedDict(ARRAYS, **{'StructuredToParameterName@@': dict(a='a_0'), 's': np.float32(2.5)}),
                           protocol=protocol)
    if protocol < 4:  # of names that a line ends; those of protocol 4 have their length before them
        content = content.replace(b'numpy._core', core.encode())
    elif core == 'numpy.core':
        content = content.replace(b'\x8c\x16numpy._core.multiarray', b'\x8c\x15numpy.core.multiarray').replace(
            b'\x8c\x13numpy._core.numeric', b'\x8c\x12numpy.core.numeric')
        content = rewrite_frames(content)
    (tmp_path / 'net.pdparams').write_bytes(content)
    found = read_pdparams(str(tmp_path / 'net.pdparams'))
    assert set(found) == {*ARRAYS, 's'} and found['s'] == np.float32(2.5)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder('=') and found[name].flags.writeable
        torch.from_numpy(found[name])


def rewrite_frames(content):
    """Without the frames of protocol 4, whose lengths no longer fit; they are optional."""
    while b'\x95' in content[:11]:
        at = content.index(b'\x95')
        content = content[:at] + content[at + 9:]
    return content


class Runs:
    """Runs a command when it is unpickled by pickle itself."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def test_hostile_pickles_run_nothing(tmp_path):
    witness = tmp_path / 'witness'
    calls = [(os.system, f'touch {witness}'), (eval, f"open('{witness}', 'w')"), (open, str(witness), 'w'),
             (np.fromfile, str(tmp_path)), (getattr, dict, 'fromkeys'), (io.open_code, str(witness)),
             (type, 'x', (), {}),
             (np.load, str(witness)), (pickle.loads, b'')]
    for call in calls:
        for protocol in (2, 4):
            for content in (Runs(*call), dict(ARRAYS, a=Runs(*call)), [Runs(*call)]):
                path = write(tmp_path / 'net.pdparams', content, protocol)
                with pytest.raises(UserError, match='net.pdparams is refused: it asks for .* nothing of it was run'):
                    read_pdparams(path)
    (tmp_path / 'net.pdparams').write_bytes(f"cos\nsystem\n(S'touch {witness}'\ntR.".encode())
    with pytest.raises(UserError, match='it asks for os.system'):
        read_pdparams(path)
    assert not witness.exists()


@pytest.mark.parametrize('array, says', [
    (np.array([1, 'a', None], object), 'only arrays of numbers'),
    (np.array(['a', 'bc']), 'only arrays of numbers'),
    (np.zeros(2, [('x', 'f4'), ('y', 'O')]), 'only arrays of numbers'),
    (np.array(['2024-01-01'], 'M8[D]'), 'only arrays of numbers'),
])
def test_other_arrays_are_refused(tmp_path, array, says):
    for protocol in (2, 4, 5):
        with pytest.raises(UserError, match=says):
            read_pdparams(write(tmp_path / 'net.pdparams', dict(a=array), protocol))


def test_unreadable_files(tmp_path):
    path = tmp_path / 'net.pdparams'
    with pytest.raises(UserError, match='cannot read .*net.pdparams: No such file'):
        read_pdparams(str(path))
    whole = Path(source('mini')).read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='net.pdparams is truncated or no .pdparams file'):
            read_pdparams(str(path))
    for content, says in (([1], 'holds a list'), (dict(a=1), 'holds no arrays'), ({}, 'holds no arrays')):
        with pytest.raises(UserError, match=says):
            read_pdparams(write(path, content))
    torch.save(dict(weight=torch.zeros(1)), path)
    with pytest.raises(UserError, match="an archive, as PyTorch's checkpoints are, .* needs no conversion"):
        read_pdparams(str(path))
    with pytest.raises(UserError, match='ends in .pth or .safetensors'):
        convert_file(source('mini'), str(tmp_path / 'net.txt'), **factors('mini'))
