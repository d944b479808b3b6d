import json
import statistics

import pytest

from econvnext_mmdet.errors import UserError
from econvnext_mmdet.evaluation.runs import compare_runs, read_run, runs_table


@pytest.fixture
def work_dir(tmp_path):
    """Makes work directories as MMEngine leaves them: AP and AP50 of an epoch, a config, a log of 90 seconds."""
    def make(name, ap, seed=0, config='retinanet_1x', start=None, epoch=12, part=1, extra=''):
        folder = tmp_path / name
        data = folder / f'20260101_12000{part}' / 'vis_data'
        data.mkdir(parents=True)
        init_cfg = dict(type='Pretrained', checkpoint=start) if start else None
        text = (f'model = dict(backbone=dict(type="EConvNeXt", init_cfg={init_cfg}))\nload_from = None\n'
                'resume = False\ntrain_cfg = dict(max_epochs=12)\n'
                f'randomness = dict(seed={seed})\nwork_dir = "{folder}"\n{extra}')
        for path in (folder / f'{config}.py', data / 'config.py'):
            path.write_text(text)
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
    (scratch, pretrained, other), left_out = compare_runs(folders)
    assert not left_out
    assert [scratch[key] for key in ('config', 'start', 'seeds', 'epochs')] == ['retinanet_1x', '', [0, 1], 12]
    assert scratch['AP'] == dict(values=[0.30, 0.36], mean=pytest.approx(0.33), std=statistics.stdev([0.30, 0.36]))
    assert scratch['AP50']['mean'] == pytest.approx(0.66) and scratch['minutes'] == 1.5
    assert pretrained['AP'] == dict(values=[0.5], mean=0.5, std=None) and other['seeds'] == [4]
    assert runs_table([scratch, pretrained]).splitlines()[2:] == [
        '| `retinanet_1x` | scratch | 12 | 0, 1 | 0.330 ± 0.042 | 0.660 ± 0.085 | 1.5 |',
        '| `retinanet_1x` | `weights/net.pth` | 12 | 0 | 0.500 | 1.000 | 1.5 |']


def test_a_later_test_changes_nothing(work_dir, tmp_path):
    """Testing writes the config with its load_from to the top of the work directory."""
    folder = work_dir('a', 0.3)
    before = read_run(folder)
    config = tmp_path / 'a' / 'retinanet_1x.py'
    config.write_text(config.read_text() + 'load_from = "a/epoch_12.pth"\n')
    data = tmp_path / 'a' / '20260102_120000' / 'vis_data'
    data.mkdir(parents=True)
    (data / 'config.py').write_text(config.read_text())
    (data / 'scalars.json').write_text(json.dumps({'coco/bbox_mAP': 0.9, 'coco/bbox_mAP_50': 0.9, 'step': 12}))
    assert read_run(folder) == before and before.start == ''


def test_a_resumed_training_is_one(work_dir):
    work_dir('a', 0.9, start='old.pth')  # begun before, and begun again
    work_dir('a', 0.2, start='net.pth', epoch=6, part=2)
    folder = work_dir('a', 0.3, part=3, extra='resume = True\nload_from = "a/epoch_6.pth"\n')
    run = read_run(folder)
    assert (run.start, run.metrics['AP'], run.minutes) == ('net.pth', 0.3, 3)
    longer = work_dir('a', 0.4, part=4, epoch=18, extra='resume = True\ntrain_cfg = dict(max_epochs=18)\n')
    assert (read_run(longer).epochs, read_run(longer).metrics['AP']) == (18, 0.4)


def test_what_is_no_finished_training_is_refused(work_dir, tmp_path):
    with pytest.raises(UserError, match='x is no work directory of a training'):
        read_run(str(tmp_path / 'x'))
    (row, ), (left_out, ) = compare_runs([work_dir('a', 0.3, epoch=11), work_dir('f', 0.2)])
    assert 'a holds no evaluation of boxes after epoch 12, its last' in left_out and row['AP']['values'] == [0.2]
    with pytest.raises(UserError, match=r'b and .*c are of one config, start and seed \(0\)'):
        compare_runs([work_dir('b', 0.3), work_dir('c', 0.3)])
    with pytest.raises(UserError, match='b and .*d are of one config, retinanet_1x, and differ in more than the seed'):
        compare_runs([str(tmp_path / 'b'), work_dir('d', 0.3, seed=1, extra='optim_wrapper = dict(lr=1)\n')])
    with pytest.raises(UserError, match='e has no readable config of a training by epochs'):
        read_run(work_dir('e', 0.3, extra='train_cfg = dict(max_iters=5)\n'))


def test_a_line_that_is_being_written_is_passed_over(work_dir, tmp_path):
    folder = work_dir('a', 0.3)
    scalars = next((tmp_path / 'a').glob('*/vis_data/scalars.json'))
    scalars.write_text(scalars.read_text() + '\n{"coco/bbox_mA')
    assert read_run(folder).metrics['AP'] == 0.3
