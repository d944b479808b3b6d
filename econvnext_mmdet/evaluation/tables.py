"""Tables of COCO's numbers for the terminal."""
from typing import Dict, List, Sequence

from .coco_eval import STATS

MEANING = dict(zip(STATS, (
    'precision, IoU 0.50:0.95', 'precision, IoU 0.50', 'precision, IoU 0.75', 'precision, small', 'precision, medium',
    'precision, large', 'recall, 1 detection an image', 'recall, 10 detections', 'recall, 100 detections',
    'recall, small', 'recall, medium', 'recall, large')))


def format_cell(value: float) -> str:
    """Three decimals, '-' for COCO's -1: nothing to find."""
    return '-' if value < 0 else f'{value:.3f}'


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def stats_table(stats: Dict[str, Dict[str, float]]) -> str:
    """The twelve numbers, a column for each kind of geometry.

    Args:
        stats (dict[str, dict[str, float]]): By 'bbox' and 'segm', then by the names of ``STATS``.
    """
    return align([['', *stats]] + [
        [f'{name:<5} {MEANING[name]}', *(format_cell(column[name]) for column in stats.values())] for name in STATS])


def class_table(classes: List[dict]) -> str:
    """The classes' numbers, of :attr:`CocoResult.classes`."""
    names = [name for name in classes[0] if name not in ('name', 'objects')]
    return align([['class', 'objects', *names]] + [
        [entry['name'], str(entry['objects']), *(format_cell(entry[name]) for name in names)] for entry in classes])
