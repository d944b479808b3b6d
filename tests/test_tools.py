"""The tools from end to end, on seconds of training."""
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import mmdet
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.evaluation import DumpDetResults
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.optim import OptimWrapper

from econvnext_mmdet import EConvNeXt, cli
from econvnext_mmdet.complexity import count_model
from econvnext_mmdet.engine import benchmark, run
from econvnext_mmdet.engine.hooks import coco_table
from econvnext_mmdet.errors import UserError
from econvnext_mmdet.evaluation import coco_results
from econvnext_mmdet.evaluation.coco_eval import STATS, evaluate_files
from econvnext_mmdet.evaluation.coco_metric import NAMES
from econvnext_mmdet.evaluation.runs import compare_runs
from econvnext_mmdet.files import write_json

from .conftest import ROOT, options

DEMO = str(ROOT / 'configs' / 'demo' / 'retinanet_e_convnext_mini_shapes.py')


def tool(*args, **kwargs):
    """Run a tool as a user does and return its exit status, stdout and stderr."""
    done = subprocess.run([sys.executable, *map(str, args)], cwd=ROOT, capture_output=True, text=True, **kwargs)
    return done.returncode, done.stdout, done.stderr


def as_options(changes):
    return ['--cfg-options', *(f'{key}={json.dumps(value) if isinstance(value, list) else value}'.replace(' ', '')
                               for key, value in changes.items())]


def train_with_tool(config, work_dir, changes):
    """A work directory that tools/train.py filled, and what it printed."""
    status, out, err = tool('tools/train.py', config, '--work-dir', work_dir, *as_options(changes))
    assert status == 0, err
    return work_dir, out + err


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('work')
    return train_with_tool(DEMO, work_dir, options(shapes, work_dir))


@pytest.fixture
def cfg(shapes, tmp_path):
    return run.load_config(DEMO, options(shapes, tmp_path / 'work'))


def test_training_ends_with_the_table_and_the_checkpoint(trained):
    work_dir, text = trained
    assert 'eta: ' in text
    header, row = re.search(r'COCO evaluation\n(.+)\n(.+)', text).groups()
    assert header.split() == ['AP', 'AP50', 'AP75', 'small', 'medium', 'large']
    assert row.split()[0] == 'bbox' and len(row.split()) == 7
    assert re.search(r'checkpoint: (.+)', text)[1] == str(work_dir / 'epoch_2.pth')
    assert (work_dir / 'epoch_2.pth').is_file()


def test_same_seed_same_result(trained, shapes, tmp_path):
    """A second run gives the same weights, bit for bit."""
    run.train(run.load_config(DEMO, options(shapes, tmp_path)))
    first, second = (torch.load(folder / 'epoch_2.pth', weights_only=False)['state_dict']
                     for folder in (trained[0], tmp_path))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_resume_goes_on_where_training_stopped(trained, shapes, tmp_path):
    changes = options(shapes, tmp_path)
    run.train(run.load_config(DEMO, {**changes, 'train_cfg.max_epochs': 1}))
    (tmp_path / 'epoch_1.pth').rename(tmp_path / 'mine.pth')
    cfg = run.load_config(DEMO, changes)
    run.train(cfg, resume=str(tmp_path / 'mine.pth'))
    resumed = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    assert resumed['meta']['iter'] == torch.load(trained[0] / 'epoch_2.pth', weights_only=False)['meta']['iter'] == 6


def test_outputs_of_testing(trained, shapes, cfg, tmp_path):
    """Results in both formats hold the same detections, and pycocotools evaluates them to the same numbers."""
    checkpoint = str(trained[0] / 'epoch_2.pth')
    json_file, pkl_file = tmp_path / 'results.json', tmp_path / 'results.pkl'
    metrics = run.test(cfg, checkpoint, out=str(json_file), show_dir=str(tmp_path / 'pictures'))
    entries = json.loads(json_file.read_text())
    cfg = run.load_config(DEMO, options(shapes, tmp_path / 'work'))
    run.test(cfg, checkpoint, out=str(pkl_file))
    samples = pickle.loads(pkl_file.read_bytes())
    assert len(entries) == sum(len(sample['pred_instances']['scores']) for sample in samples) > 0
    assert set(entries[0]) == {'image_id', 'category_id', 'bbox', 'score'}

    result = evaluate_files(str(shapes / 'annotations' / 'val.json'), str(json_file), engine='pycocotools')['bbox']
    assert {f'coco/bbox_{NAMES[name]}': value for name, value in result.stats.items()} == metrics

    pictures = sorted((tmp_path / 'pictures').glob('*.jpg'))
    assert len(pictures) == 6
    assert cv2.imread(str(pictures[0])).shape == (64, 128, 3)  # ground truth and detections, side by side


