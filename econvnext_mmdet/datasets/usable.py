"""How many images, and how many boxes of each class, training uses. MMDetection's own datasets are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmdet.datasets import BaseDetDataset, CocoDataset
from torch.utils.data import Dataset

from ..utils.errors import UserError, examples

MOST = 0.5  # the share of the listed boxes that a training run should use at least


@dataclass
class Usable:
    """What training uses of one or several datasets.

    Attributes:
        images: The number of images.
        boxes: The number of boxes by class, without crowd regions.
        crowd: The number of annotations that are not trained: crowd regions, and with Pascal VOC difficult and small
            objects.
        listed: The number of annotations by class in the files, crowd regions included. Empty if it is not known.
        sources: The annotation files.
    """

    images: int = 0
    boxes: Counter = field(default_factory=Counter)
    crowd: int = 0
    listed: Counter = field(default_factory=Counter)
    sources: list[str] = field(default_factory=list)

    def __add__(self, other: Usable) -> Usable:
        return Usable(
            self.images + other.images,
            self.boxes + other.boxes,
            self.crowd + other.crowd,
            self.listed + other.listed,
            self.sources + other.sources,
        )

    def describe(self, classes: Sequence[str]) -> str:
        """One sentence with the numbers of all classes."""
        numbers = ', '.join(f'{name} {self.boxes[name]}' for name in classes)
        return f'training uses {self.images} images and {self.boxes.total()} boxes: {numbers}'

    def problems(self, classes: Sequence[str]) -> list[str]:
        """Sentences about classes of which no box is used, and about many boxes that are left out.

        Raises:
            UserError: No box is used.
        """
        listed = f' of {self.listed.total()} in the file' if self.listed else ''
        if not self.boxes.total():
            raise UserError(
                f'training would use no box{listed} ({", ".join(self.sources)}): {self.images} images are used, and '
                f'{self.crowd} of their annotations are crowd regions or ignored objects. {LEFT_OUT} Correct the '
                'file, or filter_cfg of the training set.'
            )
        found = []
        empty = [name for name in classes if not self.boxes[name]]
        if empty:
            found.append(f'training uses no box of {examples(empty, most=5)}, so the model cannot learn it')
        if self.boxes.total() < MOST * self.listed.total():
            found.append(f'training uses only {self.boxes.total()} boxes{listed}. {LEFT_OUT}')
        return found


LEFT_OUT = (
    'MMDetection leaves out crowd regions, boxes with "ignore", without area, outside of their image, or less than a '
    'pixel wide or high (as all boxes are whose coordinates are from 0 to 1), and images that filter_cfg excludes. In '
    "Pascal VOC's format, it leaves out difficult objects and those smaller than bbox_min_size of filter_cfg."
)


def usable(dataset: Dataset) -> Usable | None:
    """Count what training uses of a dataset that MMDetection has built, with all datasets inside it.

    Returns:
        The numbers. None if no part is a dataset of boxes, or one has no classes, such as one for grounding, or has
            classes without boxes, such as one for panoptic segmentation.
    """
    parts = list(detection_parts(dataset))
    kinds = [part.metainfo for part in parts]
    if not parts or not all(kind.get('classes') for kind in kinds) or any(kind.get('stuff_classes') for kind in kinds):
        return None
    found = [count_usable(part, map(part.get_data_info, range(len(part)))) for part in parts]
    return sum(found[1:], found[0])


def count_usable(dataset: BaseDetDataset, infos: Iterable[dict]) -> Usable:
    """Count the instances of samples.

    Args:
        dataset: The dataset that loaded the samples.
        infos: The samples that training uses, as its ``get_data_info`` returns them.
    """
    classes = dataset.metainfo['classes']
    numbers = Usable(sources=[dataset.ann_file])
    for info in infos:
        numbers.images += 1
        for instance in info.get('instances', ()):
            if instance.get('ignore_flag'):
                numbers.crowd += 1
            else:
                numbers.boxes[classes[instance['bbox_label']]] += 1
    # CocoDataset keeps the image of each annotation, by category: those of the whole file, whatever `indices` says.
    if isinstance(dataset, CocoDataset) and dataset._indices is None:
        for category, name in zip(dataset.cat_ids, classes):
            numbers.listed[name] += len(dataset.cat_img_map[category])
    return numbers


def detection_parts(dataset: Any) -> Iterator[BaseDetDataset]:
    """The datasets of boxes inside wrappers such as ConcatDataset and RepeatDataset."""
    if isinstance(dataset, BaseDetDataset):
        yield dataset
    for part in getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)]):
        if part is not None:
            yield from detection_parts(part)
