"""Strict loading of checkpoints into a model.

MMDetection loads the tensors that match and only warns about the rest. With a wrong file, training could start from
scratch unnoticed.
"""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from mmengine.logging import print_log
from torch import Tensor, nn

from ..utils.errors import UserError, examples
from .checkpoint import Checkpoint, read_checkpoint, refuse_fused, tensors_of

# The backbone of a detector has output norms, and the backbone of a classifier does not. The file of a classifier may
# therefore lack them.
OUTPUT_NORM = re.compile(r'norm\d\.')
# BatchNorm uses its counter of batches only if its momentum is None, and converted files lack the counter.
COUNTER = 'num_batches_tracked'


def load_backbone(
    backbone: nn.Module, path: str, prefix: str | None = None, allow_partial: bool = False
) -> tuple[str, ...]:
    """Load every parameter and statistic of ``backbone`` from a checkpoint file.

    Output norms (``norm0`` to ``norm3``) that the file lacks keep their initial values. The log names them, and also
    the parts of the file that are not used, such as the head of a classifier.

    Args:
        backbone: The backbone. It does not change if the file does not fit.
        path: The file, see :func:`read_checkpoint`.
        prefix: The prefix of the backbone's names in the file, such as 'backbone'. Defaults to None: 'backbone' if any
            name has this prefix, or else no prefix.
        allow_partial: Load the tensors that fit and name the others in the log. A file of which no tensor fits is
            still refused. Defaults to False.

    Returns:
        The output norms that the file lacks.

    Raises:
        UserError: The file is missing or unreadable, or it does not fit this backbone.
    """
    checkpoint = read_checkpoint(path)
    state, kind = checkpoint.state, checkpoint.kind
    if prefix is None:
        prefix = 'backbone' if any(key.startswith('backbone.') for key in state) else ''
    prefix = prefix.rstrip('.') + '.' if prefix else ''  # MMEngine accepts it with and without the dot
    found = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    counters = {key: found.pop(key) for key in list(found) if key.endswith(COUNTER)}
    own = named_tensors(backbone)

    fresh = sorted({key.split('.')[0] for key in own if OUTPUT_NORM.match(key)} - {k.split('.')[0] for k in found})
    # The file may have output norms that the backbone lacks, and stages after the backbone's last one.
    parts = {_part(key) for key in own}
    unused = {
        key
        for key in found
        if key not in own
        and (OUTPUT_NORM.match(key) or _part(key) not in parts)
        and _part(key).startswith(('norm', 'stages.'))
    }
    wanted = {key: value for key, value in found.items() if key not in unused}
    differences = Differences.between(own, wanted, fresh)
    if not allow_partial or differences.matched == 0:
        differences.refuse(type(backbone).__name__, path, exact=True)

    fitting = {key: value for key, value in wanted.items() if key in own and _fits(value, own[key])}
    backbone.load_state_dict({**counters, **fitting}, strict=False)
    notes = [f"loaded {differences.matched} of {len(own)} backbone tensors from {path}, a {kind}'s checkpoint"]
    if fresh:
        notes.append(f'output norms that the file lacks keep their initial values: {", ".join(fresh)}')
    if differences:
        not_loaded = ', '.join(differences.not_loaded()) or 'none'
        notes.append(f'tensors that keep their initial values, as the config allows: {not_loaded}')
        unused |= set(differences.extra)
    skipped = sorted({key.split('.')[0] for key in state if not key.startswith(prefix)} | {_part(k) for k in unused})
    if skipped:
        notes.append(f'parts of the file that are not used: {", ".join(skipped)}')
    print_log('; '.join(notes), logger='current')
    return tuple(fresh)


