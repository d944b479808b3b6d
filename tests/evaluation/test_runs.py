"""The table of trainings, from work directories and metafiles that are made up."""
import importlib.util
import json
import re
import statistics
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from econvnext_mmdet.engine.run import load_config
from econvnext_mmdet.errors import UserError
from econvnext_mmdet.evaluation.runs import compare_runs, read_run, runs_table
from econvnext_mmdet.model_index import read_model_index

from ..conftest import ROOT, options

INDEX = """Import:
  - configs/x/metafile.yml
"""
# A config with a training, one with the paper's numbers and none, one with neither.
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
    """A config of a narrow detector that resizes to 24 x 40, which is filled up to 32 x 64."""
    cfg = load_config(str(ROOT / 'configs/demo/retinanet_e_convnext_mini_shapes.py'), options('data/shapes', 'work'))
    cfg.test_dataloader.dataset.pipeline[1].scale = (40, 24)
    return cfg.pretty_text


@pytest.fixture
def work_dir(settings, tmp_path):
    """Makes work directories as MMEngine leaves them: AP and AP50 of an epoch, a config, a log of 90 seconds."""
    def make(name, ap, seed=0, config='retinanet_1x', start=None, epoch=12, part=1, extra=''):
        folder = tmp_path / name
        data = folder / f'20260101_12000{part}' / 'vis_data'
        data.mkdir(parents=True)
        init_cfg = dict(type='Pretrained', checkpoint=start) if start else None
        text = (f'{settings}\nmodel["backbone"]["init_cfg"] = {init_cfg}\nload_from = None\n'
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


@pytest.fixture
def index(settings, tmp_path):
    """A model index, its metafile and the configs with the paper's numbers, one of images of 64 x 64."""
    folder = tmp_path / 'configs' / 'x'
    folder.mkdir(parents=True)
    (folder / 'metafile.yml').write_text(METAFILE)
    (folder / 'retinanet_1x.py').write_text(settings)
    (folder / 'published.py').write_text(f'{settings}\ntest_dataloader["dataset"]["pipeline"][1]["scale"] = 64\n')
    (tmp_path / 'model-index.yml').write_text(INDEX)
    return str(tmp_path / 'model-index.yml')


def counts(cfg, shape):
    """Parameters, and GFLOPs by what each convolution's hook sees; a detector of one stage has nothing else."""
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model).eval()
    macs = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, _, out: macs.append(
                out.numel() * m.in_channels // m.groups * m.kernel_size[0] * m.kernel_size[1]))
    model(torch.zeros(1, 3, *shape), mode='tensor')
    return sum(param.numel() for param in model.parameters()), 2 * sum(macs) / 1e9


def test_seeds_are_put_together_and_starts_are_not(work_dir, index):
    folders = [work_dir('a', 0.30, seed=0), work_dir('c', 0.5, seed=0, start='weights/net.pth'),
               work_dir('b', 0.36, seed=1), work_dir('d', 0.4, seed=4, config='other')]
    (scratch, pretrained, other, untrained), left_out = compare_runs(folders, index)
    assert not left_out
    assert [scratch[key] for key in ('config', 'start', 'seeds', 'epochs')] == ['retinanet_1x', '', [0, 1], 12]
    assert scratch['AP'] == dict(values=[0.30, 0.36], mean=pytest.approx(0.33), std=statistics.stdev([0.30, 0.36]))
    assert scratch['AP50']['mean'] == pytest.approx(0.66) and scratch['minutes'] == 1.5
    assert pretrained['AP'] == dict(values=[0.5], mean=0.5, std=None) and other['seeds'] == [4]
    assert (pretrained['config'], pretrained['start']) == ('retinanet_1x', 'weights/net.pth')
    assert untrained['config'] == 'published'


def test_seeds_that_were_not_set_are_put_together(work_dir, index, tmp_path):
    """MMEngine draws another for each training. A job that may be restarted is begun with --resume."""
    unset = 'del randomness\n'
    folders = [work_dir('a', 0.1, extra=unset), work_dir('b', 0.2, extra=unset + 'resume = True\n'),
               work_dir('c', 0.3, seed=1)]
    row, _ = compare_runs(folders, index)[0]
    assert (row['seeds'], row['AP']['values']) == ([None, None, 1], [0.1, 0.2, 0.3])
    assert '| -, -, 1 |' in runs_table([row])
    (tmp_path / 'link').symlink_to(folders[0])
    for again in (folders[0], f'{tmp_path}/link'):
        with pytest.raises(UserError, match='give one of them'):
            compare_runs([folders[0], again], index)


def test_names_and_the_papers_numbers_are_the_metafiles(work_dir, index):
    """What a metafile does not say comes from the config."""
    rows, _ = compare_runs([work_dir('a', 0.3), work_dir('d', 0.4, config='other')], index)
    names = ('config', 'data', 'detector', 'backbone', 'paper_AP', 'paper_gflops')
    assert [tuple(row[name] for name in names) for row in rows] == [
        ('retinanet_1x', 'drawings', 'PP-YOLOE-S', 'E-ConvNeXt-mini', pytest.approx(0.506), 20.56),
        ('other', 'shapes', 'RetinaNet', 'EConvNeXt-mini', None, None),
        ('published', 'sonar', 'YOLOv10-M', 'EConvNeXt-mini', pytest.approx(0.513), None)]
    assert [rows[-1][key] for key in ('start', 'epochs', 'seeds', 'AP', 'AP50', 'minutes')] == [None] * 6


def test_a_backbone_has_its_depth_in_its_name(work_dir, index):
    resnet = ('model["backbone"] = dict(type="ResNet", depth=18, out_indices=(1, 2, 3), base_channels=16)\n'
              'model["neck"]["in_channels"] = [32, 64, 128]\n')
    rows, _ = compare_runs([work_dir('d', 0.4, config='other', extra=resnet)], index)
    assert rows[0]['backbone'] == 'ResNet-18'


def test_networks_are_counted_at_the_size_that_they_get(work_dir, index):
    folder = work_dir('a', 0.3)
    rows, _ = compare_runs([folder], index)
    cfg = Config(read_run(folder).settings)
    for row, shape in zip(rows, ([32, 64], [64, 64])):
        assert row['input'] == shape
        assert (row['params'], row['gflops']) == counts(cfg, shape)
        assert row['latency'] > 0 and row['device']


def test_a_config_that_has_no_size_is_named(work_dir, index):
    extra = 'test_dataloader["dataset"]["pipeline"] = [dict(type="LoadImageFromFile")]\n'
    with pytest.raises(UserError, match='retinanet_1x cannot be counted: the size of the test.s images is not known'):
        compare_runs([work_dir('a', 0.3, extra=extra)], index)


def test_the_table_as_text():
    """Rows as compare_runs gives them, with numbers that are easy to find."""
    untrained = dict(
        config='published', data='sonar', detector='YOLOv10-M', backbone='E-ConvNeXt-tiny', paper_AP=0.513,
        paper_gflops=69.9, input=[640, 640], params=27_742_700, gflops=75.228, latency=12.34, device='CPU, 2 threads',
        **dict.fromkeys(('start', 'epochs', 'seeds', 'AP', 'AP50', 'minutes')))
    one = dict(values=[0.5], mean=0.5, std=None)
    trained = dict(
        untrained, config='own', data='', paper_AP=None, paper_gflops=None, start='', epochs=12, seeds=[0, 1],
        AP=dict(values=[0.30, 0.36], mean=0.33, std=0.0424), AP50=dict(values=[0.60, 0.72], mean=0.66, std=0.0849),
        minutes=1.52)
    pretrained = dict(trained, start='net.pth', seeds=[0], AP=one, AP50=one, input=[256, 320])
    header, line, *rows, empty, network, latency = runs_table([trained, untrained]).splitlines()
    assert header == ('| data | detector | backbone | starts from | epochs | seeds | input | parameters (M) | GFLOPs | '
                      'GFLOPs (paper) | AP | AP (paper) | AP50 | latency (ms) | minutes | config |')
    assert line.count('|') == header.count('|') and not empty
    assert rows == [
        '| - | YOLOv10-M | E-ConvNeXt-tiny | scratch | 12 | 0, 1 | 640 x 640 | 27.74 | 75.23 | - | 0.330 ± 0.042 | - | '
        '0.660 ± 0.085 | 12.3 | 1.5 | `own` |',
        '| sonar | YOLOv10-M | E-ConvNeXt-tiny | - | - | - | 640 x 640 | 27.74 | 75.23 | 69.9 | no run | 0.513 | - | '
        '12.3 | - | `published` |']
    assert 'of the network alone' in network and 'CPU, 2 threads' in latency
    text = runs_table([pretrained])
    assert '| `net.pth` | 12 | 0 | 256 x 320 |' in text and '| 0.500 | - | 0.500 |' in text
    assert "The paper's GFLOPs are at 640 x 640" in text


@pytest.fixture
def transfer_table(index, monkeypatch):
    """Calls the tool in this process, with the index that is made up."""
    spec = importlib.util.spec_from_file_location('transfer_table', ROOT / 'tools' / 'transfer_table.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.INDEX == ROOT / 'model-index.yml'
    monkeypatch.setattr(module, 'INDEX', index)

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['transfer_table.py', *map(str, args)])
        module.main()
    return call


def test_the_tool_prints_the_table_before_what_is_left_out(work_dir, transfer_table, tmp_path, capsys):
    file = tmp_path / 'rows.json'
    with pytest.raises(UserError, match='none is no work directory of a training'):
        transfer_table(work_dir('a', 0.3), tmp_path / 'none', '--json', file)
    out = capsys.readouterr().out
    rows = json.loads(file.read_text())
    assert out.rstrip('\n') == runs_table(rows)
    assert re.search(r'\| drawings \| .* \| 0.300 \| 0.506 \| 0.600 \| .* \| `retinanet_1x` \|', out)
    assert [row['AP'] and row['AP']['values'] for row in rows] == [[0.3], None]


def test_the_tool_measures_nothing_without_a_training(transfer_table, tmp_path, capsys):
    with pytest.raises(UserError, match='none is no work directory of a training'):
        transfer_table(tmp_path / 'none', '--json', tmp_path / 'rows.json')
    assert not capsys.readouterr().out and not (tmp_path / 'rows.json').exists()


def test_the_metafiles_name_what_the_readme_compares():
    entries = read_model_index(str(ROOT / 'model-index.yml'))
    assert entries['retinanet_r18_fpn-96_16e_bccd'] == (
        str(ROOT / 'configs/bccd/retinanet_r18_fpn-96_16e_bccd.py'), 'BCCD', 'RetinaNet', 'ResNet-18', None, None)
    for name, entry in entries.items():
        of_a_detector = not name.startswith('e-convnext')
        if of_a_detector and Path(entry.config).parent.name in ('bccd', 'demo', 'finetune'):
            assert entry.detector and entry.backbone, name


def test_metafiles_that_cannot_be_read_are_named(index, tmp_path):
    metafile = tmp_path / 'configs' / 'x' / 'metafile.yml'
    metafile.write_text('Models:\n  - Name: a\n')
    with pytest.raises(UserError, match='metafile.yml has an entry without Config: a; name its config file there'):
        read_model_index(index)
    for text in ('a: [', '- a'):
        metafile.write_text(text)
        with pytest.raises(UserError, match='metafile.yml'):
            read_model_index(index)
    metafile.unlink()
    with pytest.raises(UserError, match='cannot read .*metafile.yml as YAML'):
        read_model_index(index)


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


def test_what_is_no_finished_training_is_refused(work_dir, index, tmp_path):
    with pytest.raises(UserError, match='x is no work directory of a training'):
        read_run(str(tmp_path / 'x'))
    (row, _), (left_out, ) = compare_runs([work_dir('a', 0.3, epoch=11), work_dir('f', 0.2)], index)
    assert 'a holds no evaluation of boxes after epoch 12, its last' in left_out and row['AP']['values'] == [0.2]
    with pytest.raises(UserError, match=r'b and .*c are of one config, start and seed \(0\)'):
        compare_runs([work_dir('b', 0.3), work_dir('c', 0.3)], index)
    with pytest.raises(UserError, match='b and .*d are of one config, retinanet_1x, and differ in more than the seed'):
        compare_runs([str(tmp_path / 'b'), work_dir('d', 0.3, seed=1, extra='optim_wrapper = dict(lr=1)\n')], index)
    with pytest.raises(UserError, match='e has no readable config of a training by epochs'):
        read_run(work_dir('e', 0.3, extra='train_cfg = dict(max_iters=5)\n'))


def test_a_line_that_is_being_written_is_passed_over(work_dir, tmp_path):
    folder = work_dir('a', 0.3)
    scalars = next((tmp_path / 'a').glob('*/vis_data/scalars.json'))
    scalars.write_text(scalars.read_text() + '\n{"coco/bbox_mA')
    assert read_run(folder).metrics['AP'] == 0.3
