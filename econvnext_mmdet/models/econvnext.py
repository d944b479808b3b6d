"""E-ConvNeXt (arXiv 2508.20955): ConvNeXt blocks in cross-stage partial stages with channel attention."""
import math
from contextlib import nullcontext
from typing import Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..checkpoint import load_backbone, pretrained_of
from ..errors import UserError

# mmcv registers these names too; with them here the backbone needs torch and mmengine alone.
TORCH_LAYERS = dict(BN=nn.BatchNorm2d, SyncBN=nn.SyncBatchNorm, GELU=nn.GELU)


def build_layer(cfg: dict, **kwargs) -> nn.Module:
    """Build a layer from ``dict(type=...)``: one of torch's above, or any that is registered."""
    return MODELS.build({**cfg, 'type': TORCH_LAYERS.get(cfg['type'], cfg['type']), **kwargs})


def build_norm(cfg: dict, channels: int) -> nn.Module:
    """Build the norm over ``channels`` that ``norm_cfg`` names; ``requires_grad=False`` freezes its affine."""
    cfg = dict(cfg)
    requires_grad = cfg.pop('requires_grad', True)
    size = 'num_channels' if cfg['type'] in ('GN', nn.GroupNorm) else 'num_features'
    return build_layer(cfg, **{size: channels}).requires_grad_(requires_grad)


class ConvBNAct(nn.Sequential):
    """A convolution with bias, a norm, an activation. Odd kernels of stride 1 keep the size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int,
                 norm_cfg: dict, act_cfg: dict):
        super().__init__()
        padding = kernel_size // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)
        self.bn = build_norm(norm_cfg, out_channels)
        self.act = build_layer(act_cfg)


class ESE(nn.Module):
    """Effective squeeze-and-excitation: one weight in [0, 1] a channel (CenterMask, arXiv 1911.06667).

    The same as mmdet's ``ChannelAttention``; here for the classifier, which is to work without mmdet.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.fc(x.mean((2, 3), keepdim=True))  # (N, C, 1, 1)
        return x * F.hardsigmoid(weight)


class Block(nn.Module):
    """The ConvNeXt block with BatchNorm, and with :class:`ESE` where ConvNeXt has Layer Scale.

    Args:
        channels (int): Channels in and out.
        drop_path (float): Probability with which a sample skips the residual branch in training
            (stochastic depth, arXiv 1603.09382).
        norm_cfg (dict): The norm.
        act_cfg (dict): The activation.
    """

    def __init__(self, channels: int, drop_path: float, norm_cfg: dict, act_cfg: dict):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm1 = build_norm(norm_cfg, channels)
        self.pwconv1 = nn.Conv2d(channels, 4 * channels, 1)
        self.act = build_layer(act_cfg)
        self.pwconv2 = nn.Conv2d(4 * channels, channels, 1)
        self.norm2 = build_norm(norm_cfg, channels)
        self.attn = ESE(channels)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm1(self.dwconv(x))
        out = self.pwconv2(self.act(self.pwconv1(out)))
        out = self.attn(self.norm2(out))
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            # Divided by its probability, the branch has the same expectation in training and in testing.
            out = out * (out.new_empty(len(out), 1, 1, 1).bernoulli_(keep) / keep)
        return x + out