class Differences(NamedTuple):
    """The differences between the tensors of a file and the tensors of a model.

    Attributes:
        total: The number of tensors in the model.
        matched: The number of these tensors that the file has with the same shape and type.
        missing: The names that the file lacks.
        reshaped: The names with a different shape, or with whole numbers in place of floating-point numbers or the
            reverse. Each has the file's and the model's shape or type.
        extra: The names in the file that the model does not have.
    """

    total: int
    matched: int
    missing: list[str]
    reshaped: dict[str, str]
    extra: list[str]

    @classmethod
    def between(cls, own: dict[str, Tensor], state: dict[str, Tensor], fresh: Collection[str] = ()) -> 'Differences':
        """Compare a model with a file.

        Args:
            own: The model's tensors by name.
            state: The file's tensors by name.
            fresh: Names of tensors or of top-level modules that the file may lack. Defaults to ().
        """
        missing = [key for key in own if key not in state and key.split('.')[0] not in fresh and key not in fresh]
        reshaped = {
            key: ' instead of '.join(_forms(state[key], value))
            for key, value in own.items()
            if key in state and not _fits(state[key], value)
        }
        extra = [key for key in state if key not in own and not key.endswith(COUNTER)]
        matched = sum(key in state and key not in reshaped for key in own)
        return cls(len(own), matched, missing, reshaped, extra)

    def __bool__(self) -> bool:
        return bool(self.missing or self.reshaped or self.extra)

    def not_loaded(self) -> list[str]:
        """The names of the model's tensors that are not loaded."""
        return self.missing + list(self.reshaped)

    def refuse(self, model: str, path: str, exact: bool) -> None:
        """Raise a UserError if there are differences.

        Args:
            model: The type of the model, for the message.
            path: The file, for the message.
            exact: Whether tensors that only the file has count as a difference.

        Raises:
            UserError: There are differences. The message has their numbers, and some names as examples.
        """
        problems = [
            f'{len(names)} {what} ({examples(names)})'
            for what, names in (
                ('missing from the file', self.missing),
                ('with a different shape or type', [' '.join(i) for i in self.reshaped.items()]),
                ('not in the model', self.extra if exact else []),
            )
            if names
        ]
        if problems:
            raise UserError(
                f'{path} does not fit this {model} ({self.total} tensors): {", ".join(problems)}. Give a '
                'checkpoint of a model with the same arch, deepen_factor and widen_factor and, for a whole detector or '
                'classifier, the same number of classes.'
            )


def prepare_state(
    model: nn.Module, checkpoint: dict[str, Any], path: str, resume: bool = False, allow_partial: bool = False
) -> None:
    """Check that a loaded checkpoint fits a model, and remove the tensors that must not be loaded.

    If the heads have a different number of classes, their last layers keep their initial values, unless a training run
    is resumed. Output norms that only the file has are not used.

    Args:
        model: The whole model.
        checkpoint: A checkpoint of MMEngine, or a plain state dict, which is changed in place into such a checkpoint.
        path: The file, for messages.
        resume: Whether a training run is resumed. Then everything must fit. Defaults to False.
        allow_partial: Load the tensors that fit and name the others in the log. Defaults to False.

    Raises:
        UserError: Something does not fit.
    """
    if resume and not {'message_hub', 'optimizer'} <= checkpoint.keys():
        raise UserError(
            f'{path} holds weights, but not the whole state of a training run, so none can be resumed from it (the '
            "file of the best epoch lacks the optimiser's state). Give a checkpoint that training wrote at the end of "
            'an epoch, or start a new training run from these weights with load_from.'
        )
    state, own = tensors_of(checkpoint), named_tensors(model)
    refuse_fused(state, path)
    modules = dict(model.named_modules())
    norms = {
        key
        for key in state
        if not resume and OUTPUT_NORM.match(re.sub(r'^backbone\.', '', key)) and key.rpartition('.')[0] not in modules
    }
    classes = set() if resume else class_layers(model, state)
    skipped = classes | norms
    differences = Differences.between(own, {key: value for key, value in state.items() if key not in skipped}, classes)
    if not allow_partial or resume or differences.matched == 0:
        kind = Checkpoint(state, {}).kind
        only_part = kind == 'backbone' or kind == 'classifier' and not hasattr(model, 'head')
        if only_part and any(key.startswith('backbone.') for key in own):
            raise UserError(
                f"expected the checkpoint of a whole {type(model).__name__}, but {path} is a {kind}'s checkpoint. To "
                'start the backbone from it, use --pretrained or the init_cfg of the backbone.'
            )
        differences.refuse(type(model).__name__, path, exact=True)
    left_out = skipped | {*differences.reshaped, *differences.extra}
    if 'state_dict' not in checkpoint:
        checkpoint['state_dict'] = dict(state)
    for key in left_out | {f'module.{key}' for key in left_out}:
        checkpoint['state_dict'].pop(key, None)
    notes = [f'{differences.matched} of {differences.total} tensors are loaded from {path}']
    if norms:
        notes.append(
            'output norms that only the file has are not used: '
            + ', '.join(sorted({key.rpartition('.')[0] for key in norms}))
        )
    if classes:
        notes.append(
            'layers for a different number of classes keep their initial values: '
            + ', '.join(sorted({key.rpartition('.')[0] for key in classes}))
        )
    if differences:
        notes.append(
            'tensors that keep their initial values, as the config allows: '
            f'{", ".join(differences.not_loaded()) or "none"}; not used: {", ".join(differences.extra) or "none"}'
        )
    print_log('; '.join(notes), logger='current')


