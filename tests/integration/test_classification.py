"""The classifier from end to end: a training run of a few seconds, testing, and MMPretrain's own functions."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer, get_model

from econvnext_mmdet.datasets.checks import check_datasets
from econvnext_mmdet.datasets.shapes import COMBINATIONS, make_classification
from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.model import build_model
from econvnext_mmdet.weights.checkpoint import read_checkpoint

from ..helpers import DEMO, ROOT, as_options, assert_equal, options, page_block, tool, train_with_tool

CLASSIFIER = str(ROOT / 'configs' / 'demo' / 'e-convnext-mini_10e_shapes.py')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """A folder with 32 training and 16 validation images of one shape each, 64 x 64."""
    path = tmp_path_factory.mktemp('data') / 'shapes_classification'
    make_classification(str(path), num_train=32, num_val=16, size=(64, 64), seed=1)
    return path


def reduced(folders, work_dir, **others):
    """Options that make the classifier train for a few seconds: a narrow backbone, two epochs of four steps."""
    changes = {
        'work_dir': str(work_dir),
        'train_cfg.max_epochs': 2,
        'train_cfg.val_interval': 1,
        'model.backbone.widen_factor': 0.25,
        'model.backbone.deepen_factor': 0.34,
        'model.head.in_channels': 192,
        # With momentum 1.0, the running statistics are those of the last batch. With the default, they would still be
        # far from those of any batch after a few steps, and all images would get nearly the same scores.
        'model.backbone.norm_cfg.type': 'BN',
        'model.backbone.norm_cfg.momentum': 1.0,
        'train_dataloader.batch_size': 8,
        'default_hooks.logger.interval': 1,
        **others,
    }
    for split in ('train', 'val', 'test'):
        changes[f'{split}_dataloader.num_workers'] = 0
        changes[f'{split}_dataloader.persistent_workers'] = False
        changes[f'{split}_dataloader.dataset.data_root'] = f'{folders}/'
    return changes


@pytest.fixture(scope='module')
def trained(folders, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('work')
    return train_with_tool(CLASSIFIER, work_dir, reduced(folders, work_dir))


@pytest.fixture(scope='module')
def tested(trained, folders, tmp_path_factory):
    """The folder that tools/test.py wrote, and its output."""
    folder = tmp_path_factory.mktemp('tested')
    status, out, err = tool(
        'tools/test.py',
        CLASSIFIER,
        trained[0] / 'epoch_2.pth',
        '--out',
        folder / 'out.pkl',
        '--show-dir',
        folder / 'pictures',
        *as_options(reduced(folders, folder)),
    )
    assert status == 0, err
    return folder, out + err


def accuracy(text):
    return float(re.findall(r'accuracy/top1: ([\d.]+)', text)[-1])


def predictions(path):
    """Predicted scores from a file of tools/test.py, and the ground truth from the names of the folders."""
    samples = pickle.loads(path.read_bytes())
    truth = [sorted(COMBINATIONS).index(sample['img_path'].split('/')[-2]) for sample in samples]
    return torch.stack([sample['pred_score'] for sample in samples]), torch.tensor(truth), samples


def test_training_ends_with_the_last_and_the_best_checkpoint(trained):
    work_dir, text = trained
    assert (work_dir / 'last_checkpoint').read_text().endswith('epoch_2.pth')
    assert len(list(work_dir.glob('best_accuracy_top1_epoch_*.pth'))) == 1
    assert 'training is done\ncheckpoint: ' in text
    meta = read_checkpoint(str(work_dir / 'epoch_2.pth')).meta
    assert meta['dataset_meta']['classes'] == tuple(sorted(COMBINATIONS))


def test_testing_gives_the_same_accuracy_and_writes_predictions(trained, tested):
    scores, truth, _ = predictions(tested[0] / 'out.pkl')
    assert len(scores.unique(dim=0)) == 16  # all images have different scores
    assert scores.shape == (16, 16) and torch.allclose(scores.sum(dim=1), torch.ones(16))
    found = 100 * (scores.argmax(dim=1) == truth).float().mean().item()
    assert accuracy(tested[1]) == accuracy(trained[1]) == pytest.approx(found, abs=1e-4)


def test_pictures_have_the_colours_of_the_images(tested, folders):
    pictures = sorted((tested[0] / 'pictures').iterdir())
    assert len(pictures) == 16
    for picture in pictures:
        folder, name = picture.name.split('_')[:2]  # for example star-dotted_000015.jpg_0.png
        original = folders / 'val' / folder / name
        drawn, image = (cv2.imread(str(path)) for path in (picture, original))
        lower = slice(drawn.shape[0] // 3, None), slice(None)  # below the text
        there = cv2.resize(image, drawn.shape[1::-1])[lower].reshape(-1, 3).mean(axis=0)
        assert np.abs(drawn[lower].reshape(-1, 3).mean(axis=0) - there).max() < 3


@pytest.mark.parametrize('collate', ['pseudo_collate', 'default_collate'])
def test_time_augmentation_averages_the_scores_of_an_image_and_its_mirror_image(trained, folders, tmp_path, collate):
    pictures, scores = {}, {}
    for name in ('plain', 'flipped', 'tta'):
        cfg = load_config(CLASSIFIER, reduced(folders, tmp_path / 'work'))
        cfg.test_dataloader.collate_fn = dict(type=collate)
        if name == 'flipped':
            cfg.test_dataloader.dataset.pipeline.insert(-1, dict(type='RandomFlip', prob=1.0))
        run_test(
            cfg,
            str(trained[0] / 'epoch_2.pth'),
            out=str(tmp_path / f'{name}.pkl'),
            tta=name == 'tta',
            show_dir=str(tmp_path / name),
        )
        scores[name] = predictions(tmp_path / f'{name}.pkl')[0]
        pictures[name] = np.stack([cv2.imread(str(path))[200:] for path in sorted((tmp_path / name).iterdir())])
    assert not torch.allclose(scores['plain'], scores['flipped'], atol=1e-3)
    assert torch.allclose(scores['tta'], (scores['plain'] + scores['flipped']) / 2, atol=1e-6)
    assert np.array_equal(pictures['tta'], pictures['plain']) and not np.array_equal(*list(pictures.values())[:2])


def test_a_classifier_has_no_coco_results(trained, folders, tmp_path):
    with pytest.raises(
        UserError, match="the test set is a CustomDataset without COCO's category ids; write a .pkl file"
    ):
        run_test(
            load_config(CLASSIFIER, reduced(folders, tmp_path)),
            str(trained[0] / 'epoch_2.pth'),
            out=str(tmp_path / 'x.json'),
        )


def test_mmpretrains_functions_accept_config_and_checkpoint(trained, tested, folders, tmp_path):
    cfg = load_config(CLASSIFIER, reduced(folders, tmp_path))
    checkpoint = str(trained[0] / 'epoch_2.pth')
    scores, _, samples = predictions(tested[0] / 'out.pkl')
    results = ImageClassificationInferencer(cfg, pretrained=checkpoint)([s['img_path'] for s in samples], batch_size=4)
    assert np.allclose([result['pred_scores'] for result in results], scores.numpy(), atol=1e-6)
    assert [result['pred_class'] for result in results] == [sorted(COMBINATIONS)[i] for i in scores.argmax(dim=1)]
    state = get_model(cfg, pretrained=checkpoint).state_dict()
    expected = read_checkpoint(checkpoint).state
    assert state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in state)


@pytest.mark.parametrize('arch', ['mini', 'tiny', 'small'])
def test_the_inferencer_accepts_the_imagenet_configs(arch):
    """It builds the classifier from a config file, without weights, and uses the preprocessing of the config."""
    config = str(ROOT / 'configs' / 'imagenet' / f'e-convnext-{arch}_16xb64_in1k.py')
    (result,) = ImageClassificationInferencer(config, pretrained=False)(np.zeros((80, 96, 3), np.uint8))
    assert result['pred_scores'].shape == (1000,) and np.isfinite(result['pred_scores']).all()


def test_resume_continues_where_training_stopped(trained, folders, tmp_path):
    train(
        load_config(CLASSIFIER, reduced(folders, tmp_path, **{'train_cfg.max_epochs': 3})),
        resume=str(trained[0] / 'epoch_2.pth'),
    )
    assert read_checkpoint(str(tmp_path / 'epoch_3.pth')).meta['iter'] == 12
    assert not (tmp_path / 'epoch_2.pth').exists()  # the first epochs were not trained again


def test_the_layout_in_memory_changes_no_result(folders, tmp_path):
    weights = []
    for hooks in ([], [dict(type='ChannelsLastHook')]):
        cfg = load_config(CLASSIFIER, reduced(folders, tmp_path / str(len(hooks)), **{'train_cfg.max_epochs': 1}))
        cfg.custom_hooks = hooks
        # With SGD, a rounding error stays one. AdamW would turn it into a step.
        cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
        train(cfg)
        weights.append(read_checkpoint(str(tmp_path / str(len(hooks)) / 'epoch_1.pth')).state)
    plain, last = weights
    assert all(torch.allclose(last[key], value, atol=1e-4) for key, value in plain.items())
    name = 'backbone.stem.0.conv.weight'
    assert plain[name].is_contiguous() and last[name].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.runs
def test_a_resumed_run_equals_the_undisturbed_one(folders, tmp_path):
    """Bit by bit, with the augmentation of ImageNet's recipe, its workers, an EMA and channels side by side."""
    kept = []
    for name in ('undisturbed', 'resumed'):
        folder = tmp_path / name
        if name == 'resumed':
            folder.mkdir()
            shutil.copy(tmp_path / 'undisturbed' / 'epoch_1.pth', folder)
        cfg = load_config(CLASSIFIER, reduced(folders, folder))
        cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1), dict(type='ChannelsLastHook')]
        cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
        train(cfg, resume='auto' if kept else None)
        kept.append(torch.load(folder / 'epoch_2.pth', weights_only=False))
    assert_equal(*({key: found[key] for key in ('state_dict', 'ema_state_dict', 'optimizer')} for found in kept))


