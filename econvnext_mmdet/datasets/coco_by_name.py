"""MMDetection's COCO dataset, with labels that follow the names of the classes."""

from collections.abc import Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS

from ..utils.files import load_json


class _CocoByName(COCO):
    """MMDetection's COCO API, which returns category ids in the order of the names, and reads UTF-16 too."""

    def __init__(self, annotation_file: str):
        super().__init__()
        self.dataset = load_json(annotation_file, dict)
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(self, cat_names: Sequence[str] = (), sup_names: Any = (), cat_ids: Any = ()) -> list:
        """One id for each name, or None for a name that the file lacks, so that places are labels."""
        ids = {category['name']: id for id, category in self.cats.items()}
        return [ids.get(name) for name in cat_names]


@DATASETS.register_module()
class CocoDatasetByName(CocoDataset):
    """MMDetection's CocoDataset, whose labels follow ``metainfo.classes``.

    CocoDataset numbers the classes in the order of the categories in the file, whatever order ``metainfo.classes`` has,
    and skips the classes that the file lacks. Two files with the same classes in two orders then have different labels.
    Here, a class has the same label whatever file it comes from.

    ``cat_ids`` has the category id of each label, or None if the file lacks the class.
    """

    METAINFO = {**CocoDataset.METAINFO, 'labels_by_name': True}
    COCOAPI = _CocoByName
