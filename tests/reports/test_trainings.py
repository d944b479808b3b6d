"""Tests of the table of training runs, with made-up work directories and metafiles."""

import importlib.util
import json
import math
import re
import statistics
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from econvnext_mmdet.reports.trainings import METRICS, compare_trainings, read_training, trainings_table
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT, count_convolutions, options

INDEX = """Import:
  - configs/x/metafile.yml
"""
# The first config has a measured AP and the paper's numbers, the second only the paper's AP, the third only a measured
# AP.
METAFILE = """Models:
  - Name: a
    Config: configs/x/retinanet_1x.py
    Metadata: {Training Data: drawings, Detector: PP-YOLOE-S, Backbone: E-ConvNeXt-mini, FLOPs (the paper's): 20.56}
    Results:
      - {Task: Object Detection, Dataset: drawings, Metrics: {box AP: 1.2, box AP (the paper's): 50.6}}
  - Name: b
    Config: configs/x/published.py
    Metadata: {Training Data: sonar, Detector: YOLOv10-M}
    Results: [{Task: Object Detection, Dataset: sonar, Metrics: {box AP (the paper's): 51.3}}]
  - Name: c
    Config: configs/x/own.py
    Results: [{Task: Object Detection, Dataset: sonar, Metrics: {box AP: 51.3}}]
"""


@pytest.fixture(scope='module')
def settings():
    """The text of a config of a narrow detector. It resizes to 24 x 40, which is padded to 32 x 64."""
    cfg = load_config(str(ROOT / 'configs/demo/retinanet_e_convnext_mini_shapes.py'), options('data/shapes', 'work'))
    cfg.test_dataloader.dataset.pipeline[1].scale = (40, 24)
    return cfg.pretty_text


