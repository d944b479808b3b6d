import json
import statistics

import pytest

from econvnext_mmdet.errors import UserError
from econvnext_mmdet.evaluation.runs import compare_runs, read_run, runs_table


@pytest.fixture
def work_dir(tmp_path):
    """Makes work directories as MMEngine leaves them: AP and AP50 of an epoch, a config, a log of 90 seconds."""
    def make(name, ap, seed=0, config='retinanet_1x', start=None, epoch=12):
        folder = tmp_path / name
        data = folder / '20260101_120000' / 'vis_data'
        data.mkdir(parents=True)
        init_cfg = dict(type='Pretrained', checkpoint=start) if start else None
        (folder / f'{config}.py').write_text(
            f'model = dict(backbone=dict(type="EConvNeXt", init_cfg={init_cfg}))\nload_from = None\n'
            f'train_cfg = dict(max_epochs=12)\nrandomness = dict(seed={seed})\n')
        lines = [{'loss': 1., 'step': 3}, {'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.2, 'step': 1},
                 {'coco/bbox_mAP': ap, 'coco/bbox_mAP_50': 2 * ap, 'step': epoch}]
        (data / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
        (data.parent / '20260101_120000.log').write_text(
            '2026/01/01 23:59:00 - mmengine - INFO - \n---\n\n2026/01/02 00:00:30 - mmengine - INFO - end\n   x\n')
        return str(folder)
    return make


def test_seeds_are_put_together_and_starts_are_not(work_dir):
    folders = [work_dir('a', 0.30, seed=0), work_dir('c', 0.5, seed=0, start='weights/net.pth'),
               work_dir('b', 0.36, seed=1), work_dir('d', 0.4, seed=4, config='other')]
    scratch, pretrained, other = compare_runs(folders)
    assert [scratch[key] for key in ('config', 'start', 'seeds', 'epochs')] == ['retinanet_1x', '', [0, 1], 12]
    assert scratch['AP'] == dict(values=[0.30, 0.36], mean=pytest.approx(0.33), std=statistics.stdev([0.30, 0.36]))
    assert scratch['AP50']['mean'] == pytest.approx(0.66) and scratch['minutes'] == 1.5
    assert pretrained['AP'] == dict(values=[0.5], mean=0.5, std=None) and other['seeds'] == [4]
    assert runs_table([scratch, pretrained]).splitlines()[2:] == [
        '| `retinanet_1x` | scratch | 12 | 0, 1 | 0.330 ± 0.042 | 0.660 ± 0.085 | 1.5 |',
        '| `retinanet_1x` | net.pth | 12 | 0 | 0.500 | 1.000 | 1.5 |']


def test_what_is_no_finished_training_is_refused(work_dir, tmp_path):
    with pytest.raises(UserError, match='x is no work directory of a training'):
        read_run(str(tmp_path / 'x'))
    with pytest.raises(UserError, match='a holds no evaluation of boxes after epoch 12, its last'):
        compare_runs([work_dir('a', 0.3, epoch=11)])
    with pytest.raises(UserError, match=r'b and .*c are of one config, start and seed \(0\)'):
        compare_runs([work_dir('b', 0.3), work_dir('c', 0.3)])
