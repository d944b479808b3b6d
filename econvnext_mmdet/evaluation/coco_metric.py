"""COCO's numbers while training and testing."""
from typing import Dict, List, Optional, Sequence, Union

from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..files import load_json
from .coco_eval import GEOMETRY, STATS, CocoEvaluator, coco_entries
from .tables import class_table

# MMDetection's names of the twelve.
NAMES = dict(zip(STATS, (
    'mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l', 'AR@1', 'AR@10', 'AR@100', 'AR_s@100', 'AR_m@100',
    'AR_l@100')))


@METRICS.register_module()
class OfficialCocoMetric(BaseMetric):
    """COCO's twelve numbers as COCO defines them, unrounded.

    MMDetection's CocoMetric allows 100, 300 and 1000 detections an image, rounds, takes the size of an object
    from its box where there is no annotation file, and returns nothing where there is not one detection.

    The metrics are named as there, ``coco/bbox_mAP`` to ``coco/bbox_mAP_l`` and ``coco/bbox_AR@1`` to
    ``coco/bbox_AR_l@100``; -1 where there is no ground truth to find.

    Args:
        ann_file (str): The annotation file.
        metric (str | list[str]): 'bbox', 'segm' or both. Defaults to 'bbox'.
        classwise (bool): Log a table of the classes too, and return ``coco/NAME_precision``. Defaults to False.
        engine (str): 'faster-coco-eval' or 'pycocotools', with the same numbers. Defaults to 'faster-coco-eval'.
        backend_args (dict, optional): Where ``ann_file`` lies. Defaults to None.
        collect_device (str): 'cpu' or 'gpu', for results of several processes. Defaults to 'cpu'.
        prefix (str, optional): Before the metrics' names. Defaults to None: 'coco'.

    Raises:
        ValueError: A metric or an engine that is none, or an annotation file without one of the model's classes.
    """
    default_prefix = 'coco'

    def __init__(self, ann_file: str, metric: Union[str, Sequence[str]] = 'bbox', classwise: bool = False,
                 engine: str = 'faster-coco-eval', backend_args: Optional[dict] = None,
                 collect_device: str = 'cpu', prefix: Optional[str] = None):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.iou_types = [metric] if isinstance(metric, str) else list(metric)
        if not self.iou_types or set(self.iou_types) - set(GEOMETRY):
            raise ValueError(f'metric must be of {", ".join(GEOMETRY)}; got {metric!r}')
        self.classwise = classwise
        with get_local_path(ann_file, backend_args=backend_args) as path:
            self.evaluator = CocoEvaluator(load_json(path, dict), engine)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep what the evaluation needs of a batch's detections, masks as RLE."""
        from mmdet.structures.mask import encode_mask_results  # the package imports where mmdet is not
        for sample in data_samples:
            found = sample['pred_instances']
            kept = {key: found[key].cpu().numpy() for key in ('labels', 'bboxes', 'scores', 'mask_scores')
                    if key in found}
            if 'masks' in found:
                masks = found['masks']
                # A tensor from the model; encoded already where another metric asked for it.
                kept['masks'] = masks if isinstance(masks, list) else encode_mask_results(masks.cpu().numpy())
            self.results.append((sample['img_id'], kept))

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Evaluate the detections of all batches and processes."""
        cat_ids = self._cat_ids()
        metrics = {}
        for iou_type in self.iou_types:
            entries: List[dict] = []
            for image_id, found in results:
                if iou_type == 'segm' and 'mask_scores' in found:  # some detectors score the masks of their own
                    found = dict(found, scores=found['mask_scores'])
                entries += coco_entries(image_id, found, cat_ids)
            result = self.evaluator.evaluate(entries, iou_type, cat_ids)
            metrics.update({f'{iou_type}_{NAMES[name]}': value for name, value in result.stats.items()})
            if self.classwise:
                print_log(f'{iou_type} by class\n{class_table(result.classes)}', logger='current')
                metrics.update({f'{iou_type}_{entry["name"]}_precision': entry['AP'] for entry in result.classes})
        return metrics

    def _cat_ids(self) -> List[int]:
        """COCO's category id of each label. Labels follow the file's order, as in MMDetection's CocoDataset."""
        classes = self.dataset_meta['classes']
        ids = [id for id, name in self.evaluator.categories.items() if name in classes]
        if len(ids) != len(classes):
            absent = sorted(set(classes) - set(self.evaluator.categories.values()))
            raise ValueError(f'the annotation file lacks the classes {absent} of the model')
        return ids
