"""E-ConvNeXt (arXiv 2508.20955): ConvNeXt blocks in cross-stage partial stages, with channel attention.

The classes go from small to large: :class:`Block` is the residual block, :class:`CSPStage` is a stage of blocks, and
:class:`EConvNeXt` is a stem and four stages. In shapes, N is the number of images, C the number of channels, H the
height and W the width of a map.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..utils.errors import UserError
from ..utils.model import scale
from ..weights.checkpoint import pretrained_of
from ..weights.loading import load_backbone
from .depthwise import DepthwiseConv

# MMCV registers these names too. With this table, the backbone needs only PyTorch and MMEngine.
TORCH_LAYERS = dict(BN=nn.BatchNorm2d, SyncBN=nn.SyncBatchNorm, GELU=nn.GELU)


def build_layer(cfg: dict, **kwargs: Any) -> nn.Module:
    """Build a layer from ``dict(type=...)``. The type is a name in ``TORCH_LAYERS`` or any registered type."""
    return MODELS.build({**cfg, 'type': TORCH_LAYERS.get(cfg['type'], cfg['type']), **kwargs})


def build_norm(cfg: dict, channels: int) -> nn.Module:
    """Build the norm that ``cfg`` describes. ``requires_grad=False`` in it freezes the norm's weight and bias."""
    cfg = dict(cfg)
    requires_grad = cfg.pop('requires_grad', True)
    size = 'num_channels' if cfg['type'] in ('GN', nn.GroupNorm) else 'num_features'
    return build_layer(cfg, **{size: channels}).requires_grad_(requires_grad)


class ConvBNAct(nn.Sequential):
    """A convolution with bias, then a norm, then an activation.

    With stride 1 and an odd kernel, the output is as high and wide as the input. With a larger stride, there is no
    padding.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, norm_cfg: dict, act_cfg: dict
    ):
        super().__init__()
        padding = kernel_size // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)
        self.bn = build_norm(norm_cfg, out_channels)
        self.act = build_layer(act_cfg)


class ESE(nn.Module):
    """Effective squeeze-and-excitation (CenterMask, arXiv 1911.06667): scale each channel by a weight in [0, 1].

    MMDetection's ``ChannelAttention`` is the same layer. This one exists because the classifier must work without
    MMDetection.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        weight = F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))  # (N, C, 1, 1)
        return x * weight


class Block(nn.Module):
    """The ConvNeXt block (arXiv 2201.03545) with BatchNorm, and with :class:`ESE` in place of Layer Scale.

    Args:
        channels: The channels of the input and of the output.
        drop_path: The probability that a sample skips the residual branch during training (stochastic depth, arXiv
            1603.09382).
        norm_cfg: The norm.
        act_cfg: The activation.
    """

    def __init__(self, channels: int, drop_path: float, norm_cfg: dict, act_cfg: dict):
        super().__init__()
        self.dwconv = DepthwiseConv(channels)
        self.norm1 = build_norm(norm_cfg, channels)
        self.pwconv1 = nn.Conv2d(channels, 4 * channels, 1)
        self.act = build_layer(act_cfg)
        self.pwconv2 = nn.Conv2d(4 * channels, channels, 1)
        self.norm2 = build_norm(norm_cfg, channels)
        self.attn = ESE(channels)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out = self.norm1(self.dwconv(x))  # mixes neighbours, each channel separately
        out = self.act(self.pwconv1(out))  # (N, 4 * C, H, W): mixes channels, each position separately
        out = self.norm2(self.pwconv2(out))  # (N, C, H, W)
        out = self.attn(out)
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            # Dividing by this probability gives the branch the same expected value in training and in evaluation.
            out = out * (out.new_empty(len(out), 1, 1, 1).bernoulli_(keep) / keep)
        return x + out


