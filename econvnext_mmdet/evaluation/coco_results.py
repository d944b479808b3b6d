"""Detections as a COCO results file."""
import logging
from typing import Sequence

from mmdet.evaluation import DumpDetResults
from mmengine.logging import print_log

from ..files import write_json
from .coco_eval import coco_entries


class DumpCocoResults(DumpDetResults):
    """Writes detections as a COCO results file, the entries of :func:`coco_entries`.

    Args:
        out_file_path (str): The JSON file to write.
        cat_ids (Sequence[int]): COCO's category id of each label.
    """

    def __init__(self, out_file_path: str, cat_ids: Sequence[int]):
        # The parent insists on its own ending; compute_metrics below writes the file.
        super().__init__(out_file_path='results.pkl')
        self.out_file_path = out_file_path
        self.cat_ids = list(cat_ids)

    def compute_metrics(self, results: list) -> dict:
        """Write the file from all data samples, as the parent collected them from all processes."""
        entries = []
        if any('mask_scores' in sample['pred_instances'] for sample in results):
            print_log(f'{self.out_file_path} has the scores of the boxes; an entry has no room for the scores of its '
                      'own that this model gives its masks, so that AP of masks by this file is another',
                      logger='current', level=logging.WARNING)
        for sample in results:
            entries += coco_entries(sample['img_id'], sample['pred_instances'], self.cat_ids)
        write_json(self.out_file_path, entries)
        return {}
