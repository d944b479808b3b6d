import copy

import pytest
import torch

from econvnext_mmdet.checkpoint import load_backbone
from econvnext_mmdet.errors import UserError


def save(tmp_path, content, name='checkpoint.pth'):
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


@pytest.fixture
def source(small):
    """A trained backbone's state: every tensor differs from the initial one."""
    model = small()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return model.state_dict()


@pytest.mark.parametrize('layout', ['bare', 'detector', 'wrapped'])
def test_every_tensor_arrives_bit_equal(small, source, tmp_path, layout):
    prefix = dict(bare='', detector='backbone.', wrapped='module.backbone.')[layout]
    content = {prefix + key: value for key, value in source.items()}
    if layout != 'bare':
        content[prefix.replace('backbone.', '') + 'bbox_head.retina_cls.weight'] = torch.zeros(3)
        content = dict(meta=dict(), state_dict=content)
    model = small()
    load_backbone(model, save(tmp_path, content))
    for key, value in model.state_dict().items():
        assert torch.equal(value, source[key]), key


def test_init_cfg_loads_strictly(small, source, tmp_path):
    path = save(tmp_path, source)
    model = small(init_cfg=dict(type='Pretrained', checkpoint=path))
    model.init_weights()
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())
    other = save(tmp_path, {f'teacher.{key}': value for key, value in source.items()}, 'teacher.pth')
    for prefix in ('teacher', 'teacher.'):
        model = small(init_cfg=dict(type='Pretrained', checkpoint=other, prefix=prefix))
        model.init_weights()
        assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())
    wider = small(widen_factor=0.5, init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(UserError, match='of another shape'):
        wider.init_weights()


def test_output_norms_that_the_file_lacks_start_fresh(small, source, tmp_path, caplog):
    without = {f'backbone.{key}': value for key, value in source.items() if not key.startswith(('norm0', 'norm3'))}
    without['head.fc.weight'] = torch.zeros(2, 2)
    model = small()
    fresh = copy.deepcopy(model.state_dict())
    messages = []
    import econvnext_mmdet.checkpoint as module
    original, module.print_log = module.print_log, lambda text, **_: messages.append(text)
    try:
        load_backbone(model, save(tmp_path, without))
    finally:
        module.print_log = original
    for key, value in model.state_dict().items():
        expected = fresh if key.startswith(('norm0', 'norm3')) else source
        assert torch.equal(value, expected[key]), key
    assert 'start fresh: norm0, norm3' in messages[0] and 'not used: head' in messages[0]


def test_model_without_output_norms_skips_them(small, source, tmp_path):
    model = small(norm_output=False)
    load_backbone(model, save(tmp_path, source))
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())


def test_stages_after_the_last_output_are_left_out(small, source, tmp_path):
    model = small(out_indices=(1, ))
    load_backbone(model, save(tmp_path, source))
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())


def rename(state):
    state['stages.1.conv1.conv.wieght'] = state.pop('stages.1.conv1.conv.weight')


def drop_a_block(state):
    for key in [key for key in state if key.startswith('stages.3.blocks.0.')]:
        del state[key]


def drop_half_a_norm(state):
    del state['norm2.running_mean']


def reshape(state):
    state['stem.0.conv.weight'] = torch.zeros(18, 4, 4, 4)


@pytest.mark.parametrize('damage, says', [
    (rename, r'1 missing \(stages.1.conv1.conv.weight\), 1 that it does not have \(stages.1.conv1.conv.wieght\)'),
    (drop_a_block, r'16 missing \(stages.3.blocks.0.dwconv.weight, .*, \.\.\.\)'),
    (drop_half_a_norm, r'1 missing \(norm2.running_mean\)'),
    (reshape, r'1 of another shape \(stem.0.conv.weight \(18, 4, 4, 4\) for \(18, 3, 4, 4\)\)'),
])
def test_files_that_do_not_fit_change_nothing(small, source, tmp_path, damage, says):
    damage(source)
    model = small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=says):
        load_backbone(model, save(tmp_path, source))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_deeper_backbones_file_is_refused(small, tmp_path):
    """All of the shallow one's tensors are in it, in the right shapes, and still it is another network."""
    deep = small(deepen_factor=1.)
    with pytest.raises(UserError, match='that it does not have'):
        load_backbone(small(), save(tmp_path, deep.state_dict()))


def test_unreadable_files(small, source, tmp_path):
    with pytest.raises(UserError, match='no checkpoint file .*absent.pth'):
        load_backbone(small(), str(tmp_path / 'absent.pth'))
    path = tmp_path / 'truncated.pth'
    whole = open(save(tmp_path, source), 'rb').read()
    for length in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='cannot read the checkpoint .*truncated.pth'):
            load_backbone(small(), str(path))
    with pytest.raises(UserError, match='holds no tensors'):
        load_backbone(small(), save(tmp_path, dict(state_dict=dict(epoch=3))))