@pytest.fixture
def work_dir(settings, tmp_path):
    """A function that makes a work directory as MMEngine does: a config, a log of 90 seconds, and AP and AP50."""

    def make(name, ap, seed=0, config='retinanet_1x', start=None, epoch=12, part=1, extra=''):
        folder = tmp_path / name
        data = folder / f'20260101_12000{part}' / 'vis_data'
        data.mkdir(parents=True)
        init_cfg = dict(type='Pretrained', checkpoint=start) if start else None
        text = (
            f'{settings}\nmodel["backbone"]["init_cfg"] = {init_cfg}\nload_from = None\n'
            'resume = False\ntrain_cfg = dict(max_epochs=12)\n'
            f'randomness = dict(seed={seed})\nwork_dir = "{folder}"\n{extra}'
        )
        for path in (folder / f'{config}.py', data / 'config.py'):
            path.write_text(text)
        lines = [
            {'loss': 1.0, 'step': 3},
            {'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.2, 'step': 1},
            {'coco/bbox_mAP': ap, 'coco/bbox_mAP_50': 2 * ap, 'step': epoch},
        ]
        (data / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
        (data.parent / '20260101_120000.log').write_text(
            '2026/01/01 23:59:00 - mmengine - INFO - \n---\n\n2026/01/02 00:00:30 - mmengine - INFO - end\n   x\n'
        )
        return str(folder)

    return make


@pytest.fixture
def index(settings, tmp_path):
    """The path of a model index. Its metafile has two configs with the paper's AP, one with images of 64 x 64."""
    folder = tmp_path / 'configs' / 'x'
    folder.mkdir(parents=True)
    (folder / 'metafile.yml').write_text(METAFILE)
    (folder / 'retinanet_1x.py').write_text(settings)
    (folder / 'published.py').write_text(f'{settings}\ntest_dataloader["dataset"]["pipeline"][1]["scale"] = 64\n')
    (tmp_path / 'model-index.yml').write_text(INDEX)
    return str(tmp_path / 'model-index.yml')


def counts(cfg, shape):
    """Count the parameters, and the GFLOPs of all convolutions. A one-stage detector has no other multiply-adds."""
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model).eval()
    macs = count_convolutions(model)
    model(torch.zeros(1, 3, *shape), mode='tensor')
    return sum(param.numel() for param in model.parameters()), 2 * sum(macs) / 1e9


def test_seeds_share_a_row_but_starts_do_not(work_dir, index):
    folders = [
        work_dir('a', 0.30, seed=0),
        work_dir('c', 0.5, seed=0, start='weights/net.pth'),
        work_dir('b', 0.36, seed=1),
        work_dir('d', 0.4, seed=4, config='other'),
    ]
    (scratch, pretrained, other, untrained), left_out = compare_trainings(folders, index)
    assert not left_out
    assert [scratch[key] for key in ('config', 'start', 'seeds', 'epochs')] == ['retinanet_1x', '', [0, 1], 12]
    assert scratch['AP'] == dict(values=[0.30, 0.36], mean=pytest.approx(0.33), std=statistics.stdev([0.30, 0.36]))
    assert scratch['AP50']['mean'] == pytest.approx(0.66) and scratch['minutes'] == 1.5
    assert pretrained['AP'] == dict(values=[0.5], mean=0.5, std=None) and other['seeds'] == [4]
    assert (pretrained['config'], pretrained['start']) == ('retinanet_1x', 'weights/net.pth')
    assert untrained['config'] == 'published'


def test_unset_seeds_share_a_row(work_dir, index, tmp_path):
    """MMEngine draws a different seed for each training run. The second run has --resume, as every job
    that may be restarted has, but it had nothing to resume."""
    unset = 'del randomness\n'
    folders = [
        work_dir('a', 0.1, extra=unset),
        work_dir('b', 0.2, extra=unset + 'resume = True\n'),
        work_dir('c', 0.3, seed=1),
    ]
    row, _ = compare_trainings(folders, index)[0]
    assert (row['seeds'], row['AP']['values']) == ([None, None, 1], [0.1, 0.2, 0.3])
    assert '| -, -, 1 |' in trainings_table([row])
    (tmp_path / 'link').symlink_to(folders[0])
    for again in (folders[0], f'{tmp_path}/link'):
        with pytest.raises(UserError, match=r'same config, start and seed \(None\); leave one out'):
            compare_trainings([folders[0], again], index)


def test_names_and_paper_numbers_come_from_the_metafile(work_dir, index):
    """Names that the metafile lacks come from the config."""
    rows, _ = compare_trainings([work_dir('a', 0.3), work_dir('d', 0.4, config='other')], index)
    names = ('config', 'data', 'detector', 'backbone', 'paper_AP', 'paper_gflops')
    assert [tuple(row[name] for name in names) for row in rows] == [
        ('retinanet_1x', 'drawings', 'PP-YOLOE-S', 'E-ConvNeXt-mini', pytest.approx(0.506), 20.56),
        ('other', 'shapes', 'RetinaNet', 'EConvNeXt-mini', None, None),
        ('published', 'sonar', 'YOLOv10-M', 'EConvNeXt-mini', pytest.approx(0.513), None),
    ]
    assert [rows[-1][key] for key in ('start', 'epochs', 'seeds', 'AP', 'AP50', 'minutes')] == [None] * 6


def test_the_name_of_a_backbone_has_its_depth(work_dir, index):
    resnet = (
        'model["backbone"] = dict(type="ResNet", depth=18, out_indices=(1, 2, 3), base_channels=16)\n'
        'model["neck"]["in_channels"] = [32, 64, 128]\n'
    )
    rows, _ = compare_trainings([work_dir('d', 0.4, config='other', extra=resnet)], index)
    assert rows[0]['backbone'] == 'ResNet-18'


def test_networks_are_counted_at_the_size_of_their_input(work_dir, index):
    folder = work_dir('a', 0.3)
    rows, _ = compare_trainings([folder], index)
    cfg = Config(read_training(folder).settings)
    for row, shape in zip(rows, ([32, 64], [64, 64])):
        assert row['input'] == shape
        assert (row['params'], row['gflops']) == counts(cfg, shape)
        assert row['latency'] > 0 and row['device']


def test_a_config_without_an_image_size_is_named(work_dir, index):
    extra = 'test_dataloader["dataset"]["pipeline"] = [dict(type="LoadImageFromFile")]\n'
    with pytest.raises(
        UserError, match='cannot count the multiply-adds of retinanet_1x: the size of the test images is unknown'
    ):
        compare_trainings([work_dir('a', 0.3, extra=extra)], index)


def test_the_table_has_formatted_rows_and_notes_below_them():
    """The rows are like those of compare_trainings."""
    untrained = dict(
        config='published',
        data='sonar',
        detector='YOLOv10-M',
        backbone='E-ConvNeXt-tiny',
        paper_AP=0.513,
        paper_gflops=69.9,
        input=[640, 640],
        params=27_742_700,
        gflops=75.228,
        latency=12.34,
        device='CPU, 2 threads',
        **dict.fromkeys(('start', 'epochs', 'seeds', 'AP', 'AP50', 'minutes')),
    )
    one = dict(values=[0.5], mean=0.5, std=None)
    trained = dict(
        untrained,
        config='own',
        data='',
        paper_AP=None,
        paper_gflops=None,
        start='',
        epochs=12,
        seeds=[0, 1],
        AP=dict(values=[0.30, 0.36], mean=0.33, std=0.0424),
        AP50=dict(values=[0.60, 0.72], mean=0.66, std=0.0849),
        minutes=1.52,
    )
    pretrained = dict(trained, start='net.pth', seeds=[0], AP=one, AP50=one, input=[256, 320])
    header, line, *rows, empty, network, latency = trainings_table([trained, untrained]).splitlines()
    assert header == (
        '| data | detector | backbone | starts from | epochs | seeds | input | parameters (M) | GFLOPs | '
        'GFLOPs (paper) | AP | AP (paper) | AP50 | latency (ms) | minutes | config |'
    )
    assert line.count('|') == header.count('|') and not empty
    assert rows == [
        '| - | YOLOv10-M | E-ConvNeXt-tiny | scratch | 12 | 0, 1 | 640 x 640 | 27.74 | 75.23 | - | 0.330 ± 0.042 | - | '
        '0.660 ± 0.085 | 12.3 | 1.5 | `own` |',
        '| sonar | YOLOv10-M | E-ConvNeXt-tiny | - | - | - | 640 x 640 | 27.74 | 75.23 | 69.9 | not trained | 0.513 | '
        '- | 12.3 | - | `published` |',
    ]
    assert 'those of the network alone' in network and 'CPU, 2 threads' in latency
    text = trainings_table([pretrained])
    assert '| `net.pth` | 12 | 0 | 256 x 320 |' in text and '| 0.500 | - | 0.500 |' in text
    assert "The paper's GFLOPs are for 640 x 640" in text


@pytest.fixture
def tool(index, monkeypatch):
    """A function that calls the tool in this process, with the made-up index."""
    path = ROOT / 'tools' / 'analysis_tools' / 'compare_trainings.py'
    spec = importlib.util.spec_from_file_location('compare_trainings', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.INDEX == ROOT / 'model-index.yml'
    monkeypatch.setattr(module, 'INDEX', index)

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['compare_trainings.py', *map(str, args)])
        module.main()

    return call


def test_the_tool_prints_the_table_before_the_error(work_dir, tool, tmp_path, capsys):
    file = tmp_path / 'rows.json'
    with pytest.raises(UserError, match='none is not the work directory of a training run'):
        tool(work_dir('a', 0.3), tmp_path / 'none', '--json', file)
    out = capsys.readouterr().out
    rows = json.loads(file.read_text())
    assert out.rstrip('\n') == trainings_table(rows)
    assert re.search(r'\| drawings \| .* \| 0.300 \| 0.506 \| 0.600 \| .* \| `retinanet_1x` \|', out)
    assert [row['AP'] and row['AP']['values'] for row in rows] == [[0.3], None]


def test_the_tool_prints_and_writes_nothing_without_a_training_run(tool, tmp_path, capsys):
    with pytest.raises(UserError, match='none is not the work directory of a training run'):
        tool(tmp_path / 'none', '--json', tmp_path / 'rows.json')
    assert not capsys.readouterr().out and not (tmp_path / 'rows.json').exists()


def test_a_test_after_the_training_run_does_not_change_what_is_read(work_dir, tmp_path):
    """A test replaces the config at the top of the work directory by one with load_from."""
    folder = work_dir('a', 0.3)
    before = read_training(folder)
    config = tmp_path / 'a' / 'retinanet_1x.py'
    config.write_text(config.read_text() + 'load_from = "a/epoch_12.pth"\n')
    data = tmp_path / 'a' / '20260102_120000' / 'vis_data'
    data.mkdir(parents=True)
    (data / 'config.py').write_text(config.read_text())
    (data / 'scalars.json').write_text(json.dumps({'coco/bbox_mAP': 0.9, 'coco/bbox_mAP_50': 0.9, 'step': 12}))
    assert read_training(folder) == before and before.start == ''


def test_resumed_parts_count_as_one_training_run(work_dir):
    work_dir('a', 0.9, start='old.pth')  # an earlier training run in the same work directory
    work_dir('a', 0.2, start='net.pth', epoch=6, part=2)
    folder = work_dir('a', 0.3, part=3, extra='resume = True\nload_from = "a/epoch_6.pth"\n')
    training = read_training(folder)
    assert (training.start, training.metrics['AP'], training.minutes) == ('net.pth', 0.3, 3)
    longer = work_dir('a', 0.4, part=4, epoch=18, extra='resume = True\ntrain_cfg = dict(max_epochs=18)\n')
    assert (read_training(longer).epochs, read_training(longer).metrics['AP']) == (18, 0.4)


def test_unfinished_training_runs_are_left_out_and_other_folders_are_errors(work_dir, index, tmp_path):
    with pytest.raises(UserError, match='x is not the work directory of a training run: expected one config'):
        read_training(str(tmp_path / 'x'))
    (row, _), (left_out,) = compare_trainings([work_dir('a', 0.3, epoch=11), work_dir('f', 0.2)], index)
    assert 'a has no evaluation of boxes after its last epoch, 12' in left_out and row['AP']['values'] == [0.2]
    with pytest.raises(UserError, match='cannot read the config of an epoch-based training run in .*e: .*; leave out'):
        read_training(work_dir('e', 0.3, extra='train_cfg = dict(max_iters=5)\n'))


@pytest.mark.parametrize('value', ['x', None, math.nan, math.inf, 5, -7, -1, True, [0.1]])
@pytest.mark.parametrize('metric', ['AP', 'AP50'])
def test_an_ap_that_is_none_is_named(work_dir, metric, value):
    folder = work_dir('a', 0.3)
    rewrite(folder, lambda entry: entry.update({METRICS[metric]: value}))
    with pytest.raises(
        UserError, match=rf'a has the {metric} .* after its last epoch, in .*; expected a number from 0'
    ):
        read_training(folder)


@pytest.mark.parametrize(
    'key, says', [('step', 'no evaluation of boxes after its last epoch, 12'), (METRICS['AP50'], 'has the AP50 None')]
)
def test_an_evaluation_with_a_missing_key_is_named(work_dir, key, says):
    folder = work_dir('a', 0.3)
    rewrite(folder, lambda entry: entry.pop(key))
    with pytest.raises(UserError, match=says):
        read_training(folder)


def rewrite(folder, change):
    """Change the last entry of the scalars of a work directory."""
    (path,) = Path(folder).glob('*/vis_data/scalars.json')
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    change(entries[-1])
    path.write_text('\n'.join(map(json.dumps, entries)))


@pytest.mark.parametrize(
    'extra, says',
    [
        ('model = dict()', 'model must be a dict with a type'),
        ('model = 5', ''),
        ('model = dict(type="RetinaNet")', 'backbone'),
        ('model["type"] = 5', ''),
        ('model["backbone"]["init_cfg"] = dict(type="Pretrained")', 'checkpoint'),
        ('model["backbone"]["init_cfg"] = "Pretrained"', ''),
        ('randomness = 5', 'randomness must be a dict'),
        ('randomness = dict(seed=[1])', 'randomness.seed must be'),
        ('train_cfg = 5', ''),
        ('train_cfg = dict(max_epochs="12")', 'train_cfg.max_epochs must be'),
        ('test_dataloader = 5', 'test_dataloader must be'),
        ('load_from = 5', 'load_from must be'),
    ],
)
def test_a_malformed_config_is_left_out(work_dir, extra, says):
    with pytest.raises(UserError, match=f'cannot read the config of .* in .*a: .*{says}.*; leave out this folder'):
        read_training(work_dir('a', 0.3, extra=extra))


def test_a_damaged_log_has_no_minutes(work_dir, index):
    folder = work_dir('a', 0.3)
    (log,) = Path(folder).glob('*/*.log')
    log.write_bytes(b'\xff\xfe\x00' + log.read_bytes() + b'\xff')
    assert read_training(folder).minutes is None
    (row, _), _ = compare_trainings([folder, work_dir('b', 0.2, seed=1)], index)
    assert row['minutes'] is None and '| - | `retinanet_1x`' in trainings_table([row])
    log.write_bytes(b'\xff\n2026/01/01 23:59:00 \xff\n2026/01/02 00:00:30')
    assert read_training(folder).minutes == 1.5


def test_training_runs_that_do_not_belong_together_are_rejected(work_dir, index, tmp_path):
    with pytest.raises(UserError, match=r'b and .*c have the same config, start and seed \(0\)'):
        compare_trainings([work_dir('b', 0.3), work_dir('c', 0.3)], index)
    other = work_dir('d', 0.3, seed=1, extra='optim_wrapper = dict(lr=1)\n')
    with pytest.raises(UserError, match='b and .*d have the same config name, retinanet_1x, but their settings differ'):
        compare_trainings([str(tmp_path / 'b'), other], index)


def test_an_unfinished_line_is_skipped_and_a_malformed_one_is_an_error(work_dir, tmp_path):
    folder = work_dir('a', 0.3)
    scalars = next((tmp_path / 'a').glob('*/vis_data/scalars.json'))
    text = scalars.read_text()
    scalars.write_text(text + '\n{"coco/bbox_mA')
    assert read_training(folder).metrics['AP'] == 0.3
    scalars.write_text('{"coco/bbox_mA\n' + text)
    with pytest.raises(UserError, match='cannot read .*scalars.json as a training log: line 1 is not a JSON object'):
        read_training(folder)
