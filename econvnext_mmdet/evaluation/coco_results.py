"""Writing detections to a COCO results file."""

import logging
from collections.abc import Sequence

from mmdet.evaluation import DumpDetResults
from mmengine.logging import print_log

from ..utils.files import write_json
from .coco_eval import coco_entries


class DumpCocoResults(DumpDetResults):
    """Writes detections to a COCO results file, with the entries of :func:`coco_entries`.

    Args:
        out_file_path: The JSON file to write.
        cat_ids: COCO's category id of each label.
    """

    def __init__(self, out_file_path: str, cat_ids: Sequence[int]):
        # The parent class does not accept .json, so it gets a name that is not used. compute_metrics writes the file.
        super().__init__(out_file_path='results.pkl')
        self.out_file_path = out_file_path
        self.cat_ids = list(cat_ids)

    def compute_metrics(self, results: list) -> dict:
        """Write the file from the data samples, which the parent class collected from all processes."""
        entries: list[dict] = []
        if any('mask_scores' in sample['pred_instances'] for sample in results):
            print_log(
                f'this model scores masks separately, but an entry of {self.out_file_path} has only the score of the '
                'box; the AP of masks computed from the file will differ from the AP that testing logs',
                logger='current',
                level=logging.WARNING,
            )
        for sample in results:
            entries += coco_entries(sample['img_id'], sample['pred_instances'], self.cat_ids)
        write_json(self.out_file_path, entries)
        return {}
