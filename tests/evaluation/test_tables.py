from econvnext_mmdet.evaluation.coco_stats import CLASS_STATS, COCO_STATS, PRECISION_STATS
from econvnext_mmdet.evaluation.tables import align, class_table, coco_table, format_cell, stats_table


def test_there_are_twelve_metrics_with_unique_names():
    assert len(COCO_STATS) == len({stat.mmdet_name for stat in COCO_STATS.values()}) == 12
    assert len({stat.meaning for stat in COCO_STATS.values()}) == 12
    assert PRECISION_STATS == ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')
    assert all(COCO_STATS[name].mmdet_name.startswith('mAP') for name in PRECISION_STATS)


def test_a_metric_without_ground_truth_is_a_dash():
    assert [format_cell(value) for value in (-1, 0, 0.12345)] == ['-', '0.000', '0.123']


def test_columns_are_aligned():
    assert align([['', 'a', 'long'], ['name', 'bcd', 'e']]) == '        a  long\nname  bcd     e'


def test_stats_table_has_a_row_per_metric_and_a_column_per_iou_type():
    boxes = {name: i / 100 for i, name in enumerate(COCO_STATS)}
    header, *rows = stats_table(dict(bbox=boxes, segm=dict.fromkeys(COCO_STATS, -1.0))).splitlines()
    assert header.split() == ['bbox', 'segm']
    for i, (row, (name, stat)) in enumerate(zip(rows, COCO_STATS.items(), strict=True)):
        assert row.startswith(f'{name:<5} {stat.meaning}') and row.split()[-2:] == [f'{i / 100:.3f}', '-']


def test_class_table_has_a_row_per_class():
    classes = [dict(name=name, objects=5, **dict.fromkeys(CLASS_STATS, 0.5)) for name in ('cat', 'dog')]
    header, *rows = class_table(classes).splitlines()
    assert header.split() == ['class', 'objects', *PRECISION_STATS, 'AR']
    assert [row.split() for row in rows] == [[name, '5', *['0.500'] * 7] for name in ('cat', 'dog')]


def test_coco_table_has_a_row_for_boxes_and_one_for_masks():
    values = dict(mAP=0.5, mAP_50=0.75, mAP_75=0.25, mAP_s=0.125, mAP_m=0.375, mAP_l=-1.0)
    metrics = {f'coco/{kind}_{key}': value for kind in ('bbox', 'segm') for key, value in values.items()}
    header, boxes, masks = coco_table(metrics).splitlines()
    assert header.split() == ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl']
    assert boxes.split() == ['bbox', '0.500', '0.750', '0.250', '0.125', '0.375', '-']
    assert masks.split() == ['segm', *boxes.split()[1:]]
    assert len({len(line) for line in (header, boxes, masks)}) == 1


def test_coco_table_has_labelled_rows_for_several_validation_sets():
    metrics = {'day/coco/bbox_mAP': 0.5, 'night/coco/bbox_mAP': 0.25, 'night/coco/segm_mAP': 0.125, 'day/other': 1}
    assert [line[:12].split() for line in coco_table(metrics).splitlines()[1:]] == [
        ['day', 'bbox'],
        ['night', 'bbox'],
        ['night', 'segm'],
    ]
    assert coco_table(metrics).splitlines()[2].split()[2] == '0.250'


def test_coco_table_skips_what_was_not_evaluated():
    (_, row) = coco_table({'coco/segm_mAP': 0.5}).splitlines()
    assert row.split() == ['segm', '0.500', *['-'] * 5]
    assert coco_table({'accuracy/top1': 1.0}) == coco_table({}) == ''