def test_the_checkpoint_keeps_the_ema_weights(folders, tmp_path):
    """With the EMA hook of the ImageNet configs, the weights of a checkpoint are the EMA of the trained weights."""
    (hook,) = Config.fromfile(ROOT / 'configs' / 'imagenet' / 'e-convnext-mini_16xb64-ema_in1k.py').custom_hooks
    cfg = load_config(CLASSIFIER, reduced(folders, tmp_path, **{'train_cfg.max_epochs': 1}))
    cfg.custom_hooks = [hook]
    model = build_model(cfg)
    model.init_weights()
    cfg.load_from = str(tmp_path / 'initial.pth')
    torch.save(model.state_dict(), cfg.load_from)
    train(cfg)
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    averaged, trained = checkpoint['state_dict'], checkpoint['ema_state_dict']  # MMEngine swaps the two in the file
    weight = 'backbone.stem.0.conv.weight'
    # The EMA starts from the weights after the first step. With momentum 1e-4, it hardly moves in the other 3 steps.
    initial = model.state_dict()[weight]
    moved = [(state - initial).abs().max() for state in (averaged[weight], trained[f'module.{weight}'])]
    assert moved[1] > 1e-5 and moved[0] < moved[1] / 5
    (log,) = tmp_path.rglob('*.log')
    metrics = run_test(load_config(CLASSIFIER, reduced(folders, tmp_path / 'test')), str(tmp_path / 'epoch_1.pth'))
    assert metrics['accuracy/top1'] == pytest.approx(accuracy(log.read_text()), abs=1e-3)


