from econvnext_mmdet.benchmarks.data_inspection import make_instances, time_inspection


def test_generated_data_have_no_errors():
    seconds, size, (inspection,) = time_inspection(images=200, classes=4, objects=7.3, seed=0)
    assert seconds > 0 and size > 0.5
    assert inspection.images == 200 and len(inspection.classes) == 4
    assert 1300 < sum(sum(sizes.values()) for sizes in inspection.classes.values()) < 1600
    assert not [finding for finding in inspection.findings if finding.severity == 'error']


def test_polygons_lie_in_their_boxes():
    for annotation in make_instances(images=5, classes=2, objects=4, seed=0)['annotations']:
        (polygon,), (x, y, w, h) = annotation['segmentation'], annotation['bbox']
        assert 8 <= len(polygon) <= 88
        assert x - 0.01 <= min(polygon[::2]) <= max(polygon[::2]) <= x + w + 0.01
        assert y - 0.01 <= min(polygon[1::2]) <= max(polygon[1::2]) <= y + h + 0.01
