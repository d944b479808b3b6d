"""The 7x7 depthwise convolution of the ConvNeXt block, with a faster gradient of its weight on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class DepthwiseConv(nn.Conv2d):
    """A 7x7 depthwise convolution that keeps the height and width.

    In float32 on a CPU, the gradient of the weight takes a faster way, see :class:`SplitWeightGradient`. It is equal up
    to rounding. The forward pass and the state dict are those of ``nn.Conv2d``.

    Args:
        channels: The channels of the input and of the output.
    """

    def __init__(self, channels: int):
        super().__init__(channels, channels, 7, padding=3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        plain = torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.is_autocast_enabled('cpu')
        trains = torch.is_grad_enabled() and self.weight.requires_grad
        if trains and not plain and x.is_cpu and x.dtype == torch.float32 and x.shape[-1] > 1:
            return SplitWeightGradient.apply(x, self.weight, self.bias)
        return super().forward(x)


class SplitWeightGradient(torch.autograd.Function):
    """A 7x7 depthwise convolution whose weight gradient is computed for at most 3 columns of the kernel at a time.

    On x86 CPUs, oneDNN has a depthwise kernel for the weight gradient only of kernels that are at most 3 columns wide.
    For wider ones, PyTorch falls back to a general kernel, which takes several times as long. The gradient of some
    columns is that of a convolution with these columns alone, on a shifted input.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve x (N, C, H, W) with weight (C, 1, 7, 7) and add bias (C,). W is at least 2."""
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=3, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """The gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            # oneDNN chooses the faster kernel if both have the same memory format.
            last = x.is_contiguous(memory_format=torch.channels_last)
            same = grad.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
            grad_x = _gradients(same, x, weight, (3, 3), (True, False, False))[0]
        x, grad = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, grad))
        # Column k of the kernel reads the input k - 3 columns further right. Negative padding cuts columns off.
        parts = (
            (F.pad(x, (3, -1)), weight[..., :3]),
            (x, weight[..., 3:4]),
            (F.pad(x, (-1, 3)), weight[..., 4:]),
        )
        columns = [_gradients(grad, shifted, part, (3, 0), (False, True, False))[1] for shifted, part in parts]
        return grad_x, torch.cat(columns, dim=-1), grad.sum((0, 2, 3))


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int], mask: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the input, the weight and the bias of a depthwise convolution, as far as ``mask`` wants them."""
    channels = len(weight)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, [channels], [1, 1], padding, [1, 1], False, [0, 0], channels, mask
    )