def test_a_detector_starts_from_the_backbone_of_the_classifier(trained, shapes, tmp_path, capsys):
    """With a learning rate of 0 and frozen statistics, training does not change the loaded backbone."""
    changes = {
        **options(shapes, tmp_path),
        'optim_wrapper.optimizer.lr': 0.0,
        'train_cfg.max_epochs': 1,
        'model.backbone.norm_eval': True,
    }
    classifier = trained[0] / 'epoch_2.pth'
    train(load_config(DEMO, changes), pretrained=str(classifier))
    assert (
        "classifier's checkpoint; output norms that the file lacks keep their initial values: norm1, norm"
        in ''.join(capsys.readouterr())
    )
    state = read_checkpoint(str(tmp_path / 'epoch_1.pth')).state
    loaded = {
        key: value for key, value in read_checkpoint(str(classifier)).state.items() if key.startswith('backbone.')
    }
    assert len(loaded) > 200 and all(torch.equal(state[key], value) for key, value in loaded.items())


def test_training_checks_its_validation_set(tmp_path):
    """MMPretrain's val_cfg is an empty dict, which must not be taken for a config without validation."""
    make_classification(str(tmp_path / 'x'), num_train=16, num_val=16, size=(64, 64), seed=1)
    (tmp_path / 'x/val/star-plain').rename(tmp_path / 'x/val/moon-plain')
    with pytest.raises(UserError, match='val and .*train have different class folders: .* moon-plain, star-plain'):
        train(load_config(CLASSIFIER, reduced(tmp_path / 'x', tmp_path / 'work')))
    assert not (tmp_path / 'work').exists()