def test_test_time_augmentation_from_the_command_line(trained, shapes, tmp_path):
    status, out, err = tool('tools/test.py', DEMO, trained[0] / 'epoch_2.pth', '--tta', '--work-dir', tmp_path,
                            *as_options(options(shapes, tmp_path)))
    assert status == 0, err
    assert 'COCO evaluation' in out + err


def test_masks_go_into_the_results(tmp_path):
    masks = torch.zeros(2, 8, 10, dtype=torch.bool)
    masks[0, 2:5, 3:7] = True
    sample = dict(img_id=7, pred_instances=dict(
        labels=torch.tensor([1, 0]), scores=torch.tensor([0.5, 0.25]), masks=masks,
        bboxes=torch.tensor([[3., 2., 7., 5.], [0., 0., 1., 1.]])))
    metric = coco_results.DumpCocoResults(str(tmp_path / 'out.json'), cat_ids=[10, 20])
    metric.process({}, [sample])
    metric.evaluate(1)
    first, second = json.loads((tmp_path / 'out.json').read_text())
    assert (first['image_id'], first['category_id'], first['bbox'], first['score']) == (7, 20, [3, 2, 4, 3], 0.5)
    from pycocotools import mask as mask_utils
    np.testing.assert_array_equal(mask_utils.decode(first['segmentation']), masks[0].numpy())
    assert second['category_id'] == 10


def test_scores_of_masks_are_not_in_the_results_and_that_is_said(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(coco_results, 'print_log', lambda text, **_: logged.append(text))
    sample = dict(img_id=7, pred_instances=dict(
        labels=torch.tensor([1]), scores=torch.tensor([0.5]), mask_scores=torch.tensor([0.25]),
        masks=torch.ones(1, 8, 10, dtype=torch.bool), bboxes=torch.tensor([[3., 2., 7., 5.]])))
    metric = coco_results.DumpCocoResults(str(tmp_path / 'out.json'), cat_ids=[10, 20])
    metric.process({}, [sample])
    metric.evaluate(1)
    assert json.loads((tmp_path / 'out.json').read_text())[0]['score'] == 0.5
    assert 'out.json has the scores of the boxes' in logged[0]


def test_results_of_a_model_that_does_not_know_all_classes(shapes, tmp_path):
    """The command that testing names gives testing's numbers."""
    changes = options(shapes, tmp_path)
    for split in ('train', 'val', 'test'):
        changes[f'{split}_dataloader.dataset.metainfo.classes'] = ('circle', 'star')
    changes['model.bbox_head.num_classes'] = 2
    cfg = run.load_config(DEMO, changes)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'two.pth')
    metrics = run.test(cfg, str(tmp_path / 'two.pth'), out=str(tmp_path / 'out.json'))
    log = next((tmp_path).glob('*/*.log')).read_text()
    assert f'evaluate {tmp_path}/out.json with --classes circle star' in log
    status, _, err = tool('tools/eval_coco.py', shapes / 'annotations' / 'val.json', tmp_path / 'out.json', '--classes',
                          'circle', 'star', '--json', tmp_path / 'numbers.json')
    assert status == 0, err
    numbers = json.loads((tmp_path / 'numbers.json').read_text())['bbox']
    assert {f'coco/bbox_{NAMES[name]}': numbers[name] for name in STATS} == metrics


def test_pretrained_starts_the_backbone_bit_equal(trained, shapes, tmp_path):
    path = str(trained[0] / 'epoch_2.pth')
    changes = {**options(shapes, tmp_path), 'optim_wrapper.optimizer.lr': 0., 'train_cfg.max_epochs': 1}
    changes['model.backbone.norm_eval'] = True  # with no rate and no new statistics, training changes nothing
    run.train(run.load_config(DEMO, changes), pretrained=path)
    started = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    for key, value in torch.load(path, weights_only=False)['state_dict'].items():
        if key.startswith('backbone.'):
            assert torch.equal(value, started[key]), key


