"""Detections as a COCO results file."""
import json
from typing import Sequence

from mmdet.evaluation import DumpDetResults


class DumpCocoResults(DumpDetResults):
    """Writes detections in COCO's results format, one entry a detection.

    An entry has ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels of the original
    image), ``score`` and, where the model predicts masks, ``segmentation`` (compressed RLE).

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
        for sample in results:
            pred = sample['pred_instances']
            for i, (label, box, score) in enumerate(
                    zip(pred['labels'].tolist(), pred['bboxes'].tolist(), pred['scores'].tolist())):
                entry = dict(image_id=sample['img_id'], category_id=self.cat_ids[label],
                             bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]], score=score)
                if 'masks' in pred:
                    rle = pred['masks'][i]
                    entry['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode())
                entries.append(entry)
        with open(self.out_file_path, 'w', encoding='utf-8') as file:
            json.dump(entries, file)
        return {}
