"""Tiny ImageNet as it is distributed, for MMPretrain."""

from pathlib import Path

from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from ..utils.errors import UserError

LISTING = 'val_annotations.txt'


@DATASETS.register_module()
class TinyImageNet(CustomDataset):
    """MMPretrain's CustomDataset, which also reads the validation images of Tiny ImageNet.

    Tiny ImageNet has its training images in one folder for each class, and all its validation images in one folder,
    with their classes in the file ``val_annotations.txt``. If there is no such file, every class has a folder, as in
    ImageNet. In both cases the classes are numbered in the order of their names.
    """

    def _find_samples(self) -> list[tuple[str, int]]:
        listed = self.listed()
        if listed is None:
            return super()._find_samples()
        classes = sorted({name for _, name in listed})
        self._metainfo['classes'] = tuple(classes)
        labels = {name: label for label, name in enumerate(classes)}
        return [(f'images/{image}', labels[name]) for image, name in listed]

    def listed(self) -> list[tuple[str, str]] | None:
        """The images in ``val_annotations.txt`` and the names of their classes, or None if there is no such file.

        Raises:
            UserError: A line of the file has no image and class, with a tab between them.
        """
        path = Path(self.img_prefix, LISTING)
        if not path.is_file():
            return None
        rows = [line.split('\t')[:2] for line in path.read_text(encoding='utf-8', errors='replace').splitlines()]
        for number, row in enumerate(rows, 1):
            if len(row) < 2 or not all(row):
                raise UserError(
                    f'{path}, line {number}: expected the file of an image, a tab and the name of its class; found '
                    f'{row[0]!r}'
                )
        return [(image, name) for image, name in rows]