def test_a_pretrained_file_that_does_not_fit_stops_training(trained, shapes, tmp_path):
    changes = {**options(shapes, tmp_path), 'model.backbone.widen_factor': 0.5,
               'model.neck.in_channels': [96, 192, 384]}
    with pytest.raises(UserError, match='fit this EConvNeXt: of the 212 tensors that it has, 212 of another shape'):
        run.train(run.load_config(DEMO, changes), pretrained=str(trained[0] / 'epoch_2.pth'))
    assert not list(tmp_path.glob('*.pth'))


def test_pretrained_is_for_our_backbone(cfg):
    cfg.model.backbone = dict(type='ResNet', depth=18)
    with pytest.raises(UserError, match="this config's is ResNet; set its model.backbone.init_cfg"):
        run.train(cfg, pretrained='x.pth')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a device for AMP')
def test_amp_and_launcher_without_a_device(cfg):
    with pytest.raises(UserError, match='--amp needs a GPU'):
        run.train(cfg, amp=True)
    cfg = Config(cfg.to_dict())
    cfg.optim_wrapper.type, cfg.launcher = 'OptimWrapper', 'pytorch'
    with pytest.raises(UserError, match='--launcher pytorch gives each process a GPU'):
        run.train(cfg)


def test_the_table_of_trainings(trained, cfg, tmp_path):
    (tmp_path / 'model-index.yml').write_text('Import: []')
    (row, ), left_out = compare_runs([str(trained[0])], str(tmp_path / 'model-index.yml'))
    assert not left_out
    metrics = run.test(cfg, str(trained[0] / 'epoch_2.pth'))
    assert (row['config'], row['start'], row['seeds'], row['epochs']) == (Path(DEMO).stem, '', [0], 2)
    assert row['AP']['values'] == [metrics['coco/bbox_mAP']] and row['AP50']['values'] == [metrics['coco/bbox_mAP_50']]


def test_auto_scale_lr(shapes, tmp_path):
    changes = {**options(shapes, tmp_path), 'train_cfg.max_epochs': 1, 'auto_scale_lr.base_batch_size': 8}
    cfg = run.load_config(DEMO, changes)
    run.train(cfg, auto_scale_lr=True)  # batches of 4 where the rate is meant for 8
    group = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['optimizer']['param_groups'][0]
    assert group['initial_lr'] == pytest.approx(cfg.optim_wrapper.optimizer.lr / 2)
    cfg.auto_scale_lr = {}
    with pytest.raises(UserError, match='base_batch_size'):
        run.train(cfg, auto_scale_lr=True)


@pytest.mark.parametrize('workers', [0, 1])
def test_an_unreadable_image_is_named(cfg, shapes, tmp_path, workers):
    import shutil
    root = tmp_path / 'shapes'
    shutil.copytree(shapes, root)
    (root / 'train' / '000004.jpg').write_bytes(b'no image')
    cfg.train_dataloader.num_workers = workers
    cfg.train_dataloader.dataset.data_root = f'{root}/'
    with pytest.raises(UserError, match=f'^{root}/train/000004.jpg is not a readable image'):
        run.train(cfg)


def test_names_that_no_registry_has(cfg):
    cfg.model.backbone.type = 'EConvNext'
    with pytest.raises(UserError, match='EConvNext is not in the'):
        run.train(cfg)


@pytest.mark.parametrize('args, says', [
    (['tools/train.py', 'configs/none.py'], 'error: no config file configs/none.py'),
    (['tools/train.py', DEMO, '--cfg-options', 'train_dataloader.dataset.data_root=nowhere/'],
     'error: no annotation file nowhere/annotations/train.json'),
    (['tools/test.py', DEMO, 'none.pth'], 'error: no checkpoint file none.pth'),
    (['tools/make_shapes.py', 'tests'], 'error: tests exists already'),
    (['tools/eval_coco.py', 'none.json', 'none.json'], 'error: cannot read none.json as JSON'),
    (['tools/analyze.py', 'none.json', 'none.json', '--out', 'tests'], 'error: tests exists already'),
    (['tools/dataset_converters/voc2coco.py', 'tests'], 'error: tests is no Pascal VOC folder'),
])
def test_errors_are_one_line_and_status_1(args, says):
    status, _, err = tool(*args)
    lines = [line for line in err.splitlines() if 'arning' not in line and line.strip()]
    assert status == 1 and len(lines) == 1 and lines[0].startswith(says)


