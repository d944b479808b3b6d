"""The arguments of classes that a config builds."""

import inspect
from typing import Any

# Their keyword arguments go to the classes above them. Another library may read them in its own way.
LIBRARIES = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'econvnext_mmdet')


def parameters_of(kind: Any, follow: bool = True) -> tuple[dict[str, inspect.Parameter], bool]:
    """The arguments that a class or a function takes by name.

    Args:
        kind: The class or the function.
        follow: Where a constructor of OpenMMLab's libraries has keyword arguments, they go to the constructor of the
            class above. Defaults to True.

    Returns:
        The arguments that are known, and whether it takes others.
    """
    found: dict[str, inspect.Parameter] = {}
    constructors = [kind]
    if inspect.isclass(kind):
        constructors = [vars(base)['__init__'] for base in kind.__mro__ if '__init__' in vars(base)]
    for constructor in constructors:
        try:
            signature = inspect.signature(constructor, eval_str=True)
        except Exception:  # compiled, or with annotations that only a type checker can read
            break
        for parameter in list(signature.parameters.values())[inspect.isclass(kind) :]:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
            return found, False
        if not follow or getattr(constructor, '__module__', '').partition('.')[0] not in LIBRARIES:
            break
    return found, True
