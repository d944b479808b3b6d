"""Annotations in Pascal VOC's layout: a list of names, and an XML file and an image for each name."""

import os
from typing import Any
from xml.etree import ElementTree

from mmdet.datasets import XMLDataset
from mmengine.fileio import list_from_file

from ..utils.errors import UserError

# The settings that say where the files are.
PLACES = ('data_root', 'ann_file', 'data_prefix', 'img_subdir', 'ann_subdir')


class XMLNames(XMLDataset):
    """MMDetection's XMLDataset with the names of the objects as labels, also of those that are no classes.

    Args:
        config: The config of the dataset that reads the same files.
    """

    def __init__(self, config: dict):
        places = {name: config[name] for name in PLACES if name in config}
        super().__init__(**places, metainfo=dict(classes=()), lazy_init=True)
        self.xml_folder = os.path.join(self.sub_data_root, self.ann_subdir)
        self.img_folder = os.path.join(self.sub_data_root, self.img_subdir)

    def names(self) -> list[str]:
        """The names in the list."""
        return list_from_file(self.ann_file)

    def as_coco(self) -> dict:
        """The annotations as the content of a file in COCO's format. A difficult object is a crowd region there."""
        images: list[dict] = []
        annotations: list[dict] = []
        for image_id, info in enumerate(self.load_data_list(), 1):
            file_name = os.path.relpath(info['img_path'], self.img_folder)
            images.append(dict(id=image_id, file_name=file_name, width=info['width'], height=info['height']))
            for instance in info['instances']:
                left, top, right, bottom = instance['bbox']
                annotations.append(
                    dict(
                        id=f'{len(annotations) + 1} ({info["img_id"]}.xml)',
                        image_id=image_id,
                        category_id=instance['bbox_label'],
                        bbox=[left, top, right - left, bottom - top],
                        area=(right - left) * (bottom - top),
                        iscrowd=instance['ignore_flag'],
                    )
                )
        found = sorted({item['category_id'] for item in annotations})
        return dict(images=images, annotations=annotations, categories=[dict(id=name, name=name) for name in found])

    def parse_data_info(self, img_info: dict) -> dict:
        """Read an XML file.

        Raises:
            UserError: MMDetection cannot read it.
        """
        try:
            return super().parse_data_info(img_info)
        except (ElementTree.ParseError, AttributeError, TypeError, ValueError, OSError) as error:
            reason = 'a part is missing' if isinstance(error, (AttributeError, TypeError)) else error
            raise UserError(
                f"{img_info['xml_path']} is not in Pascal VOC's format ({reason}): expected whole numbers width and "
                'height in size, and in each object a name and numbers xmin, ymin, xmax and ymax in bndbox. Correct '
                f'the file, or remove {img_info["img_id"]} from {self.ann_file}.'
            ) from None

    def _parse_instance_info(self, raw_ann_info: Any, minus_one: bool = True) -> list[dict]:
        names = [item.find('name').text for item in raw_ann_info.findall('object')]
        self._metainfo['classes'], self.cat2label = names, {name: name or '' for name in names}
        return super()._parse_instance_info(raw_ann_info, minus_one)
