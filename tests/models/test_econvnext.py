"""The backbone and the head of the classifier against the reference implementation and a second implementation."""

import copy
import math
import re

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from econvnext_mmdet import BNLinearClsHead, EConvNeXt
from econvnext_mmdet.benchmarks.complexity import count
from econvnext_mmdet.models.econvnext import ESE, Block

from ..helpers import assert_agrees


def backbone_state(state):
    return {key[len('backbone.') :]: value for key, value in state.items() if key.startswith('backbone.')}


@pytest.mark.parametrize('norm_output', [False, True])
def test_outputs_agree_with_the_reference(reference, norm_output):
    out_indices = (1, 2, 3) if norm_output else (0, 1, 2, 3)
    model = EConvNeXt(**reference.arch, out_indices=out_indices, norm_output=norm_output).double().eval()
    state = backbone_state(reference.state)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert all(key.endswith('num_batches_tracked') for key in missing)
    assert all(key.startswith('norm') and not norm_output for key in unexpected)
    with torch.no_grad():
        outs = model(reference.arrays['image'])
    for i, out in zip(out_indices, outs):
        assert_agrees(out, reference.arrays[f'normed_{i}' if norm_output else f'stage_{i}'])


def test_classifier_agrees_with_the_reference(reference):
    channels = reference.arrays['pooled'].shape[1]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = (
            MMPRETRAIN_MODELS.build(
                dict(
                    type='ImageClassifier',
                    backbone=dict(type='EConvNeXt', out_indices=(3,), norm_output=False, **reference.arch),
                    neck=dict(type='GlobalAveragePooling'),
                    head=dict(type='BNLinearClsHead', num_classes=10, in_channels=channels),
                )
            )
            .double()
            .eval()
        )
    assert isinstance(model.head, BNLinearClsHead)
    missing, _ = model.load_state_dict(reference.state, strict=False)
    assert all(key.endswith('num_batches_tracked') for key in missing)
    with torch.no_grad():
        feats = model.extract_feat(reference.arrays['image'])
        assert_agrees(model.head.pre_logits(feats), reference.arrays['pooled'])
        assert_agrees(model.head(feats), reference.arrays['logits'])


@pytest.mark.parametrize(
    'arch, params, classifier_params, gmacs',
    [
        ('mini', 6_888_456, 7_658_992, 0.918958),
        ('tiny', 12_221_472, 13_248_520, 2.025280),
        ('small', 18_400_800, 19_427_848, 3.099584),
    ],
)
def test_sizes_equal_the_expected_counts(arch, params, classifier_params, gmacs):
    backbone = EConvNeXt(arch, out_indices=(3,), norm_output=False)
    head = BNLinearClsHead(1000, backbone.out_channels[0])
    assert count(backbone, torch.zeros(1, 3, 224, 224)).params == params

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = backbone, head

        def forward(self, x):
            return self.head((self.backbone(x)[0].mean((2, 3)),))

    complexity = count(Classifier(), torch.zeros(1, 3, 224, 224))
    assert complexity.params == classifier_params
    assert round(complexity.macs / 1e9, 6) == gmacs


