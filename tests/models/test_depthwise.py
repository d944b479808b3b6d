"""The faster weight gradient of the depthwise convolution is that of PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.models import depthwise
from econvnext_mmdet.models.depthwise import DepthwiseConv, SplitWeightGradient


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('size', [(1, 2), (2, 2), (2, 3), (3, 1000), (10, 7)])
def test_gradients_in_float64(size, memory_format):
    torch.manual_seed(0)
    x = torch.randn(2, 6, *size, dtype=torch.double).contiguous(memory_format=memory_format).requires_grad_()
    weight = torch.randn(6, 1, 7, 7, dtype=torch.double, requires_grad=True)
    bias = torch.randn(6, dtype=torch.double, requires_grad=True)
    expected = F.conv2d(x, weight, bias, padding=3, groups=6)
    found = SplitWeightGradient.apply(x, weight, bias)
    assert torch.equal(found, expected)
    direction = torch.randn_like(expected)
    for ours, theirs in zip(*(torch.autograd.grad(out, (x, weight, bias), direction) for out in (found, expected))):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('with_cp', [False, True])
def test_a_backbone_gets_the_gradients_of_the_plain_convolution(small, monkeypatch, with_cp):
    torch.manual_seed(0)
    model = small(with_cp=with_cp).double()
    image = torch.rand(2, 3, 64, 96, dtype=torch.double)
    directions = [torch.randn_like(out) for out in model(image)]

    def gradients():
        model.zero_grad()
        torch.autograd.backward(model(image), directions)
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    expected = gradients()  # float64 takes the plain way
    calls = []

    def forward(self, x):
        calls.append(x.shape)
        return SplitWeightGradient.apply(x, self.weight, self.bias)

    monkeypatch.setattr(DepthwiseConv, 'forward', forward)
    found = gradients()
    assert len(calls) == (12 if with_cp else 6)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('change', ['none', 'no_grad', 'frozen', 'autocast', 'narrow'])
def test_only_training_in_float32_takes_the_faster_way(monkeypatch, change):
    calls = []
    monkeypatch.setattr(depthwise.SplitWeightGradient, 'apply', lambda *args: calls.append(1) or args[0])
    layer, x = DepthwiseConv(4), torch.rand(1, 4, 8, 1 if change == 'narrow' else 8)
    if change == 'frozen':
        layer.requires_grad_(False)
    with torch.set_grad_enabled(change != 'no_grad'), torch.autocast('cpu', enabled=change == 'autocast'):
        layer(x)
    assert len(calls) == (change == 'none')


def test_frozen_biases_and_inputs_without_gradient_train():
    model = EConvNeXt('mini', widen_factor=0.25, deepen_factor=0.34, frozen_stages=2)
    sum(out.sum() for out in model(torch.rand(2, 3, 64, 64))).backward()
    kernels = {name: p.grad for name, p in model.named_parameters() if name.endswith('dwconv.weight')}
    assert [name for name, grad in kernels.items() if grad is None] == [n for n in kernels if n < 'stages.2']