def test_a_path_that_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(os, '_exit', lambda status: status == 1 or pytest.fail(f'status {status}'))
    cli.run(lambda: write_json(str(tmp_path / 'file' / 'numbers.json'), {}))
    assert capsys.readouterr().err == f'error: {tmp_path}/file: File exists\n'


def test_a_pkl_is_written_of_any_dataset(tmp_path):
    """Without COCO's classes and ids, which only the results in COCO's format need."""
    dataset = SimpleNamespace(metainfo={})
    assert type(run._dump(str(tmp_path / 'out.pkl'), dataset, metrics=[])) is DumpDetResults
    with pytest.raises(UserError, match="a SimpleNamespace without COCO's category ids; write a .pkl"):
        run._dump(str(tmp_path / 'out.json'), dataset, metrics=[])


def test_a_reader_that_closes_the_pipe_is_no_error(shapes, tmp_path):
    (tmp_path / 'none.json').write_text('[]')
    command = f'{sys.executable} tools/eval_coco.py {shapes}/annotations/val.json {tmp_path}/none.json | true'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == 'note: 0 of the 6 images of the annotation file have detections\n'


def test_a_file_that_cannot_be_written_is_told_before_the_work(shapes, tmp_path):
    (tmp_path / 'none.json').write_text('[]')
    status, out, err = tool('tools/eval_coco.py', shapes / 'annotations' / 'val.json', tmp_path / 'none.json', '--json',
                            tmp_path)
    assert (status, out, err) == (1, '', f'error: {tmp_path}: Is a directory\n')