def test_testing_compares_the_classes_with_those_of_training(trained, tmp_path):
    make_classification(str(tmp_path / 'x'), num_train=16, num_val=16, size=(64, 64), seed=1)
    (tmp_path / 'x/val/circle-checked').rename(tmp_path / 'x/val/zebra')
    with pytest.raises(
        UserError,
        match='epoch_2.pth was trained on the classes circle-checked, circle-dotted, .*, and '
        'the test set has circle-dotted, circle-plain',
    ):
        run_test(load_config(CLASSIFIER, reduced(tmp_path / 'x', tmp_path / 'work')), str(trained[0] / 'epoch_2.pth'))


@pytest.mark.parametrize(
    'changes, says',
    [
        ({'train_dataloader.batch_size': 33}, 'fewer images than a batch'),
        ({'train_dataloader.batch_size': 31, 'train_dataloader.drop_last': False}, 'a batch of one image'),
        ({'train_cfg.max_epoch': 3}, "a type an argument that it does not have: .*'max_epoch'"),
        (
            {'val_evaluator.topk': [1, 17]},
            r'val_evaluator has topk=17, but the head has 16 classes; set .*topk=\(1, \)',
        ),
    ],
)
def test_settings_that_prevent_training_are_errors(folders, tmp_path, changes, says):
    with pytest.raises(UserError, match=says):
        train(load_config(CLASSIFIER, reduced(folders, tmp_path, **changes)))


def test_the_config_for_your_own_images_on_the_page_is_complete(folders, tmp_path):
    """The test sets 16 classes instead of three."""
    text = page_block('docs/weights.md', 'data/own/')
    text = text.replace("_base_ = '", f"_base_ = '{ROOT}/configs/").replace('data/own/', f'{folders}/')
    (tmp_path / 'own.py').write_text(text.replace('num_classes=3', 'num_classes=16'))
    check_datasets(Config.fromfile(tmp_path / 'own.py'), ['train', 'val', 'test'])
    (tmp_path / 'own.py').write_text(text)
    with pytest.raises(UserError, match=r'train has 16 class folders \(circle-checked, .*\), but the head has 3'):
        check_datasets(Config.fromfile(tmp_path / 'own.py'), ['train'])