class CSPStage(nn.Module):
    """A cross-stage partial stage (CSPNet, arXiv 1911.11929): only half of the channels go through the blocks.

    Args:
        in_channels: The channels of the input. With stride 1 they are not used, because the input then has
            ``mid_channels``.
        mid_channels: The transition width: the channels after downsampling, half of which go through the blocks. The
            number is even; in E-ConvNeXt it is (in + out) / 2.
        out_channels: The channels of the output.
        drop_paths: The drop rate of each block. There is one block per rate.
        stride: 2 to downsample first, or 1 not to downsample.
        norm_cfg: The norm.
        act_cfg: The activation.
        with_cp: Whether to recompute the activations of the blocks in the backward pass, which saves memory.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        drop_paths: Sequence[float],
        stride: int,
        norm_cfg: dict,
        act_cfg: dict,
        with_cp: bool,
    ):
        super().__init__()
        layer = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        half = mid_channels // 2
        self.with_cp = with_cp
        self.down: nn.Module = (
            ConvBNAct(in_channels, mid_channels, 2, stride=2, **layer) if stride == 2 else nn.Identity()
        )
        self.conv1 = ConvBNAct(mid_channels, half, 1, stride=1, **layer)
        self.conv2 = ConvBNAct(mid_channels, half, 1, stride=1, **layer)
        self.blocks = nn.Sequential(*(Block(half, rate, **layer) for rate in drop_paths))
        self.attn = ESE(mid_channels)
        self.conv3 = ConvBNAct(mid_channels, out_channels, 1, stride=1, **layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        x = self.down(x)  # (N, C_mid, H / stride, W / stride); all maps below have this size
        skipped = self.conv1(x)  # C_mid / 2 channels, which skip the blocks
        out = self.conv2(x)  # C_mid / 2 channels, which go through the blocks
        for block in self.blocks:
            if self.with_cp and torch.is_grad_enabled():
                out = checkpoint(block, out, use_reentrant=False, context_fn=partial(checkpoint_contexts, block))
            else:
                out = block(out)
        out = torch.cat((skipped, out), dim=1)  # C_mid channels
        return self.conv3(self.attn(out))


class RunningStatsKept(AbstractContextManager):
    """A context in which BatchNorms in training normalise as usual but do not update their running statistics.

    Activation checkpointing runs the forward pass of a block twice, so without this context each batch would count
    twice. The context can be entered again, for example in a second backward pass through the same graph.
    """

    def __init__(self, module: nn.Module):
        self.norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]

    def __enter__(self) -> None:
        self.saved = [(norm, norm.momentum, norm.num_batches_tracked) for norm in self.norms if norm.training]
        for norm, _, count in self.saved:
            assert count is not None  # a norm that tracks statistics has a counter
            # With track_running_stats=False, the second pass would save fewer tensors than the first, and PyTorch
            # refuses that. SyncBN needs a counter, so it gets a temporary one.
            norm.momentum, norm.num_batches_tracked = 0.0, torch.zeros_like(count)

    def __exit__(self, *_: object) -> None:
        for norm, momentum, count in self.saved:
            norm.momentum, norm.num_batches_tracked = momentum, count


def checkpoint_contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """The contexts for the first forward pass of a block and for its recomputation."""
    return nullcontext(), RunningStatsKept(block)


@MODELS.register_module()
class EConvNeXt(BaseModule):
    """The E-ConvNeXt backbone (arXiv 2508.20955): a stem and four stages.

    It maps images (N, ``in_channels``, H, W) to a tuple with the outputs of the stages in ``out_indices``. The outputs
    of the stages 0, 1, 2 and 3 have the shapes (N, C, H / s, W / s), rounded down, at the strides s = 4, 8, 16 and 32.
    The attribute ``out_channels`` holds the numbers of channels C of the returned outputs.

    Args:
        arch: 'mini', 'tiny', 'small', or a dict with three keys. ``stem`` is 'patchify' (one 4x4 convolution with
            stride 4) or 'stepped' (three convolutions with a stride of 2 in total, and a first stage with stride 2).
            ``dims`` holds 5 widths: a first width, then the width of each stage's output. A 'stepped' stem outputs the
            first width. A 'patchify' stem outputs the mean of the first two widths. ``blocks`` holds the number of
            blocks in each of the 4 stages. Defaults to 'tiny'.
        in_channels: The channels of the images. Defaults to 3.
        deepen_factor: A factor for the numbers of blocks. The results are truncated, and are at least 1. Defaults to
            1.0.
        widen_factor: A factor for the widths. The results are truncated. Defaults to 1.0.
        out_indices: The stages, 0 to 3, whose outputs are returned. Stages after the last of these are not built.
            Defaults to (0, 1, 2, 3).
        norm_output: Whether each output passes through its own norm. Defaults to True.
        drop_path_rate: The drop rate of the last block (stochastic depth). The rates rise linearly from 0 over all
            blocks. Defaults to 0.0.
        frozen_stages: -1 freezes nothing, 0 freezes the stem, and k freezes the stem and the first k stages: their
            parameters and their BN statistics. The output norms are not part of a stage. They are always trained,
            because the checkpoint of a classifier does not have them. Defaults to -1.
        norm_eval: Whether all BNs keep their statistics during training, except output norms that a pretrained file
            lacks. Defaults to False.
        with_cp: Whether to recompute the activations of the blocks in the backward pass. This saves memory; outputs,
            gradients and BN statistics stay the same. Defaults to False.
        norm_cfg: The norm. 'SyncBN' synchronises BN between GPUs. Defaults to ``dict(type='BN')``.
        act_cfg: The activation. Defaults to ``dict(type='GELU')``.
        init_cfg: The initialisation. ``dict(type='Pretrained', checkpoint=PATH)`` loads a file strictly: every
            parameter of the backbone, except those of the output norms, must be in it, unless the dict also has
            ``allow_partial=True``, see :func:`econvnext_mmdet.weights.loading.load_backbone`. Defaults to None: the
            weights of convolutions come from a truncated normal distribution with standard deviation 0.02, and their
            biases are 0.

    Raises:
        UserError: (a ValueError) The arch is unknown, a factor is not positive, a stage would have more than 1000
            blocks or 16384 channels, another number is out of range, or the transition width (in + out) / 2 of a stage
            does not split into two halves.

    Example:
        >>> import torch
        >>> from econvnext_mmdet import EConvNeXt
        >>> model = EConvNeXt('mini', out_indices=(1, 2, 3))
        >>> [tuple(out.shape) for out in model(torch.rand(1, 3, 64, 96))]
        [(1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    arch_settings: dict[str, dict[str, Any]] = {
        'mini': dict(dims=(48, 96, 192, 384, 768), blocks=(3, 3, 9, 3), stem='patchify'),
        'tiny': dict(dims=(64, 128, 256, 512, 1024), blocks=(3, 3, 9, 3), stem='stepped'),
        'small': dict(dims=(64, 128, 256, 512, 1024), blocks=(3, 3, 27, 3), stem='stepped'),
    }
    init_cfg: dict | Sequence[dict]  # BaseModule sets it

    def __init__(
        self,
        arch: str | dict[str, Any] = 'tiny',
        in_channels: int = 3,
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        norm_output: bool = True,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict = dict(type='BN'),
        act_cfg: dict = dict(type='GELU'),
        init_cfg: dict | Sequence[dict] | None = None,
    ):
        super().__init__(init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.02, bias=0))
        dims, blocks, stem = self._scaled_arch(arch, deepen_factor, widen_factor)
        if isinstance(out_indices, int):
            out_indices = (out_indices,)
        if not out_indices or any(i not in range(4) for i in out_indices) or len({*out_indices}) < len(out_indices):
            raise UserError(
                f'out_indices must name at least one of the stages 0, 1, 2, 3, each at most once; got {out_indices!r}'
            )
        if frozen_stages not in range(-1, 5):
            raise UserError(
                'frozen_stages must be -1 (freezes nothing), 0 (the stem) or 1 to 4 (the stem and that many stages); '
                f'got {frozen_stages!r}'
            )
        if not 0 <= drop_path_rate < 1:
            raise UserError(f'drop_path_rate must be in [0, 1); got {drop_path_rate!r}')

        self.out_indices = tuple(out_indices)
        self.out_channels = tuple(dims[i + 1] for i in out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self._fresh_norms: tuple[str, ...] = ()  # the output norms that a pretrained file lacks

        layer = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        mid_dims = [(dims[i] + dims[i + 1]) // 2 for i in range(4)]
        if stem == 'patchify':
            # (N, mid_dims[0], H / 4, W / 4). Stage 0 does not downsample, so it starts from its transition width.
            self.stem = nn.Sequential(ConvBNAct(in_channels, mid_dims[0], 4, stride=4, **layer))
        else:
            # (N, dims[0], H / 2, W / 2)
            self.stem = nn.Sequential(
                ConvBNAct(in_channels, dims[0] // 2, 2, stride=2, **layer),
                ConvBNAct(dims[0] // 2, dims[0] // 2, 3, stride=1, **layer),
                ConvBNAct(dims[0] // 2, dims[0], 3, stride=1, **layer),
            )
        # The rates are computed on the CPU even if the model is built on the meta device: tolist() needs their values.
        rates = torch.linspace(0, drop_path_rate, sum(blocks), device='cpu').split(blocks)
        # Stages that no output needs would get no gradients, which distributed training refuses.
        num_stages = max(self.out_indices) + 1
        self.stages = nn.ModuleList(
            CSPStage(
                dims[i],
                mid_dims[i],
                dims[i + 1],
                rates[i].tolist(),
                stride=1 if stem == 'patchify' and i == 0 else 2,
                with_cp=with_cp,
                **layer,
            )
            for i in range(num_stages)
        )
        self._num_blocks = blocks[:num_stages]
        for i in self.out_indices if norm_output else ():
            self.add_module(f'norm{i}', build_norm(norm_cfg, dims[i + 1]))
        self._freeze()

    @classmethod
    def _scaled_arch(
        cls, arch: str | dict[str, Any], deepen_factor: float, widen_factor: float
    ) -> tuple[list[int], list[int], str]:
        """Check an architecture and scale it.

        Returns:
            The 5 widths, the 4 numbers of blocks and the kind of stem.
        """
        if not isinstance(arch, dict):
            if not isinstance(arch, str) or arch not in cls.arch_settings:
                raise UserError(
                    f'arch must be one of {sorted(cls.arch_settings)} or a dict with dims, blocks and stem; '
                    f'got {arch!r}'
                )
            arch = cls.arch_settings[arch]
        if (
            set(arch) != {'dims', 'blocks', 'stem'}
            or arch['stem'] not in ('patchify', 'stepped')
            or not all(
                isinstance(arch[key], (list, tuple)) and len(arch[key]) == length and min(arch[key]) >= 1
                for key, length in (('dims', 5), ('blocks', 4))
            )
        ):
            raise UserError(
                'an arch dict must have dims (5 widths), blocks (4 numbers of at least 1), stem '
                f"('patchify' or 'stepped') and nothing else; got {arch!r}"
            )
        dims = [int(dim) for dim in scale(arch['dims'], 'widen_factor', widen_factor)]
        blocks = [max(int(n), 1) for n in scale(arch['blocks'], 'deepen_factor', deepen_factor)]
        for i in range(4):
            if dims[i] < 2 or (dims[i] + dims[i + 1]) % 4:
                raise UserError(
                    f'stage {i} cannot map {dims[i]} to {dims[i + 1]} channels: widths must be at least 2, and two '
                    'neighbouring widths must add up to a multiple of 4, because a stage splits half of their sum into '
                    f'two equal parts; got the widths {dims} with widen_factor={widen_factor}. Change dims or '
                    'widen_factor.'
                )
        return dims, blocks, arch['stem']

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, C, H, W) to the outputs of the chosen stages, in the order of ``out_indices``."""
        x = self.stem(x)
        outs = {}
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                norm: nn.Module | None = getattr(self, f'norm{i}', None)
                outs[i] = x if norm is None else norm(x)
        return tuple(outs[i] for i in self.out_indices)

    def _freeze(self) -> None:
        if self.frozen_stages >= 0:
            for module in (self.stem, *self.stages[: self.frozen_stages]):
                module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> 'EConvNeXt':
        """Switch to training, except for the parts that ``frozen_stages`` and ``norm_eval`` keep in evaluation."""
        super().train(mode)
        self._freeze()
        if self.norm_eval:
            for name, module in self.named_modules():
                if isinstance(module, _BatchNorm) and name not in self._fresh_norms:
                    module.eval()
        return self

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` describes. A pretrained file is loaded last, and strictly.

        Raises:
            UserError: The file is missing or unreadable, or it does not fit this backbone, see
                :func:`~econvnext_mmdet.weights.loading.load_backbone`.
        """
        init_cfg = self.init_cfg
        pretrained = pretrained_of(init_cfg)
        # BaseModule would accept a file that does not fit, so it gets only the other entries.
        entries = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
        self.init_cfg = [cfg for cfg in entries if cfg not in pretrained]
        super().init_weights()
        self.init_cfg = init_cfg
        for cfg in pretrained:
            self._fresh_norms = load_backbone(
                self, cfg['checkpoint'], cfg.get('prefix'), cfg.get('allow_partial', False)
            )

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The layer to which a parameter belongs, for layer-wise learning-rate decay.

        The stem is layer 0. Then come the blocks, with three blocks of a stage per layer, as in ConvNeXt (arXiv
        2201.03545). The last layer is everything that is not in the stem or in a stage: output norms, neck and head.
        The other convolutions and the attention of a stage belong to its first layer if they come before the blocks,
        and to its last layer if they come after the blocks.

        Args:
            param_name: The name of the parameter.
            prefix: The prefix of the backbone's names, such as 'backbone.'. Defaults to ''.

        Returns:
            The layer of the parameter, and the number of layers.
        """
        sizes = [math.ceil(number / 3) for number in self._num_blocks]  # layers per stage
        num_layers = 1 + sum(sizes) + 1
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        part, *rest = param_name[len(prefix) :].split('.')
        if part == 'stem':
            return 0, num_layers
        if part != 'stages':
            return num_layers - 1, num_layers
        stage, layer = int(rest[0]), rest[1]
        first = 1 + sum(sizes[:stage])
        if layer == 'blocks':
            return first + int(rest[2]) // 3, num_layers
        return (first if layer in ('down', 'conv1', 'conv2') else first + sizes[stage] - 1), num_layers
