"""Evaluation of files: what tools/eval_coco.py and tools/benchmark_coco_eval.py call."""
import json
import os
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from ..errors import UserError
from .coco_eval import ENGINES, GEOMETRY, CocoEvaluator, CocoResult, load_json


def evaluate_files(annotations: str, results: str, iou_types: Optional[Sequence[str]] = None,
                   engine: str = ENGINES[0]) -> Dict[str, CocoResult]:
    """Evaluate a COCO results file against a COCO annotation file.

    Args:
        annotations (str): The annotation file.
        results (str): The results file.
        iou_types (Sequence[str], optional): Of 'bbox' and 'segm'. Defaults to None: boxes or masks or both, as
            the results have them; boxes where there is not one detection.
        engine (str): 'faster-coco-eval' or 'pycocotools'. Defaults to 'faster-coco-eval'.

    Returns:
        dict[str, CocoResult]: By kind of geometry.

    Raises:
        UserError: A file is missing, is malformed or does not belong to the other one.
    """
    coco, entries = load_json(annotations, dict), load_json(results, list)
    if iou_types is None:
        first = entries[0] if entries and isinstance(entries[0], dict) else {}
        iou_types = [name for name, key in GEOMETRY.items() if key in first] or ['bbox']
    try:
        evaluator = CocoEvaluator(coco, engine)
    except UserError as error:
        raise UserError(f'{annotations}: {error}') from None
    try:
        return {iou_type: evaluator.evaluate(entries, iou_type) for iou_type in iou_types}
    except UserError as error:
        raise UserError(f'{results}: {error}') from None


def write_json(path: str, content: Any) -> None:
    """Write a JSON file so that it is whole or not there, and its folder."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f'.{file.name}.part')
    part.write_text(json.dumps(content, indent=1), encoding='utf-8')
    os.replace(part, file)
