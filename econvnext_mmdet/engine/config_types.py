"""The types that a config names, and the arguments that it gives them, against the registries and the signatures."""

import inspect
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry

from ..utils.errors import UserError, did_you_mean
from ..utils.signatures import parameters_of
from . import detection_hooks, hooks, saving  # noqa: F401  (registers the hooks that a config may name)

# The registries in which MMEngine looks for a type, by the setting at the top of a config.
_MODELS = (registry.MODELS, registry.TASK_UTILS, registry.WEIGHT_INITIALIZERS)
BUILT = {
    'model': _MODELS,
    'tta_model': _MODELS,
    'data_preprocessor': _MODELS,
    **{f'{split}_dataloader': () for split in ('train', 'val', 'test')},
    **{f'{split}_cfg': (registry.LOOPS,) for split in ('train', 'val', 'test')},
    'val_evaluator': (registry.METRICS, registry.EVALUATOR),
    'test_evaluator': (registry.METRICS, registry.EVALUATOR),
    'optim_wrapper': (registry.OPTIM_WRAPPERS,),
    'param_scheduler': (registry.PARAM_SCHEDULERS,),
    'default_hooks': (registry.HOOKS,),
    'custom_hooks': (registry.HOOKS,),
    'visualizer': (registry.VISUALIZERS,),
    'log_processor': (registry.LOG_PROCESSORS,),
}
# Those of a setting further inside, where they differ from those around it.
INSIDE = {
    'dataset': (registry.DATASETS,),
    'datasets': (registry.DATASETS,),
    'pipeline': (registry.TRANSFORMS,),
    'sampler': (registry.DATA_SAMPLERS,),
    'batch_sampler': (registry.DATA_SAMPLERS,),
    'collate_fn': (registry.FUNCTIONS,),
    'optimizer': (registry.OPTIMIZERS,),
    'vis_backends': (registry.VISBACKENDS,),
}
# The parts of a model that a registry builds as they are. In other parts, a type may be a name of the model's own, such
# as that of an NMS.
COMPONENT = re.compile(
    r'model|backbone|neck|\w*head|data_preprocessor|\w*(assigner|sampler|bbox_coder|generator|extractor)'
)
NAMED = re.compile(COMPONENT.pattern + r'|loss\w*|init_cfg')
# Types of these registries have types in their settings that only they know.
OPAQUE = ((registry.METRICS, registry.EVALUATOR), (registry.HOOKS,))
# Settings with the names of another library (Albumentations), or with keys beside the arguments.
OTHER = {'transforms', 'bbox_params', 'policies', 'prototype'}
# MMEngine reads these beside the arguments of the constructor.
EXTRA = {'type', 'priority', 'convert_to_iter_based', 'by_epoch', 'constructor', 'paramwise_cfg'}


def check_types(cfg: Config) -> None:
    """Check the types of a config and their arguments. Nothing is built.

    Where a part of a model reads its settings in its own way, the constructors find mistakes later.

    Raises:
        UserError: A type is not registered, or gets an argument that it does not have or that is of another type than
            its signature says.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    if scope not in {'mmengine', *registry.MODELS.children}:
        raise UserError(
            f'default_scope is {scope!r}, and no imported library has this scope; set it to mmdet for a detector, or '
            'to mmpretrain for a classifier'
        )
    constructor = (cfg.get('optim_wrapper') or {}).get('constructor')
    if constructor is not None:
        _find(constructor, 'optim_wrapper.constructor', (registry.OPTIM_WRAPPER_CONSTRUCTORS,), scope)
    for name, outer in BUILT.items():
        for where, part, registries in _typed(cfg.get(name), name, outer):
            found = _find(part['type'], f'{where}.type', registries, scope)
            if registries is not _MODELS or COMPONENT.fullmatch(_key(where)):
                _check_arguments(found, part, where, follow=registries is not _MODELS)


def _typed(part: Any, where: str, registries: tuple[Registry, ...]) -> Iterator[tuple[str, dict, tuple[Registry, ...]]]:
    """The parts of a config that name a type, each with its place and its registries."""
    if isinstance(part, (list, tuple)):
        for index, item in enumerate(part):
            yield from _typed(item, f'{where}[{index}]', registries)
    elif isinstance(part, Mapping):
        if 'type' in part and registries and (registries is not _MODELS or NAMED.fullmatch(_key(where))):
            yield where, dict(part), registries
        if 'type' in part and registries in OPAQUE:
            return
        for name, value in part.items():
            if name in OTHER:
                continue
            yield from _typed(
                value, f'{where}.{name}', registries if registries is _MODELS else INSIDE.get(name, registries)
            )


def _key(where: str) -> str:
    """The last name of a place, such as 'bbox_head' of 'model.roi_head.bbox_head[0]'."""
    return where.rpartition('.')[2].partition('[')[0]


def _find(kind: Any, where: str, registries: tuple[Registry, ...], scope: str) -> Any:
    """The class or the function that a config names."""
    if not isinstance(kind, str):
        if not callable(kind):
            raise UserError(f'{where} must be the name of a class or the class itself; got {kind!r}')
        return kind
    for root in registries:
        with root.switch_scope_and_registry(scope) as here:
            found = here.get(kind)
        if found is not None:
            return found
    scopes = dict(_names(registries))
    if kind in scopes:
        raise UserError(
            f'{where} is {kind!r}, which the scope {scope!r} does not have. Write its library in front of the name, as '
            f"in '{scopes[kind]}.{kind}', or set default_scope."
        )
    raise UserError(
        f'{where} is {kind!r}, which is not registered; '
        + did_you_mean(kind, scopes, 'check the name, and whether custom_imports has its module')
    )


def _names(registries: tuple[Registry, ...]) -> Iterator[tuple[str, str]]:
    """The names in registries and in those below them, each with the library that has it."""
    for root in registries:
        yield from ((name, root.scope) for name in root.module_dict)
        yield from _names(tuple(root.children.values()))


def _check_arguments(kind: Any, part: dict, where: str, follow: bool) -> None:
    """Check the names of the arguments, and simple types: a text where a number is expected, and the like.

    Args:
        kind: The class or the function.
        part: Its settings.
        where: The place of the settings, for the message.
        follow: The keyword arguments of the class go to the classes above it.
    """
    parameters, takes_others = parameters_of(kind, follow)
    for name, value in part.items():
        if name in EXTRA or name.startswith('_'):
            continue
        if name not in parameters:
            if not takes_others or follow and get_close_matches(name, parameters, n=1, cutoff=0.85):
                raise UserError(
                    f'{where}.{name}: {kind.__name__} has no argument {name!r}; '
                    + did_you_mean(name, parameters, f'it has {", ".join(parameters) or "none"}')
                )
        elif isinstance(value, str) and (expected := _number_kind(parameters[name])):
            raise UserError(f'{where}.{name} must be {expected}; got {value!r}')


def _number_kind(parameter: inspect.Parameter) -> str | None:
    """What the signature says of an argument that must be a number, or None if it may be something else."""
    annotation = parameter.annotation
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    if not kinds or not all(kind in (int, float) for kind in kinds):
        return None
    return 'a number' if float in kinds else 'a whole number'