class CSPStage(nn.Module):
    """A cross-stage partial stage: half of the channels pass by the blocks (CSPNet, arXiv 1911.11929).

    Args:
        in_channels (int): Channels in, or of the transition where ``stride`` is 1.
        mid_channels (int): The transition width, (in + out) / 2 of the stage; even.
        out_channels (int): Channels out.
        drop_paths (Sequence[float]): The drop rate of each block, and so their number.
        stride (int): 2 downsamples first; 1 leaves that layer out.
        norm_cfg (dict): The norm.
        act_cfg (dict): The activation.
        with_cp (bool): Recompute the blocks' activations in the backward pass to save memory.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, drop_paths: Sequence[float],
                 stride: int, norm_cfg: dict, act_cfg: dict, with_cp: bool):
        super().__init__()
        layer = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.with_cp = with_cp
        if stride == 2:
            self.down = ConvBNAct(in_channels, mid_channels, 2, stride=2, **layer)
        else:
            self.down = nn.Identity()
        self.conv1 = ConvBNAct(mid_channels, mid_channels // 2, 1, stride=1, **layer)
        self.conv2 = ConvBNAct(mid_channels, mid_channels // 2, 1, stride=1, **layer)
        self.blocks = nn.Sequential(*(Block(mid_channels // 2, rate, **layer) for rate in drop_paths))
        self.attn = ESE(mid_channels)
        self.conv3 = ConvBNAct(mid_channels, out_channels, 1, stride=1, **layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        passed, out = self.conv1(x), self.conv2(x)
        for block in self.blocks:
            if self.with_cp and torch.is_grad_enabled():
                out = checkpoint(block, out, use_reentrant=False,
                                 context_fn=lambda block=block: (nullcontext(), RunningStatsKept(block)))
            else:
                out = block(out)
        return self.conv3(self.attn(torch.cat((passed, out), dim=1)))


class RunningStatsKept:
    """A context in which training BatchNorms normalise as always and leave their running statistics alone.

    Activation checkpointing runs a block's forward pass a second time, which would count its batch twice. The
    context can be entered again, as a second backward pass through the same graph does.
    """

    def __init__(self, module: nn.Module):
        self.norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]

    def __enter__(self) -> None:
        self.saved = [(norm, norm.momentum, norm.num_batches_tracked) for norm in self.norms if norm.training]
        for norm, _, _ in self.saved:
            # track_running_stats=False would save fewer tensors than the first pass did, which torch refuses.
            # SyncBN wants a count, so it gets one of its own.
            norm.momentum, norm.num_batches_tracked = 0., torch.zeros_like(norm.num_batches_tracked)

    def __exit__(self, *_) -> None:
        for norm, momentum, count in self.saved:
            norm.momentum, norm.num_batches_tracked = momentum, count


@MODELS.register_module()
class EConvNeXt(BaseModule):
    """E-ConvNeXt backbone (arXiv 2508.20955).

    Maps images (N, ``in_channels``, H, W) to a tuple with the outputs of the stages in ``out_indices``:
    stage i gives (N, C_i, H / s, W / s) at stride s = 4, 8, 16, 32. ``out_channels`` holds the C_i.

    Args:
        arch (str | dict): 'mini', 'tiny', 'small', or a dict with ``dims`` (5 widths: of the stem, then of
            each stage's output), ``blocks`` (4 numbers of blocks) and ``stem``: 'patchify' (one 4x4
            convolution of stride 4) or 'stepped' (three convolutions to stride 2, and a first stage of
            stride 2). Defaults to 'tiny'.
        in_channels (int): Channels of the image. Defaults to 3.
        deepen_factor (float): Scales the numbers of blocks, truncated, at least 1. Defaults to 1.0.
        widen_factor (float): Scales the widths, truncated. Defaults to 1.0.
        out_indices (Sequence[int]): The stages, 0 to 3, whose outputs are returned; those after the last of
            them are not built. Defaults to (0, 1, 2, 3).
        norm_output (bool): Pass each output through a norm of its own. Defaults to True.
        drop_path_rate (float): Stochastic depth: the rate of the last block; it rises linearly from 0 over
            all blocks. Defaults to 0.0.
        frozen_stages (int): Freezes parameters and BN statistics: 0 of the stem, k of the stem and the first
            k stages; -1 freezes nothing. Output norms are no part of a stage and train on: detection starts
            them fresh. Defaults to -1.
        norm_eval (bool): Keep the statistics of all BNs while training, all but those of output norms that a
            pretrained file lacks. Defaults to False.
        with_cp (bool): Recompute the blocks' activations in the backward pass: less memory, the same outputs,
            gradients and BN statistics. Defaults to False.
        norm_cfg (dict): The norm, 'SyncBN' for synchronised BN. Defaults to ``dict(type='BN')``.
        act_cfg (dict): The activation. Defaults to ``dict(type='GELU')``.
        init_cfg (dict | list[dict], optional): How to initialise. ``dict(type='Pretrained', checkpoint=PATH)``
            is strict: a file that leaves parameters of the backbone unmatched is an error, unless it has
            ``allow_partial=True`` (see :func:`econvnext_mmdet.checkpoint.load_backbone`). Defaults to None:
            convolutions from a truncated normal with standard deviation 0.02, biases 0.

    Raises:
        UserError: (a ValueError) An unknown arch, a factor that is not positive, an index out of range, or widths
            whose transition (in + out) / 2 does not split in two.

    Example:
        >>> import torch
        >>> from econvnext_mmdet import EConvNeXt
        >>> model = EConvNeXt('mini', out_indices=(1, 2, 3))
        >>> [tuple(out.shape) for out in model(torch.rand(1, 3, 64, 96))]
        [(1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    arch_settings = {
        'mini': dict(dims=(48, 96, 192, 384, 768), blocks=(3, 3, 9, 3), stem='patchify'),
        'tiny': dict(dims=(64, 128, 256, 512, 1024), blocks=(3, 3, 9, 3), stem='stepped'),
        'small': dict(dims=(64, 128, 256, 512, 1024), blocks=(3, 3, 27, 3), stem='stepped'),
    }

    def __init__(self,
                 arch: Union[str, dict] = 'tiny',
                 in_channels: int = 3,
                 deepen_factor: float = 1.0,
                 widen_factor: float = 1.0,
                 out_indices: Sequence[int] = (0, 1, 2, 3),
                 norm_output: bool = True,
                 drop_path_rate: float = 0.0,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 act_cfg: dict = dict(type='GELU'),
                 init_cfg: Union[dict, Sequence[dict], None] = None):
        super().__init__(init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.02, bias=0))
        dims, blocks, stem = self._scaled_arch(arch, deepen_factor, widen_factor)
        if isinstance(out_indices, int):
            out_indices = (out_indices, )
        if not out_indices or any(i not in range(4) for i in out_indices) or len({*out_indices}) < len(out_indices):
            raise UserError('out_indices must name at least one of the stages 0, 1, 2, 3, and each once; got '
                            f'{out_indices!r}')
        if frozen_stages not in range(-1, 5):
            raise UserError('frozen_stages must be -1 (none), 0 (the stem) or 1 to 4 (the stem and so many '
                            f'stages); got {frozen_stages!r}')
        if not 0 <= drop_path_rate < 1:
            raise UserError(f'drop_path_rate must be in [0, 1); got {drop_path_rate!r}')

        self.out_indices = tuple(out_indices)
        self.out_channels = tuple(dims[i + 1] for i in out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self._fresh_norms: Tuple[str, ...] = ()

        layer = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        mid_dims = [(dims[i] + dims[i + 1]) // 2 for i in range(4)]
        if stem == 'patchify':
            self.stem = nn.Sequential(ConvBNAct(in_channels, mid_dims[0], 4, stride=4, **layer))
        else:
            self.stem = nn.Sequential(
                ConvBNAct(in_channels, dims[0] // 2, 2, stride=2, **layer),
                ConvBNAct(dims[0] // 2, dims[0] // 2, 3, stride=1, **layer),
                ConvBNAct(dims[0] // 2, dims[0], 3, stride=1, **layer))
        rates = torch.linspace(0, drop_path_rate, sum(blocks), device='cpu').split(blocks)  # also of a meta model
        self.stages = nn.ModuleList(
            CSPStage(dims[i], mid_dims[i], dims[i + 1], rates[i].tolist(),
                     stride=1 if stem == 'patchify' and i == 0 else 2, with_cp=with_cp, **layer)
            # A stage that no output needs would get no gradient, which distributed training refuses.
            for i in range(max(self.out_indices) + 1))
        for i in self.out_indices if norm_output else ():
            self.add_module(f'norm{i}', build_norm(norm_cfg, dims[i + 1]))
        self._freeze()

    @classmethod
    def _scaled_arch(cls, arch: Union[str, dict], deepen_factor: float,
                     widen_factor: float) -> Tuple[list, list, str]:
        """Check the architecture and scale it: its 5 widths, its 4 numbers of blocks and its stem."""
        if not isinstance(arch, dict):
            if not isinstance(arch, str) or arch not in cls.arch_settings:
                raise UserError(f'arch must be one of {sorted(cls.arch_settings)} or a dict with dims, blocks '
                                f'and stem; got {arch!r}')
            arch = cls.arch_settings[arch]
        if set(arch) != {'dims', 'blocks', 'stem'} or arch['stem'] not in ('patchify', 'stepped') or not all(
                isinstance(arch[key], (list, tuple)) and len(arch[key]) == length and min(arch[key]) >= 1
                for key, length in (('dims', 5), ('blocks', 4))):
            raise UserError("an arch dict must have dims (5 widths), blocks (4 numbers from 1 on) and stem "
                            f"('patchify' or 'stepped'), and nothing else; got {arch!r}")
        for name, factor in dict(deepen_factor=deepen_factor, widen_factor=widen_factor).items():
            if not factor > 0:
                raise UserError(f'{name} must be positive; got {factor!r}')
        dims = [int(dim * widen_factor) for dim in arch['dims']]
        blocks = [max(int(n * deepen_factor), 1) for n in arch['blocks']]
        for i in range(4):
            if dims[i] < 2 or (dims[i] + dims[i + 1]) % 4:
                raise UserError(
                    f'stage {i} from {dims[i]} to {dims[i + 1]} channels has a transition width '
                    f'({dims[i]} + {dims[i + 1]}) / 2 that does not split in two: widths must be at least 2 and '
                    f'each neighbouring pair must add up to a multiple of 4; got {dims} (widen_factor '
                    f'{widen_factor})')
        return dims, blocks, arch['stem']

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Map images (N, C, H, W) to the chosen stages' outputs, shallowest first as in ``out_indices``."""
        x = self.stem(x)
        outs = {}
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                norm: Optional[nn.Module] = getattr(self, f'norm{i}', None)
                outs[i] = x if norm is None else norm(x)
        return tuple(outs[i] for i in self.out_indices)

    def _frozen_modules(self) -> list:
        return [] if self.frozen_stages < 0 else [self.stem, *self.stages[:self.frozen_stages]]

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> 'EConvNeXt':
        """Switch to training, all but what ``frozen_stages`` and ``norm_eval`` hold in evaluation."""
        super().train(mode)
        self._freeze()
        if self.norm_eval:
            for name, module in self.named_modules():
                if isinstance(module, _BatchNorm) and name not in self._fresh_norms:
                    module.eval()
        return self

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; a pretrained file is loaded strictly, and last.

        Raises:
            UserError: The file is missing, unreadable or leaves parameters of the backbone unmatched.
        """
        init_cfgs = [self.init_cfg] if isinstance(self.init_cfg, dict) else list(self.init_cfg)
        pretrained = pretrained_of(init_cfgs)
        # BaseModule would load leniently, so it gets the rest only.
        self.init_cfg, init_cfg = [cfg for cfg in init_cfgs if cfg not in pretrained], self.init_cfg
        super().init_weights()
        self.init_cfg = init_cfg
        for cfg in pretrained:
            self._fresh_norms = load_backbone(
                self, cfg['checkpoint'], cfg.get('prefix'), cfg.get('allow_partial', False))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """The depth of a parameter for layer-wise learning-rate decay.

        As for ConvNeXt (arXiv 2201.03545), three blocks make a layer: the stem is layer 0, then come each
        stage's blocks by threes, and what is no part of stem and stages (output norms, neck, head) is last.
        What comes before a stage's blocks counts with the first of them, what comes after with the last.

        Args:
            param_name (str): The name of the parameter.
            prefix (str): What stands before the backbone's own names, as 'backbone.'. Defaults to ''.

        Returns:
            tuple[int, int]: The layer of the parameter and the number of layers.
        """
        sizes = [math.ceil(len(stage.blocks) / 3) for stage in self.stages]
        num_layers = 1 + sum(sizes) + 1
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        part, *rest = param_name[len(prefix):].split('.')
        if part == 'stem':
            return 0, num_layers
        if part != 'stages':
            return num_layers - 1, num_layers
        stage, layer = int(rest[0]), rest[1]
        first = 1 + sum(sizes[:stage])
        if layer == 'blocks':
            return first + int(rest[2]) // 3, num_layers
        return (first if layer in ('down', 'conv1', 'conv2') else first + sizes[stage] - 1), num_layers