def test_what_test_cannot_write_and_read(cfg, trained, tmp_path):
    (tmp_path / 'folder.json').mkdir()
    with pytest.raises(UserError, match='--out writes .pkl .*results.txt'):
        run.test(cfg, str(trained[0] / 'epoch_2.pth'), out=str(tmp_path / 'results.txt'))
    with pytest.raises(IsADirectoryError):
        run.test(cfg, str(trained[0] / 'epoch_2.pth'), out=str(tmp_path / 'folder.json'))
    (tmp_path / 'file').touch()
    with pytest.raises(FileExistsError):  # before the evaluation, whose numbers it would take along
        run.test(cfg, str(trained[0] / 'epoch_2.pth'), out=str(tmp_path / 'file' / 'results.json'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'folder.json']
    with pytest.raises(UserError, match='--cfg-options does not fit'):
        run.load_config(DEMO, {'model.bbox_head.anchor_generator.strides.9': 1})
    with pytest.raises(UserError, match="no setting 'train_dataloder'; did you mean 'train_dataloader'"):
        run.load_config(DEMO, {'train_dataloder.batch_size': 1})
    assert run.load_config(DEMO, {'find_unused_parameters': True}).find_unused_parameters
    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(')
    with pytest.raises(UserError, match='cannot read the config'):
        run.load_config(str(broken))


def test_interrupt_ends_with_status_130(shapes, tmp_path):
    changes = {**options(shapes, tmp_path), 'train_cfg.max_epochs': 1000, 'train_dataloader.num_workers': 2,
               'train_dataloader.persistent_workers': True}
    # In a background job, as of nohup, SIGINT is ignored and a child would inherit that.
    process = subprocess.Popen([sys.executable, 'tools/train.py', DEMO, *as_options(changes)], cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for line in process.stdout:
        if 'Epoch(train)' in line:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'Traceback' not in err
    assert err.rstrip().endswith('--resume goes on from the last checkpoint, if one was written')
    with pytest.raises(ProcessLookupError):  # the workers have gone with it
        os.killpg(process.pid, 0)


def test_flops_of_a_detector(cfg):
    """Against a count by hand: what each convolution's hook sees."""
    detector, backbone = count_model(cfg, (64, 64))
    model = MODELS.build(cfg.model).eval()
    macs = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, _, out: macs.append(
                out.numel() * m.in_channels // m.groups * m.kernel_size[0] * m.kernel_size[1]))
    model(torch.zeros(1, 3, 64, 64), mode='tensor')
    assert detector.macs == sum(macs)
    assert detector.params == sum(p.numel() for p in model.parameters())
    macs.clear()
    model.backbone(torch.zeros(1, 3, 64, 64))
    assert backbone.macs == sum(macs)
    assert backbone.params == sum(p.numel() for p in model.backbone.parameters())


def test_tools_that_make_and_count(tmp_path):
    status, out, err = tool('tools/make_shapes.py', tmp_path / 'x', '--train', 2, '--val', 1, '--size', 64, 80)
    assert status == 0, err
    assert 'train.json: 2 images' in out and cv2.imread(str(tmp_path / 'x/val/000000.jpg')).shape == (64, 80, 3)
    status, out, err = tool('tools/get_flops.py', DEMO, '--shape', 64, 96)
    assert status == 0, err
    assert re.search(r'detector: [\d,]+ parameters, [\d.]+ GMACs\nbackbone: [\d,]+ parameters', out)


@pytest.mark.parametrize('name', ['demo/e-convnext-mini_shapes', 'demo/mask_rcnn_e_convnext_mini_shapes'])
def test_the_speed_of_training_is_that_of_its_steps(name, monkeypatch):
    """By a clock that each step of training moves by half a second."""
    cfg = run.load_config(str(ROOT / 'configs' / f'{name}.py'))
    cfg.model.backbone.update(widen_factor=0.25, deepen_factor=0.34)
    if 'neck' in cfg.model and 'in_channels' in cfg.model.neck:
        cfg.model.neck.in_channels = [24, 48, 96, 192]
    else:
        cfg.model.head.in_channels = 192
    now, sizes = [0.], []
    step = OptimWrapper.update_params
    monkeypatch.setattr(OptimWrapper, 'update_params', lambda *args, **kwargs: (
        now.append(now[-1] + 0.5), step(*args, **kwargs)))
    monkeypatch.setattr(benchmark.time, 'perf_counter', lambda: now[-1])
    forward = EConvNeXt.forward
    monkeypatch.setattr(EConvNeXt, 'forward', lambda self, x: (sizes.append(tuple(x.shape)), forward(self, x))[1])
    speed = benchmark.time_training(cfg, (64, 96), batch_size=3, steps=4)
    assert speed.images == 3 / 0.5 and (speed.batch_size, speed.shape, speed.memory) == (3, (64, 96), None)
    assert sizes == 6 * [(3, 3, 64, 96)]


def test_the_benchmark_of_training_as_a_tool():
    status, out, err = tool('tools/benchmark_training.py', DEMO, '--shape', 64, 64, '--batch-size', 2, '--steps', 1,
                            '--images', 3600)
    assert status == 0, err
    speed, hours = re.search(r'shapes.py: ([\d.]+) images/s, 2 a step, 64 x 64, CPU, .*; 9 epochs of 3,600 images: '
                             r'([\d.]+) hours', out).groups()
    assert float(hours) == pytest.approx(9 / float(speed), rel=0.01, abs=0.06)


def test_voc2coco_converts_the_splits_that_are_there(tmp_path):
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/train.txt').write_text('a\n')
    (tmp_path / 'ImageSets/Main/cat_train.txt').write_text('a 1\n')
    (tmp_path / 'Annotations/a.xml').write_text(
        '<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>'
        '</object></annotation>')
    cv2.imwrite(str(tmp_path / 'JPEGImages/a.jpg'), np.zeros((8, 8, 3), np.uint8))
    status, out, err = tool('tools/dataset_converters/voc2coco.py', tmp_path)
    assert status == 0, err
    assert [path.name for path in (tmp_path / 'annotations').iterdir()] == ['train.json']
    assert 'train.json: 1 images, 1 objects: cat 1\ndropped nothing' in out


def test_no_detection_at_all_is_0(trained, cfg, capsys):
    cfg.model.test_cfg.score_thr = 1.
    metrics = run.test(cfg, str(trained[0] / 'epoch_2.pth'))
    assert metrics['coco/bbox_mAP'] == metrics['coco/bbox_AR@100'] == 0
    assert re.search(r'bbox +0.000 +0.000', capsys.readouterr().out)


def test_masks_from_training_to_evaluation(shapes, tmp_path):
    """Mask R-CNN trains, its results have masks, and tools/eval_coco.py gives the numbers that testing gave."""
    changes = options(shapes, tmp_path)
    del changes['model.test_cfg.score_thr']
    changes.update({'model.neck.in_channels': [24, 48, 96, 192], 'model.test_cfg.rcnn.score_thr': 0.,
                    'model.test_cfg.rcnn.max_per_img': 20})
    config = str(ROOT / 'configs' / 'demo' / 'mask_rcnn_e_convnext_mini_shapes.py')
    run.train(run.load_config(config, changes))
    checkpoint, results = str(tmp_path / 'epoch_2.pth'), tmp_path / 'results.json'
    metrics = run.test(run.load_config(config, changes), checkpoint, out=str(results))
    assert {set(entry) == {'image_id', 'category_id', 'bbox', 'score', 'segmentation'}
            for entry in json.loads(results.read_text())} == {True}
    truth = shapes / 'annotations' / 'val.json'
    status, out, err = tool('tools/eval_coco.py', truth, results, '--json', tmp_path / 'numbers.json')
    assert status == 0, err
    numbers = json.loads((tmp_path / 'numbers.json').read_text())
    for iou_type in ('bbox', 'segm'):
        for name, key in NAMES.items():
            assert numbers[iou_type][name] == metrics[f'coco/{iou_type}_{key}']
    header, ap = out.splitlines()[:2]
    assert header.split() == ['bbox', 'segm']
    assert ap.split()[-2:] == [f'{numbers[iou_type]["AP"]:.3f}' for iou_type in ('bbox', 'segm')]
    assert [entry['name'] for entry in numbers['segm']['classes']] == ['circle', 'square', 'triangle', 'star']
    with pytest.raises(UserError, match='--tta merges boxes and drops masks'):
        run.test(run.load_config(config, changes), checkpoint, tta=True)


def test_a_report_from_the_command_line(trained, shapes, tmp_path):
    results, truth = tmp_path / 'results.json', shapes / 'annotations' / 'val.json'
    run.test(run.load_config(DEMO, options(shapes, tmp_path)), str(trained[0] / 'epoch_2.pth'), out=str(results))
    (log, ) = trained[0].glob('*/vis_data/scalars.json')
    status, out, err = tool('tools/analyze.py', truth, results, '--images', shapes / 'val', '--log', log, '--out',
                            tmp_path / 'report')
    assert status == 0, err
    assert out.strip() == str(tmp_path / 'report' / 'index.html')
    assert {'report.json', 'training-loss.png', 'training-ap.png', 'bbox-0-best-0.png'} <= {
        path.name for path in (tmp_path / 'report').iterdir()}


def test_a_checkpoint_of_another_model_is_refused(trained, cfg, tmp_path):
    state = torch.load(trained[0] / 'epoch_2.pth', weights_only=False)
    state['state_dict'] = {key: value for key, value in state['state_dict'].items() if key.startswith('backbone.')}
    torch.save(state, tmp_path / 'backbone.pth')
    with pytest.raises(UserError, match='does not fit this RetinaNet: .* missing \\(neck'):
        run.test(cfg, str(tmp_path / 'backbone.pth'))


@pytest.mark.parametrize('own', [True, False])
def test_augmentation_is_the_configs_or_flips(shapes, own):
    cfg = run.load_config(DEMO, options(shapes, 'work'))
    if own:
        cfg.tta_model = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.7), max_per_img=9))
        cfg.tta_pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[])]
    inner, before = cfg.model, cfg.test_dataloader.dataset.pipeline
    run._augment(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module == inner
    assert cfg.model.tta_cfg.max_per_img == (9 if own else 100)
    pipeline = cfg.test_dataloader.dataset.pipeline
    assert pipeline[-1].type == 'TestTimeAug'
    if not own:
        assert pipeline[:-1] == [step for step in before[:-1] if step.type != 'LoadAnnotations']
        flips, _, (pack, ) = pipeline[-1].transforms
        assert [flip.prob for flip in flips] == [1., 0.] and 'flip' in pack.meta_keys
        # The ground truth is drawn and compared in the original image's coordinates.
        results = DATASETS.build(cfg.test_dataloader.dataset)[0]
        truth = json.load(open(cfg.test_evaluator.ann_file))['annotations']
        x, y, width, height = next(ann['bbox'] for ann in truth if ann['image_id'] == results['data_samples'][0].img_id)
        for sample in results['data_samples']:
            assert sample.gt_instances.bboxes.tensor[0].tolist() == pytest.approx([x, y, x + width, y + height])


def test_data_are_checked_in_each_job_of_its_own(shapes, tmp_path, monkeypatch):
    """Under Slurm, tasks that are no processes of one training have ranks too."""
    monkeypatch.setenv('SLURM_PROCID', '3')
    cfg = run.load_config(DEMO, {**options(shapes, tmp_path), 'train_dataloader.dataset.ann_file': 'none.json'})
    with pytest.raises(UserError, match='no annotation file'):
        run.train(cfg)


def test_table_of_masks_and_of_nothing():
    metrics = {f'coco/{kind}_{key}': value for kind in ('bbox', 'segm') for key, value in
               dict(mAP=0.5, mAP_50=0.75, mAP_75=0.25, mAP_s=0.125, mAP_m=0.5, mAP_l=-1.).items()}
    rows = coco_table(metrics).splitlines()
    assert [row.split()[0] for row in rows] == ['AP', 'bbox', 'segm']
    assert rows[1].split()[1:] == ['0.500', '0.750', '0.250', '0.125', '0.500', '-']
    assert coco_table({'accuracy/top1': 1.}) == ''


# Other clients, with nothing of ours but the package, the config and the checkpoint.


def test_mmdets_inferencer_and_detector_api_agree(trained, shapes):
    config, checkpoint = str(trained[0] / Path(DEMO).name), str(trained[0] / 'epoch_2.pth')
    image = str(shapes / 'val' / '000000.jpg')
    inferencer = DetInferencer(config, checkpoint, device='cpu', show_progress=False)
    (found, ) = inferencer(image)['predictions']
    model = init_detector(config, checkpoint, device='cpu')
    sample = inference_detector(model, image)
    assert model.dataset_meta['classes'] == ('circle', 'square', 'triangle', 'star')
    np.testing.assert_allclose(found['scores'], sample.pred_instances.scores.numpy(), rtol=1e-5)
    assert len(found['scores']) > 0


def test_mmdets_own_train_tool_runs_the_demo_config(shapes, tmp_path):
    script = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
    changes = {**options(shapes, tmp_path), 'train_cfg.max_epochs': 1}
    env = {**os.environ, 'PYTHONPATH': ''}
    status, out, err = tool(script, DEMO, '--work-dir', tmp_path, *as_options(changes), env=env)
    assert status == 0, err
    assert 'coco/bbox_mAP: ' in out + err and (tmp_path / 'epoch_1.pth').is_file()


@pytest.mark.parametrize('script, args, expected', [
    ('dist_train.sh', ['c.py', '4', '--amp'],
     'torchrun --nnodes 2 --node_rank 1 --nproc_per_node 4 --master_addr 10.0.0.1 --master_port 29500 '
     'tools/train.py c.py --launcher pytorch --amp'),
    ('dist_test.sh', ['c.py', 'x.pth', '4', '--out', 'a b.json'],
     'torchrun --nnodes 2 --node_rank 1 --nproc_per_node 4 --master_addr 10.0.0.1 --master_port 29500 '
     'tools/test.py c.py x.pth --launcher pytorch --out a b.json'),
    ('slurm_train.sh', ['part', 'job', 'c.py', 'work', '--amp'],
     'srun --partition part --job-name job --gres gpu:8 --ntasks 16 --ntasks-per-node 8 --cpus-per-task 5 '
     '--kill-on-bad-exit=1 --exclusive -t 1 python -u tools/train.py c.py --work-dir work --launcher slurm --amp'),
])
def test_launchers_start_the_tools(tmp_path, script, args, expected):
    """With a torchrun and an srun that only print what they are called with."""
    for name in ('torchrun', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'NNODES': '2', 'NODE_RANK': '1',
           'MASTER_ADDR': '10.0.0.1', 'GPUS': '16', 'SRUN_ARGS': '--exclusive -t 1'}
    done = subprocess.run(['bash', f'tools/{script}', *args], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == expected
    assert subprocess.run(['bash', f'tools/{script}', 'c.py'], cwd=ROOT, capture_output=True).returncode == 2


def test_an_option_without_a_value_is_a_usage_error():
    status, _, err = tool('tools/train.py', DEMO, '--cfg-options', 'train_dataloader.batch_size')
    assert status == 2 and 'Traceback' not in err
    assert 'KEY=VALUE' in err and "'train_dataloader.batch_size'" in err