def check_fits(model: nn.Module, state: dict[str, Tensor], path: str, exact: bool = False) -> None:
    """Check that a file has all tensors of a model, with the same shapes.

    Args:
        model: The model.
        state: The file's tensors, under the model's names.
        path: The file, for the message.
        exact: Whether the file must have no other tensors. Defaults to False.

    Raises:
        UserError: The file does not fit, see :meth:`Differences.refuse`.
    """
    Differences.between(named_tensors(model), state).refuse(type(model).__name__, path, exact)


def class_layers(model: nn.Module, state: dict[str, Tensor]) -> set[str]:
    """The names of the tensors whose shapes differ only because the file is for a different number of classes.

    They belong to the last layers of heads. Only the first dimension of such a tensor differs, and it is a multiple of
    the number of classes, or of that number plus one for the background. If no single number of classes explains
    every difference in shape, the result is empty.

    Args:
        model: The model. Its heads have ``num_classes``.
        state: The file's tensors, under the model's names.
    """
    modules = dict(model.named_modules())
    found: set[str] = set()
    explained: set[int] | None = None
    for key, own in named_tensors(model).items():
        if key not in state or state[key].shape == own.shape:
            continue
        path = key.split('.')
        owners: list[Any] = [modules['.'.join(path[:depth])] for depth in range(len(path) - 1, 0, -1)]
        classes = next((module.num_classes for module in owners if hasattr(module, 'num_classes')), None)
        if classes is None or own.dim() != state[key].dim() or own.shape[1:] != state[key].shape[1:]:
            return set()
        numbers = set()
        for background in (0, 1):
            each, rest = divmod(own.shape[0], classes + background)
            if rest == 0 and state[key].shape[0] % each == 0:
                numbers.add(state[key].shape[0] // each - background)
        explained = numbers if explained is None else explained & numbers
        found.add(key)
    return found if explained and max(explained) > 0 else set()


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and statistics of a model by name, without the counters of BatchNorms."""
    return {key: value for key, value in model.state_dict().items() if not key.endswith(COUNTER)}


def _fits(found: Tensor, own: Tensor) -> bool:
    """Whether a model can take a tensor of a file. PyTorch would also copy whole numbers into weights."""
    return found.shape == own.shape and found.is_floating_point() == own.is_floating_point()


def _forms(*tensors: Tensor) -> list[str]:
    """The shapes of tensors, or their types of numbers if the shapes are the same."""
    if len({tensor.shape for tensor in tensors}) > 1:
        return [str(tuple(tensor.shape)) for tensor in tensors]
    return [str(tensor.dtype).removeprefix('torch.') for tensor in tensors]


def _part(key: str) -> str:
    """The part of a backbone to which a tensor belongs, such as 'stem', 'stages.0' or 'norm1'."""
    return '.'.join(key.split('.')[: 2 if key.startswith('stages.') else 1])