def test_block_and_ese_equal_a_second_implementation():
    """The second implementation follows the description and uses only functions of PyTorch."""
    torch.manual_seed(0)
    block = Block(6, 0.0, dict(type='BN'), dict(type='GELU')).double().eval()
    for norm in (block.norm1, block.norm2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 9, 8, dtype=torch.double)

    def bn(y, norm):
        scale = norm.weight / torch.sqrt(norm.running_var + 1e-5)
        return y * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]

    def linear(y, conv):
        return torch.einsum('oc,nchw->nohw', conv.weight[:, :, 0, 0], y) + conv.bias[:, None, None]

    padded = torch.nn.functional.pad(x, (3, 3, 3, 3)).unfold(2, 7, 1).unfold(3, 7, 1)  # (N, C, H, W, 7, 7)
    y = torch.einsum('nchwij,cij->nchw', padded, block.dwconv.weight[:, 0]) + block.dwconv.bias[:, None, None]
    y = linear(bn(y, block.norm1), block.pwconv1)
    y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
    y = bn(linear(y, block.pwconv2), block.norm2)
    gate = (linear(y.mean((2, 3), keepdim=True), block.attn.fc) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(block(x), x + y * gate)


def test_ese_clips_its_weights_to_zero_and_one():
    ese = ESE(2)
    nn.init.zeros_(ese.fc.weight)
    ese.fc.bias.data = torch.tensor([-4.0, 4.0])
    out = ese(torch.ones(1, 2, 3, 3))
    assert (out[:, 0] == 0).all() and (out[:, 1] == 1).all()


def test_every_registry_finds_the_backbone():
    cfg = dict(type='EConvNeXt', arch='mini', widen_factor=0.25)
    for registry in (ROOT_MODELS, MMDET_MODELS, MMPRETRAIN_MODELS):
        assert isinstance(registry.build(dict(cfg)), EConvNeXt)


@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (1, 3), (2,)])
@pytest.mark.parametrize('norm_output', [True, False])
def test_outputs_have_the_promised_channels_and_strides(small, out_indices, norm_output):
    model = small(out_indices=out_indices, norm_output=norm_output)
    outs = model(torch.rand(2, 3, 64, 96))
    assert tuple(out.shape[1] for out in outs) == model.out_channels
    for i, out in zip(out_indices, outs):
        assert out.shape[2:] == (64 // (4 << i), 96 // (4 << i))
    assert len(model.stages) == max(out_indices) + 1
    norms = {name for name, _ in model.named_children() if name.startswith('norm')}
    assert norms == ({f'norm{i}' for i in out_indices} if norm_output else set())


def test_arch_and_input_channels_can_be_custom():
    model = EConvNeXt(dict(dims=(8, 16, 24, 32, 40), blocks=(1, 1, 2, 1), stem='stepped'), in_channels=1)
    assert model.out_channels == (16, 24, 32, 40)
    assert model(torch.rand(2, 1, 32, 32))[-1].shape == (2, 40, 1, 1)


@pytest.mark.parametrize(
    'kwargs, says',
    [
        (dict(arch='huge'), "one of \\['mini', 'small', 'tiny'\\]"),
        (dict(arch=dict(dims=(8, 16), blocks=(1, 1, 1, 1), stem='patchify')), 'dims \\(5 widths\\)'),
        (dict(arch=dict(dims=(8, 16, 24, 32, 40), blocks=(1, 1, 1, 1), stem='conv')), "'patchify' or 'stepped'"),
        (
            dict(arch=dict(dims=(8, 16, 24, 32, 42), blocks=(1, 1, 1, 1), stem='stepped')),
            'stage 3 cannot map 32 to 42 channels',
        ),
        (dict(arch=dict(dims=64, blocks=(1, 1, 1, 1), stem='stepped')), 'dims \\(5 widths\\)'),
        (dict(arch=dict(dims=(8, 16, 24, 32, 40), blocks=(0, 1, 1, 1), stem='stepped')), 'blocks \\(4 numbers'),
        (dict(arch=None), "one of \\['mini', 'small', 'tiny'\\] or a dict"),
        (dict(widen_factor=0.3), 'multiple of 4'),
        (dict(out_indices=(1, 1)), 'each at most once'),
        (dict(out_indices=(0, 4)), 'stages 0, 1, 2, 3'),
        (dict(out_indices=(-1,)), 'stages 0, 1, 2, 3'),
        (dict(out_indices=()), 'at least one'),
        (dict(deepen_factor=-1), 'deepen_factor must be positive'),
        (dict(widen_factor=0), 'widen_factor must be positive'),
        *((dict(widen_factor=x), f'widen_factor={x!r} is too large: .* 16384 channels') for x in (1e9, math.inf)),
        *((dict(deepen_factor=x), f'deepen_factor={x!r} is too large: .* 1000 blocks') for x in (1e6, math.inf)),
        (dict(deepen_factor=math.nan), 'deepen_factor must be positive; got nan'),
        (dict(arch=dict(dims=[8] * 5, blocks=[1, 1, 10**9, 1], stem='stepped')), 'more than 1000 blocks'),
        (dict(frozen_stages=5), 'frozen_stages must be'),
        (dict(drop_path_rate=1.0), 'drop_path_rate must be'),
    ],
)
def test_bad_arguments_are_errors(kwargs, says):
    with pytest.raises(ValueError, match=says):
        EConvNeXt(**kwargs)


def test_the_number_of_blocks_is_rounded_down_but_is_at_least_one():
    model = EConvNeXt('tiny', widen_factor=0.125, deepen_factor=0.1)
    assert model.out_channels == (16, 32, 64, 128)
    assert [len(stage.blocks) for stage in model.stages] == [1, 1, 1, 1]
    model = EConvNeXt('tiny', widen_factor=0.125, deepen_factor=0.67)
    assert [len(stage.blocks) for stage in model.stages] == [2, 2, 6, 2]


def test_convolutions_start_with_a_std_of_0_02_and_all_biases_with_0():
    torch.manual_seed(0)
    model = EConvNeXt('mini')
    model.init_weights()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert (module.bias == 0).all()
            assert abs(module.weight.std() - 0.02) < 0.004
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3])
def test_training_changes_all_but_frozen_stages(small, frozen_stages):
    model = small(frozen_stages=frozen_stages)
    assert model.train() is model and model.eval() is model
    model.train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    sum(out.square().mean() for out in model(torch.rand(2, 3, 64, 64))).backward()
    optimizer.step()
    # The gradient of a convolution's bias is zero if a norm follows.
    without_gradient = re.compile(r'(conv|dwconv|pwconv2)\.bias$')
    frozen = ['stem.', *(f'stages.{i}.' for i in range(frozen_stages))] if frozen_stages >= 0 else []
    for key, value in model.state_dict().items():
        if key.startswith(tuple(frozen)):
            assert torch.equal(value, before[key]), key
        elif not without_gradient.search(key):
            assert not torch.equal(value, before[key]), key