def test_testing_with_tta_checks_its_config_too(trained, folders, tmp_path):
    cfg = load_config(CLASSIFIER, reduced(folders, tmp_path, **{'model.head.num_classes': 10}))
    with pytest.raises(UserError, match='but the head has 10 classes'):
        run_test(cfg, str(trained[0] / 'epoch_2.pth'), tta=True)


def test_a_missing_dataset_is_an_error_before_anything_is_written(tmp_path):
    work_dir = tmp_path / 'work'
    cfg = load_config(CLASSIFIER, reduced('nowhere', work_dir))
    imagenet = load_config(
        str(ROOT / 'configs/imagenet/e-convnext-mini_16xb64_in1k.py'),
        {'train_dataloader.dataset.data_root': 'nowhere'},
        str(work_dir),
    )
    torch.save(dict(weight=torch.zeros(1)), tmp_path / 'net.pth')
    for split, function, arguments in (
        ('train', train, (cfg,)),
        ('train', train, (imagenet,)),
        ('val', run_test, (cfg, tmp_path / 'net.pth')),
    ):
        with pytest.raises(UserError, match=f'no image folder nowhere/{split}: .* --classification` makes a small set'):
            function(*arguments)
    assert not work_dir.exists()


TWO = """
import sys
import torch
from torch import distributed
from econvnext_mmdet.engine.runner import build_runner
from econvnext_mmdet.utils.config import load_config
cfg = load_config(sys.argv[1], {changes!r}, launcher='pytorch')
cfg.custom_hooks = {hooks!r}
runner = build_runner(cfg, ['train', 'val'])
runner.train()
torch.save(runner.model.module.state_dict(), f'{folder}/rank_{{distributed.get_rank()}}.pth')
distributed.destroy_process_group()
"""
EMA = dict(type='EMAHook', momentum=0.5, update_buffers=True, priority='ABOVE_NORMAL')


@pytest.mark.runs
@pytest.mark.parametrize('task, hooks', [('classifier', [EMA]), ('detector', [])])
def test_two_processes_end_with_the_same_weights_and_save_what_they_evaluated(task, hooks, folders, shapes, tmp_path):
    """With torchrun on the CPU, both end with the same weights and statistics, and save what they evaluated."""
    changes = reduced(folders, tmp_path / 'work') if task == 'classifier' else options(shapes, tmp_path / 'work')
    config = CLASSIFIER if task == 'classifier' else DEMO
    (tmp_path / 'two.py').write_text(
        TWO.format(changes={**changes, 'train_dataloader.batch_size': 2}, hooks=hooks, folder=tmp_path)
    )
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--nproc_per_node=2',
            '--rdzv_endpoint=localhost:0',
            '--rdzv_backend=c10d',
            tmp_path / 'two.py',
            config,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    text = done.stdout + done.stderr
    steps = (32 if task == 'classifier' else 12) // 2 // 2
    assert f'Epoch(train) [2][{steps}/{steps}]' in re.sub(' +', ' ', text).replace(
        '[ ', '['
    )  # each process has half of the images
    first, second = (torch.load(tmp_path / f'rank_{rank}.pth') for rank in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    saved = torch.load(tmp_path / 'work/epoch_2.pth', weights_only=False)
    trained = (
        {key.replace('module.', '', 1): value for key, value in saved['ema_state_dict'].items()}
        if hooks
        else saved['state_dict']
    )
    assert all(torch.equal(first[key], trained[key]) for key in first)
    # A single process finds the same numbers. The tolerance is for the boxes of a detector after so few steps: their
    # scores are nearly equal, and the batch size decides their order.
    metrics = run_test(
        load_config(config, {**changes, 'work_dir': str(tmp_path / 'test')}), str(tmp_path / 'work/epoch_2.pth')
    )
    (scalars,) = tmp_path.glob('work/*/vis_data/scalars.json')
    evaluated = json.loads(scalars.read_text().splitlines()[-1])
    name = 'accuracy/top1' if task == 'classifier' else 'coco/bbox_mAP'
    assert evaluated[name] == pytest.approx(metrics[name], abs=5e-4)
