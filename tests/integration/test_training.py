"""Training from end to end, with the tools and with MMDetection's own functions and train tool."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector

from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.evaluation.coco_stats import COCO_STATS
from econvnext_mmdet.reports.trainings import compare_trainings
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, ROOT, as_options, options, tool


@pytest.fixture
def cfg(shapes, tmp_path):
    """The demo config, reduced so that training takes a few seconds."""
    return load_config(DEMO, options(shapes, tmp_path / 'work'))


def test_training_ends_with_the_table_and_the_checkpoint(trained):
    work_dir, text = trained
    assert 'eta: ' in text
    header, row = re.search(r'COCO evaluation\n(.+)\n(.+)', text).groups()
    assert header.split() == ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl']
    assert row.split()[0] == 'bbox' and len(row.split()) == 7
    assert re.search(r'checkpoint: (.+)', text)[1] == str(work_dir / 'epoch_2.pth')
    assert (work_dir / 'epoch_2.pth').is_file()


def test_the_same_seed_gives_the_same_weights(trained, shapes, tmp_path):
    """Every weight is exactly equal."""
    train(load_config(DEMO, options(shapes, tmp_path)))
    first, second = (
        torch.load(folder / 'epoch_2.pth', weights_only=False)['state_dict'] for folder in (trained[0], tmp_path)
    )
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_resume_continues_where_training_stopped(trained, shapes, tmp_path):
    changes = options(shapes, tmp_path)
    train(load_config(DEMO, {**changes, 'train_cfg.max_epochs': 1}))
    (tmp_path / 'epoch_1.pth').rename(tmp_path / 'mine.pth')
    cfg = load_config(DEMO, changes)
    train(cfg, resume=str(tmp_path / 'mine.pth'))
    resumed = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    assert resumed['meta']['iter'] == torch.load(trained[0] / 'epoch_2.pth', weights_only=False)['meta']['iter'] == 6
    assert not (tmp_path / 'epoch_1.pth').exists()  # the first epoch was not trained again


def test_pretrained_gives_the_backbone_exactly_the_weights_of_the_file(trained, shapes, tmp_path):
    path = str(trained[0] / 'epoch_2.pth')
    changes = {**options(shapes, tmp_path), 'optim_wrapper.optimizer.lr': 0.0, 'train_cfg.max_epochs': 1}
    # With a learning rate of 0 and frozen statistics, training changes nothing.
    changes['model.backbone.norm_eval'] = True
    train(load_config(DEMO, changes), pretrained=path)
    started = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    for key, value in torch.load(path, weights_only=False)['state_dict'].items():
        if key.startswith('backbone.'):
            assert torch.equal(value, started[key]), key


def test_a_pretrained_file_that_does_not_fit_stops_training(trained, shapes, tmp_path):
    changes = {
        **options(shapes, tmp_path),
        'model.backbone.widen_factor': 0.5,
        'model.neck.in_channels': [96, 192, 384],
    }
    with pytest.raises(UserError, match=r'fit this EConvNeXt \(212 tensors\): 212 with a different shape or type'):
        train(load_config(DEMO, changes), pretrained=str(trained[0] / 'epoch_2.pth'))
    assert not list(tmp_path.glob('*.pth'))


def test_auto_scale_lr_scales_the_learning_rate_to_the_batch_size(shapes, tmp_path):
    changes = {**options(shapes, tmp_path), 'train_cfg.max_epochs': 1, 'auto_scale_lr.base_batch_size': 8}
    cfg = load_config(DEMO, changes)
    train(cfg, auto_scale_lr=True)  # batches of 4, and the learning rate is meant for 8
    group = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['optimizer']['param_groups'][0]
    assert group['initial_lr'] == pytest.approx(cfg.optim_wrapper.optimizer.lr / 2)
    cfg.auto_scale_lr = {}
    with pytest.raises(UserError, match='base_batch_size'):
        train(cfg, auto_scale_lr=True)


@pytest.mark.parametrize('workers', [0, 1])
def test_an_unreadable_image_is_named(cfg, shapes, tmp_path, workers):
    import shutil

    root = tmp_path / 'shapes'
    shutil.copytree(shapes, root)
    (root / 'train' / '000004.jpg').write_bytes(b'no image')
    cfg.train_dataloader.num_workers = workers
    cfg.train_dataloader.dataset.data_root = f'{root}/'
    with pytest.raises(UserError, match=f'^{root}/train/000004.jpg is not a readable image'):
        train(cfg)


@pytest.mark.runs
@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_training_with_its_own_status(number, status, shapes, tmp_path):
    changes = {
        **options(shapes, tmp_path),
        'train_cfg.max_epochs': 1000,
        'train_dataloader.num_workers': 2,
        'train_dataloader.persistent_workers': True,
    }
    # A job that a shell script starts with & ignores SIGINT, and a child process would inherit that.
    process = subprocess.Popen(
        [sys.executable, 'tools/train.py', DEMO, *as_options(changes)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: [signal.signal(one, signal.SIG_DFL) for one in (signal.SIGINT, signal.SIGHUP)],
    )
    for line in process.stdout:
        if 'Epoch(train)' in line:
            process.send_signal(number)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == status and 'Traceback' not in err
    assert err.rstrip().endswith('--resume continues from the latest checkpoint, if one was written')
    with pytest.raises(ProcessLookupError):  # the workers are gone, too
        os.killpg(process.pid, 0)


def test_masks_are_trained_written_and_evaluated(shapes, tmp_path):
    """Mask R-CNN trains, its results have masks, and tools/eval_coco.py gives the same numbers as testing."""
    changes = options(shapes, tmp_path)
    del changes['model.test_cfg.score_thr']
    changes.update(
        {
            'model.neck.in_channels': [24, 48, 96, 192],
            'model.test_cfg.rcnn.score_thr': 0.0,
            'model.test_cfg.rcnn.max_per_img': 20,
        }
    )
    config = str(ROOT / 'configs' / 'demo' / 'mask_rcnn_e_convnext_mini_shapes.py')
    train(load_config(config, changes))
    checkpoint, results = str(tmp_path / 'epoch_2.pth'), tmp_path / 'results.json'
    metrics = run_test(load_config(config, changes), checkpoint, out=str(results))
    assert {
        set(entry) == {'image_id', 'category_id', 'bbox', 'score', 'segmentation'}
        for entry in json.loads(results.read_text())
    } == {True}
    truth = shapes / 'annotations' / 'val.json'
    status, out, err = tool('tools/eval_coco.py', truth, results, '--json', tmp_path / 'numbers.json')
    assert status == 0, err
    numbers = json.loads((tmp_path / 'numbers.json').read_text())
    for iou_type in ('bbox', 'segm'):
        for name, stat in COCO_STATS.items():
            assert numbers[iou_type][name] == metrics[f'coco/{iou_type}_{stat.mmdet_name}']
    header, ap = out.splitlines()[:2]
    assert header.split() == ['bbox', 'segm']
    assert ap.split()[-2:] == [f'{numbers[iou_type]["AP"]:.3f}' for iou_type in ('bbox', 'segm')]
    assert [entry['name'] for entry in numbers['segm']['classes']] == ['circle', 'square', 'triangle', 'star']
    with pytest.raises(UserError, match='--tta merges boxes and drops masks'):
        run_test(load_config(config, changes), checkpoint, tta=True)


def test_the_table_of_training_runs_has_the_metrics_of_testing(trained, cfg, tmp_path):
    (tmp_path / 'model-index.yml').write_text('Import: []')
    (row,), left_out = compare_trainings([str(trained[0])], str(tmp_path / 'model-index.yml'))
    assert not left_out
    metrics = run_test(cfg, str(trained[0] / 'epoch_2.pth'))
    assert (row['config'], row['start'], row['seeds'], row['epochs']) == (Path(DEMO).stem, '', [0], 2)
    assert row['AP']['values'] == [metrics['coco/bbox_mAP']] and row['AP50']['values'] == [metrics['coco/bbox_mAP_50']]


def test_the_order_of_the_classes_changes_neither_the_metrics_nor_a_resumed_run(trained, shapes, tmp_path):
    """The same data with other category ids, in another order, and a config that names the classes in this order."""
    checkpoint = str(trained[0] / 'epoch_2.pth')
    expected = run_test(load_config(DEMO, options(shapes, tmp_path / 'a')), checkpoint)
    assert expected['coco/bbox_AR@100'] > 0
    other = tmp_path / 'shapes'
    shutil.copytree(shapes, other)
    for split in ('train', 'val'):
        path = other / 'annotations' / f'{split}.json'
        coco = json.loads(path.read_text())
        coco['categories'] = [dict(item, id=-item['id']) for item in coco['categories'][::-1]]
        for item in coco['annotations']:
            item['category_id'] *= -1
        path.write_text(json.dumps(coco))
    cfg = load_config(DEMO, options(other, tmp_path / 'b'))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=('star', 'triangle', 'square', 'circle'))
    assert run_test(cfg.copy(), checkpoint) == expected

    cfg.resume, cfg.load_from, cfg.train_cfg.max_epochs = True, checkpoint, 3
    train(cfg)
    meta = torch.load(tmp_path / 'b' / 'epoch_3.pth', weights_only=False)['meta']
    assert meta['dataset_meta']['classes'] == ('circle', 'square', 'triangle', 'star')


@pytest.fixture
def two_sets(shapes, tmp_path):
    """The demo config with two validation sets: the images are numbered from 1 in both files."""
    data = tmp_path / 'shapes'
    shutil.copytree(shapes, data)
    coco = json.loads((data / 'annotations' / 'val.json').read_text())
    number = len(coco['images']) // 2
    for name, images in (('day', coco['images'][:number]), ('night', coco['images'][number:])):
        ids = {image['id']: i for i, image in enumerate(images, 1)}
        part = dict(
            categories=coco['categories'],
            images=[dict(image, id=ids[image['id']]) for image in images],
            annotations=[
                dict(item, image_id=ids[item['image_id']]) for item in coco['annotations'] if item['image_id'] in ids
            ],
        )
        (data / 'annotations' / f'{name}.json').write_text(json.dumps(part))

    def config(*names, multi=False):
        cfg = load_config(DEMO, options(data, tmp_path / '-'.join(('work', *names))))
        cfg.test_dataloader.batch_size = 1  # in other batches, images are padded to other sizes
        dataset = cfg.test_dataloader.dataset
        parts = [dict(dataset, ann_file=f'annotations/{name}.json') for name in names]
        cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=parts) if len(parts) > 1 else parts[0]
        metrics = [
            dict(cfg.test_evaluator, ann_file=f'{data}/annotations/{name}.json', prefix=None if multi else name)
            for name in names
        ]
        cfg.test_evaluator = metrics
        if multi:
            cfg.test_evaluator = dict(type='MultiDatasetsEvaluator', metrics=metrics, dataset_prefixes=list(names))
        return cfg

    return config


@pytest.mark.runs
def test_each_evaluator_judges_its_own_validation_set(trained, two_sets, caplog):
    checkpoint = str(trained[0] / 'epoch_2.pth')
    expected = {**run_test(two_sets('day'), checkpoint), **run_test(two_sets('night'), checkpoint)}
    assert run_test(two_sets('day', 'night'), checkpoint) == expected
    assert run_test(two_sets('night', 'day'), checkpoint) == expected
    found = run_test(two_sets('day', 'night', multi=True), checkpoint)
    assert {key.replace('/coco/', '/'): value for key, value in found.items()} == expected
    cfg = two_sets('day', 'night')
    cfg.test_evaluator[1].type = 'CocoMetric'
    with pytest.raises(UserError, match='joins 2 annotation files, and CocoMetric of test_evaluator would mix'):
        run_test(cfg, checkpoint)


def test_resuming_with_other_classes_is_an_error(trained, cfg):
    cfg.resume, cfg.load_from = True, str(trained[0] / 'epoch_2.pth')
    cfg.train_dataloader.dataset.metainfo = dict(classes=('circle', 'square', 'triangle', 'hexagon'))
    with pytest.raises(UserError, match="train_dataloader has the class 'hexagon', and the checkpoint has the classes"):
        train(cfg)


def test_mmdets_inferencer_and_detector_api_agree(trained, shapes):
    config, checkpoint = str(trained[0] / Path(DEMO).name), str(trained[0] / 'epoch_2.pth')
    image = str(shapes / 'val' / '000000.jpg')
    inferencer = DetInferencer(config, checkpoint, device='cpu', show_progress=False)
    (found,) = inferencer(image)['predictions']
    model = init_detector(config, checkpoint, device='cpu')
    sample = inference_detector(model, image)
    assert model.dataset_meta['classes'] == ('circle', 'square', 'triangle', 'star')
    np.testing.assert_allclose(found['scores'], sample.pred_instances.scores.numpy(), rtol=1e-5)
    assert len(found['scores']) > 0


@pytest.mark.runs
def test_mmdets_own_train_tool_runs_the_demo_config(shapes, tmp_path):
    script = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
    changes = {**options(shapes, tmp_path), 'train_cfg.max_epochs': 1}
    env = {**os.environ, 'PYTHONPATH': ''}
    status, out, err = tool(script, DEMO, '--work-dir', tmp_path, *as_options(changes), env=env)
    assert status == 0, err
    assert 'coco/bbox_mAP: ' in out + err and (tmp_path / 'epoch_1.pth').is_file()