def test_norm_eval_keeps_statistics_and_trains_weights_and_biases(small):
    model = small(norm_eval=True).train()
    before = copy.deepcopy(model.state_dict())
    sum(out.square().mean() for out in model(torch.rand(2, 3, 64, 64))).backward()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(p.grad is not None for p in model.parameters())


def test_activation_checkpointing_allows_a_second_backward_pass(small):
    model = small(with_cp=True).train()
    loss = sum(out.square().mean() for out in model(torch.rand(2, 3, 32, 32)))
    statistics = copy.deepcopy(model.state_dict())
    loss.backward(retain_graph=True)
    first = [p.grad.clone() for p in model.parameters()]
    loss.backward()
    for grad, p in zip(first, model.parameters()):
        torch.testing.assert_close(p.grad, 2 * grad)
    assert all(torch.equal(value, statistics[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    'kwargs',
    [{}, dict(drop_path_rate=0.5), dict(norm_eval=True), dict(frozen_stages=2), dict(norm_cfg=dict(type='SyncBN'))],
)
def test_activation_checkpointing_changes_nothing(small, kwargs):
    """Outputs, gradients and BN statistics stay the same, although the backward pass runs the blocks again."""
    torch.manual_seed(0)
    plain = small(deepen_factor=1.0, **kwargs).double()
    plain.init_weights()
    saving = small(deepen_factor=1.0, with_cp=True, **kwargs).double()
    saving.load_state_dict(plain.state_dict())
    image = torch.rand(3, 3, 64, 64, dtype=torch.double)
    results = []
    for model in (plain, saving):
        model.train()
        torch.manual_seed(1)
        outs = model(image)
        sum(out.square().mean() for out in outs).backward()
        results.append((outs, [p.grad for p in model.parameters()], model.state_dict()))
    (outs, grads, state), (cp_outs, cp_grads, cp_state) = results
    for out, cp_out in zip(outs, cp_outs):
        assert torch.equal(out, cp_out)
    for grad, cp_grad in zip(grads, cp_grads):
        assert (grad is None) == (cp_grad is None)
        if grad is not None:
            torch.testing.assert_close(cp_grad, grad)
    for key, value in state.items():
        assert torch.equal(value, cp_state[key]), key
    assert all(m.momentum == 0.1 for m in saving.modules() if isinstance(m, nn.BatchNorm2d))


def test_activation_checkpointing_recomputes_each_block(small):
    """The forward pass of each block starts again in the backward pass, so its pre-hook counts twice."""
    model = small(with_cp=True).train()
    calls = []
    for stage in model.stages:
        for block in stage.blocks:
            block.register_forward_pre_hook(lambda *_: calls.append(1))
    outs = model(torch.rand(2, 3, 32, 32))
    first = len(calls)
    sum(out.square().mean() for out in outs).backward()
    assert first == sum(len(stage.blocks) for stage in model.stages) and len(calls) == 2 * first


def test_stochastic_depth_is_applied():
    """A dropped sample keeps the input. A kept branch is divided by its probability. Evaluation drops nothing."""
    torch.manual_seed(0)
    block = Block(4, 0.75, dict(type='BN'), dict(type='GELU')).double()
    for norm in (block.norm1, block.norm2):  # the branch must be the same for every batch
        norm.eval()
    x = torch.randn(400, 4, 5, 5, dtype=torch.double)
    branch = block.eval()(x) - x
    block.drop_path, block.training = 0.75, True
    change = block(x) - x
    dropped = (change == 0).flatten(1).all(1)
    assert 0.65 < dropped.double().mean() < 0.85
    torch.testing.assert_close(change[~dropped], 4 * branch[~dropped])


def test_stochastic_depth_rates_rise_linearly(small):
    model = small(deepen_factor=1.0, drop_path_rate=0.34)
    rates = [block.drop_path for stage in model.stages for block in stage.blocks]
    assert len(rates) == 18
    torch.testing.assert_close(torch.tensor(rates), torch.arange(18) * 0.02)


def test_norm_cfg_can_give_sync_bn_frozen_norms_and_group_norm(small):
    model = small(norm_cfg=dict(type='SyncBN', eps=1e-3, requires_grad=False))
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(type(m) is nn.SyncBatchNorm and m.eps == 1e-3 for m in norms)
    assert not any(p.requires_grad for m in norms for p in m.parameters())
    assert model(torch.rand(2, 3, 64, 64))[0].shape == (2, 24, 16, 16)  # a single process treats it as BN
    group_norm = small(norm_cfg=dict(type='GN', num_groups=1))
    assert group_norm(torch.rand(1, 3, 32, 32))[0].shape == (1, 24, 8, 8)


def test_gradients_agree_with_finite_differences():
    """Compare the derivative of a loss along a random direction of the parameters, with activation checkpointing."""
    torch.manual_seed(0)
    model = EConvNeXt(dict(dims=(4, 4, 4, 4, 4), blocks=(1, 1, 1, 1), stem='stepped'), with_cp=True).double().train()
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    weights = [torch.randn_like(out) for out in model(x)]

    def loss():
        return sum((weight * out).sum() for weight, out in zip(weights, model(x)))

    loss().backward()
    directions = [torch.randn_like(p) for p in model.parameters()]
    analytical = sum((p.grad * d).sum() for p, d in zip(model.parameters(), directions))
    values = []
    with torch.no_grad():
        for step in (1e-6, -2e-6):
            for p, d in zip(model.parameters(), directions):
                p += step * d
            values.append(loss())
    torch.testing.assert_close((values[0] - values[1]) / 2e-6, analytical, rtol=1e-5, atol=1e-5)


def test_layer_depth_rises_from_the_stem_to_the_head():
    model = EConvNeXt('small', widen_factor=0.125)
    depths = [model.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in model.named_parameters()]
    layers, counts = zip(*depths)
    assert set(counts) == {14}  # the stem, 1 + 1 + 9 + 1 layers of three blocks, and the rest
    assert set(layers) == set(range(14)) and layers[0] == 0
    assert model.get_layer_depth('stages.2.blocks.26.pwconv1.weight') == (11, 14)
    assert model.get_layer_depth('stages.2.down.conv.weight') == (3, 14)
    assert model.get_layer_depth('stages.2.conv3.conv.weight') == (11, 14)
    assert model.get_layer_depth('norm2.weight') == model.get_layer_depth('head.fc.weight', 'backbone.') == (13, 14)
