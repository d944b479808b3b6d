"""The metric that computes COCO's numbers during training and testing."""

import logging
from collections.abc import Sequence

from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..utils.errors import UserError
from .coco_eval import ENGINES, GEOMETRY, CocoEvaluator, coco_entries
from .coco_stats import COCO_STATS
from .tables import class_table


@METRICS.register_module()
class OfficialCocoMetric(BaseMetric):
    """Computes COCO's twelve metrics as COCO defines them, unrounded.

    MMDetection's CocoMetric differs from COCO: it allows 100, 300 and 1000 detections per image and rounds the numbers.
    Without an annotation file, it takes the size of an object from its box. Without any detection, it returns nothing.

    If the dataset joins several annotation files, :class:`~econvnext_mmdet.engine.hooks.DatasetPartsHook` sets ``part``
    to the images of ``ann_file``. The tools of this package register the hook.

    The metrics have MMDetection's names, ``coco/bbox_mAP`` to ``coco/bbox_mAP_l`` and ``coco/bbox_AR@1`` to
    ``coco/bbox_AR_l@100``. As in COCO, a number is -1 if it has no ground truth.

    Args:
        ann_file: The annotation file.
        metric: 'bbox', 'segm' or both. Defaults to 'bbox'.
        classwise: Also log a table with a row per class, and return ``coco/bbox_CLASS_precision`` for each class.
            Defaults to False.
        engine: 'faster-coco-eval' or 'pycocotools'. Both give the same numbers. Defaults to 'faster-coco-eval'.
        backend_args: The storage backend of ``ann_file``. Defaults to None: local files.
        collect_device: The device that collects the results of several processes, 'cpu' or 'gpu'. Defaults to 'cpu'.
        prefix: The prefix of the metrics' names. Defaults to None: 'coco'.

    Raises:
        UserError: The metric or the engine is unknown, the annotation file is malformed, or it lacks a class of the
            dataset.
    """

    default_prefix = 'coco'

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = 'bbox',
        classwise: bool = False,
        engine: str = ENGINES[0],
        backend_args: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.iou_types = [metric] if isinstance(metric, str) else list(metric)
        if not self.iou_types or set(self.iou_types) - set(GEOMETRY):
            raise UserError(f"metric must be 'bbox', 'segm' or both; got {metric!r}")
        self.classwise = classwise
        self.ann_file = ann_file
        self.part: slice | None = None
        with get_local_path(ann_file, backend_args=backend_args) as path:
            self.evaluator = CocoEvaluator.from_file(path, engine)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep what the evaluation needs from the detections of a batch. Masks are kept as RLE."""
        # Imported here, because the package must also work without MMDetection.
        from mmdet.structures.mask import encode_mask_results

        for sample in data_samples:
            found = sample['pred_instances']
            kept = {
                key: found[key].cpu().numpy() for key in ('labels', 'bboxes', 'scores', 'mask_scores') if key in found
            }
            if 'masks' in found:
                masks = found['masks']
                # The model returns a tensor. A different metric may have encoded it already.
                kept['masks'] = masks if isinstance(masks, list) else encode_mask_results(masks.cpu().numpy())
            self.results.append((sample['img_id'], kept))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Evaluate the detections of all batches and processes."""
        if self.part is not None:
            results = results[self.part]
        if len({image_id for image_id, _ in results}) < len(results):
            raise UserError(
                f'there are several results for one image id of {self.ann_file}: the dataset has an image twice, or '
                'joins several annotation files. For these, add DatasetPartsHook to custom_hooks, or use '
                'MultiDatasetsEvaluator.'
            )
        images = len(self.evaluator.image_sizes)
        if len(results) < images:
            print_log(
                f'only {len(results)} of the {images} images in {self.ann_file} were evaluated; the objects of the '
                'others count as missed',
                logger='current',
                level=logging.WARNING,
            )
        cat_ids = self._cat_ids()
        metrics = {}
        for iou_type in self.iou_types:
            entries: list[dict] = []
            for image_id, found in results:
                if iou_type == 'segm' and 'mask_scores' in found:  # some detectors score masks separately
                    found = dict(found, scores=found['mask_scores'])
                entries += coco_entries(image_id, found, cat_ids)
            result = self.evaluator.evaluate(entries, iou_type, [id for id in cat_ids if id is not None])
            metrics.update({f'{iou_type}_{COCO_STATS[name].mmdet_name}': value for name, value in result.stats.items()})
            if self.classwise:
                print_log(f'{iou_type} by class\n{class_table(result.classes)}', logger='current')
                metrics.update({f'{iou_type}_{entry["name"]}_precision': entry['AP'] for entry in result.classes})
        return metrics

    def _cat_ids(self) -> list:
        """COCO's category id of each label, or None for a class that the annotation file lacks.

        A CocoDataset numbers the classes in the order of the file, a CocoDatasetByName in that of its ``classes``.
        """
        classes = list(self.dataset_meta['classes'])
        ids = {name: id for id, name in self.evaluator.categories.items()}
        absent = [name for name in classes if name not in ids]
        if self.dataset_meta.get('labels_by_name') and len(absent) < len(classes):
            return [ids.get(name) for name in classes]
        if absent:
            raise UserError(
                f'the annotation file lacks the classes {absent} of the dataset; correct metainfo.classes or ann_file'
            )
        return [id for name, id in ids.items() if name in classes]
