"""The classes of a config: one list in one order for all its datasets."""

from collections import ChainMap
from collections.abc import Sequence

from mmdet.datasets import CocoDataset
from mmengine.config import Config

from ..utils.config import datasets_of, is_classification
from ..utils.errors import UserError, examples, repeated
from .coco_by_name import CocoDatasetByName
from .dataset_files import classes_of, is_local, registered_type


def unify_classes(cfg: Config, splits: Sequence[str], trained: Sequence[str] | None = None) -> None:
    """Give the local datasets of a config the same classes, and labels that follow their names.

    Every CocoDataset becomes a :class:`CocoDatasetByName`. The labels of an XMLDataset follow the names anyway. Neither
    the order of the categories in a file nor the order of ``metainfo.classes`` matters then, and a file may lack
    classes. The datasets of a split also share the other settings of ``metainfo``, such as the palette. The first
    dataset that has one decides.

    Args:
        cfg: The whole config, which is changed.
        splits: The splits that will be used, some of 'train', 'val' and 'test'.
        trained: The classes of a checkpoint, in the order of its labels. Defaults to None: those of the training set,
            or else those of the first dataset.

    Raises:
        UserError: A dataset has a class that the checkpoint or the training set lacks, or two classes have one name.
    """
    source, classes = ('the checkpoint', list(trained)) if trained else configured_classes(cfg, splits)
    if not is_classification(cfg):
        _check_different(classes, source)
    for split in splits:
        datasets = list(filter(is_local, datasets_of(cfg, split)))
        for dataset in datasets:
            _set_classes(dataset, f'{split}_dataloader', classes, source)
        # If the parts of a ConcatDataset differed, it would have a list in place of one metainfo.
        metainfo = ChainMap(*(dataset['metainfo'] for dataset in datasets))
        for dataset in datasets:
            dataset['metainfo'] = dict(metainfo)


def configured_classes(cfg: Config, splits: Sequence[str]) -> tuple[str, list[str]]:
    """The classes that a config names first: in the training set, or else in one of the splits.

    Returns:
        The place of the classes, such as 'train_dataloader', and the classes. Both are empty if no split has a local
            dataset.
    """
    named: list[tuple[str, list[str]]] = []
    others: list[tuple[str, list[str]]] = []
    for split in dict.fromkeys(('train', *splits)):
        for dataset in filter(is_local, datasets_of(cfg, split)):
            (named if _names_classes(dataset) else others).append((f'{split}_dataloader', classes_of(dataset)))
    return next(((place, names) for place, names in (*named, *others) if names), ('', []))


def label_names(cfg: Config, meta: dict, number: int | None, checkpoint: str) -> tuple[str, ...]:
    """The name of each label of a model: from its checkpoint, or else from the datasets of its config.

    A checkpoint that was converted, or that holds nothing but tensors, has no names.

    Args:
        cfg: The whole config.
        meta: The metadata of the checkpoint.
        number: The number of classes of the model. None if it has none.
        checkpoint: The file, for the message.

    Raises:
        UserError: There are no names, or not as many as the model has classes, or two classes have one name.
    """
    # MMDetection 2 wrote CLASSES.
    found = [(checkpoint, (meta.get('dataset_meta') or {}).get('classes') or meta.get('CLASSES'))]
    for split in ('train', 'test', 'val'):
        for dataset in datasets_of(cfg, split):
            own = (dataset.get('metainfo') or {}).get('classes')
            found.append((f'{split}_dataloader', own if is_classification(cfg) else classes_of(dataset)))
    place, names = next(((place, tuple(names)) for place, names in found if names), ('the config', ()))
    if len(names) != number:
        raise UserError(
            f'the model has {"no" if number is None else number} classes, and {place} names {len(names)}'
            + (f' ({examples(names, most=5)})' if names else '')
            + '. Set metainfo.classes of the datasets in the config to the names of the labels, in their order.'
        )
    if not is_classification(cfg):  # ImageNet has two classes "crane"
        _check_different(names, place)
    return names


def _check_different(names: Sequence[str], source: str) -> None:
    """Check that no two classes of a detector have one name, since its labels follow the names."""
    twice = repeated(names)
    if twice is not None:
        raise UserError(f'{source} has two classes with the name {twice!r}; give each class a name of its own')


def _set_classes(dataset: dict, place: str, classes: Sequence[str], source: str) -> None:
    """Set the classes of one dataset, and let the labels follow their names."""
    dataset_type = registered_type(dataset)
    by_name = dataset_type in (CocoDataset, CocoDatasetByName)
    unknown = [name for name in classes_of(dataset) if name not in classes]
    # A CocoDataset that names no classes would have COCO's 80.
    if unknown and not (by_name and not _names_classes(dataset)):
        raise UserError(
            f'{place} has {_classes(unknown)}, and {source} has {_classes(classes)}. Use the same names in '
            'metainfo.classes of all datasets; their order does not matter.'
        )
    if by_name:
        dataset['type'] = CocoDatasetByName.__name__
    dataset['metainfo'] = {**(dataset.get('metainfo') or {}), 'classes': tuple(classes)}


def _names_classes(dataset: dict) -> bool:
    return (dataset.get('metainfo') or {}).get('classes') is not None


def _classes(names: Sequence[str]) -> str:
    return f'the class{"es" * (len(names) > 1)} {examples([repr(name) for name in names], most=5)}'
