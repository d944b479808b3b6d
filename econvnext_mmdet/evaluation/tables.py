"""Tables: COCO's numbers for the terminal, and Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from .coco_eval import GEOMETRY
from .coco_stats import CLASS_STATS, COCO_STATS, PRECISION_STATS


def format_cell(value: float) -> str:
    """Format a number with three decimals. COCO's -1, which means that there is no ground truth, becomes '-'."""
    return '-' if value < 0 else f'{value:.3f}'


def align(rows: Sequence[Sequence[str]]) -> str:
    """Join rows of cells into aligned lines. The first column is flush left, the others are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def markdown_table(rows: Sequence[Sequence[Any]]) -> str:
    """Make a Markdown table. The first row is its head."""
    head, *body = (f'| {" | ".join(map(str, row))} |' for row in rows)
    return '\n'.join([head, '|---' * len(rows[0]) + '|', *body])


def stats_table(stats: Mapping[str, Mapping[str, float]]) -> str:
    """Make a table of COCO's twelve metrics, with one column for boxes and one for masks.

    Args:
        stats: A dict from 'bbox' and 'segm' to dicts from the names in ``COCO_STATS`` to the numbers.
    """
    rows = [
        [f'{name:<5} {stat.meaning}', *(format_cell(column[name]) for column in stats.values())]
        for name, stat in COCO_STATS.items()
    ]
    return align([['', *stats], *rows])


def class_table(classes: Sequence[Mapping[str, Any]]) -> str:
    """Make a table with one row per class, from :attr:`CocoResult.classes`."""
    rows = [
        [entry['name'], str(entry['objects']), *(format_cell(entry[name]) for name in CLASS_STATS)] for entry in classes
    ]
    return align([['class', 'objects', *CLASS_STATS], *rows])


def coco_table(metrics: Mapping[str, float]) -> str:
    """Make a table of COCO's six average precisions, with one row for boxes and one for masks, for each prefix.

    Args:
        metrics: The metrics of OfficialCocoMetric or of MMDetection's CocoMetric, such as ``coco/bbox_mAP_50``.

    Returns:
        The table. It is empty if ``metrics`` has none of these numbers.
    """
    values: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        prefix, _, name = key.rpartition('/')
        values.setdefault(prefix, {})[name] = value
    rows = [
        (
            prefix.removesuffix('/coco'),
            iou_type,
            *(format_cell(found.get(f'{iou_type}_{COCO_STATS[name].mmdet_name}', -1)) for name in PRECISION_STATS),
        )
        for prefix, found in values.items()
        for iou_type in GEOMETRY
        if f'{iou_type}_mAP' in found
    ]
    several = len({prefix for prefix, *_ in rows}) > 1
    labelled = [[f'{prefix} {iou_type}' if several else iou_type, *cells] for prefix, iou_type, *cells in rows]
    return align([['', *PRECISION_STATS], *labelled]) if rows else ''
