import copy
import json
import os
import pickle
import re
import shutil
from types import SimpleNamespace

import cv2
import pytest
import torch
from mmdet.evaluation import DumpDetResults
from mmdet.registry import DATASETS, MODELS
from mmengine.visualization import Visualizer
from PIL import Image

from econvnext_mmdet.engine import testing
from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.evaluation.coco_eval import evaluate_files
from econvnext_mmdet.evaluation.coco_stats import COCO_STATS
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, options, tool


@pytest.fixture
def cfg(shapes, tmp_path):
    """The demo config, reduced so that training takes a few seconds."""
    return load_config(DEMO, options(shapes, tmp_path / 'work'))


def test_testing_writes_json_pickle_and_pictures(trained, shapes, cfg, tmp_path):
    """Both formats hold equally many detections, and pycocotools computes the same metrics from the JSON file."""
    checkpoint = str(trained[0] / 'epoch_2.pth')
    json_file, pkl_file = tmp_path / 'results.json', tmp_path / 'results.pkl'
    metrics = run_test(cfg, checkpoint, out=str(json_file), show_dir=str(tmp_path / 'pictures'))
    entries = json.loads(json_file.read_text())
    cfg = load_config(DEMO, options(shapes, tmp_path / 'work'))
    run_test(cfg, checkpoint, out=str(pkl_file))
    samples = pickle.loads(pkl_file.read_bytes())
    assert len(entries) == sum(len(sample['pred_instances']['scores']) for sample in samples) > 0
    assert set(entries[0]) == {'image_id', 'category_id', 'bbox', 'score'}

    result = evaluate_files(str(shapes / 'annotations' / 'val.json'), str(json_file), engine='pycocotools')['bbox']
    assert {f'coco/bbox_{COCO_STATS[name].mmdet_name}': value for name, value in result.stats.items()} == metrics

    pictures = sorted((tmp_path / 'pictures').glob('*.jpg'))
    assert len(pictures) == 6
    assert cv2.imread(str(pictures[0])).shape == (64, 128, 3)  # ground truth and detections, side by side


def test_the_file_and_the_folder_of_the_results_have_different_names(trained, cfg, tmp_path):
    out = str(tmp_path / 'out.json')
    with pytest.raises(UserError, match='--out .*out.json is a file and --show-dir a folder; give them'):
        run_test(cfg, str(trained[0] / 'epoch_2.pth'), out=out, show_dir=f'{tmp_path}/./out.json')


@pytest.mark.parametrize('in_config', [True, False], ids=['visualizer', 'no-visualizer'])
def test_each_run_of_a_process_has_its_own_visualizer(in_config, trained, shapes, cfg, tmp_path):
    """MMEngine shares visualizers by name, and its hooks take the one that was created last."""
    Visualizer.get_instance('visualizer')
    Visualizer.get_instance(f'of an earlier run {tmp_path}')
    if not in_config:
        cfg.pop('visualizer')
    run_test(cfg, str(trained[0] / 'epoch_2.pth'), show_dir=str(tmp_path / 'pictures'))
    assert len(list((tmp_path / 'pictures').glob('*.jpg'))) == 6


def test_runs_that_start_within_a_second_have_logs_of_their_own(trained, shapes, tmp_path, monkeypatch):
    monkeypatch.setattr('time.strftime', lambda *_: '20260101_000000')
    for name in ('first', 'second'):
        run_test(load_config(DEMO, options(shapes, tmp_path / name)), str(trained[0] / 'epoch_2.pth'))
        assert 'coco/bbox_mAP' in (tmp_path / name / '20260101_000000' / '20260101_000000.log').read_text()


@pytest.mark.parametrize('joined', [False, True], ids=['one-file', 'two-files'])
def test_pictures_of_images_with_one_name_in_several_folders_do_not_overwrite_each_other(
    joined, trained, shapes, cfg, tmp_path
):
    shutil.copytree(shapes, tmp_path / 'data')
    file = tmp_path / 'data' / 'annotations' / 'val.json'
    coco = json.loads(file.read_text())
    names = [f'seq{i % 2}/{i // 2}.jpg' for i in range(len(coco['images']))]
    for image, name in zip(coco['images'], names):
        (tmp_path / 'data' / 'val' / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'data' / 'val' / image['file_name']).rename(tmp_path / 'data' / 'val' / name)
        image['file_name'] = name
    file.write_text(json.dumps(coco))
    dataset = cfg.test_dataloader.dataset
    dataset.data_root, cfg.test_evaluator.ann_file = f'{tmp_path}/data/', str(file)
    expected = names
    if joined:
        other = copy.deepcopy(dataset)
        other.data_root = f'{shapes}/'
        cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[dataset, other])
        common = os.path.commonpath([shapes, tmp_path])
        expected = [os.path.relpath(tmp_path / 'data' / 'val' / name, common) for name in names]
        expected += [os.path.relpath(path, common) for path in (shapes / 'val').glob('*.jpg')]
    run_test(cfg, str(trained[0] / 'epoch_2.pth'), show_dir=str(tmp_path / 'pictures'))
    found = [str(path.relative_to(tmp_path / 'pictures')) for path in (tmp_path / 'pictures').rglob('*.jpg')]
    assert sorted(found) == sorted(expected)


def test_pictures_are_turned_as_the_detector_saw_them(trained, shapes, cfg, tmp_path):
    """An image with EXIF's orientation that is loaded as it is stored, and named by a path outside of the folder."""
    shutil.copytree(shapes, tmp_path / 'data')
    file = tmp_path / 'data' / 'annotations' / 'val.json'
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    (tmp_path / 'other').mkdir()
    Image.open(shapes / 'val' / '000000.jpg').resize((64, 32)).save(tmp_path / 'other' / '000000.jpg', exif=exif)
    coco = json.loads(file.read_text())
    coco['images'][1].update(file_name=str(tmp_path / 'other' / '000000.jpg'), width=64, height=32)
    file.write_text(json.dumps(coco))
    dataset = cfg.test_dataloader.dataset
    dataset.data_root, cfg.test_evaluator.ann_file = f'{tmp_path}/data/', str(file)
    dataset.pipeline[0].color_type = 'color_ignore_orientation'
    run_test(cfg, str(trained[0] / 'epoch_2.pth'), show_dir=str(tmp_path / 'pictures'))
    drawn = Image.open(tmp_path / 'pictures' / 'other' / '000000.jpg')
    assert drawn.size == (128, 32)  # the ground truth beside the detections
    assert len([*(tmp_path / 'pictures').rglob('*.jpg')]) == 6


def test_masks_of_a_detector_of_boxes_are_an_error_before_inference(trained, cfg):
    cfg.test_evaluator.metric = ['bbox', 'segm']
    says = 'test_evaluator evaluates masks .*, and the RetinaNet of the config predicts boxes only'
    with pytest.raises(UserError, match=says):
        run_test(cfg, str(trained[0] / 'epoch_2.pth'))


def test_results_of_a_model_for_some_of_the_classes_can_be_evaluated_again(shapes, tmp_path):
    """The command that the log suggests gives the same numbers as testing."""
    changes = options(shapes, tmp_path)
    for split in ('train', 'val', 'test'):
        changes[f'{split}_dataloader.dataset.metainfo.classes'] = ('circle', 'star')
    changes['model.bbox_head.num_classes'] = 2
    cfg = load_config(DEMO, changes)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'two.pth')
    metrics = run_test(cfg, str(tmp_path / 'two.pth'), out=str(tmp_path / 'out.json'))
    log = next((tmp_path).glob('*/*.log')).read_text()
    assert f'to evaluate {tmp_path}/out.json, run tools/eval_coco.py with --classes circle star' in log
    status, _, err = tool(
        'tools/eval_coco.py',
        shapes / 'annotations' / 'val.json',
        tmp_path / 'out.json',
        '--classes',
        'circle',
        'star',
        '--json',
        tmp_path / 'numbers.json',
    )
    assert status == 0, err
    numbers = json.loads((tmp_path / 'numbers.json').read_text())['bbox']
    assert {f'coco/bbox_{COCO_STATS[name].mmdet_name}': numbers[name] for name in COCO_STATS} == metrics


def test_the_metrics_are_0_without_detections(trained, cfg, capsys):
    cfg.model.test_cfg.score_thr = 1.0
    metrics = run_test(cfg, str(trained[0] / 'epoch_2.pth'))
    assert metrics['coco/bbox_mAP'] == metrics['coco/bbox_AR@100'] == 0
    assert re.search(r'bbox +0.000 +0.000', capsys.readouterr().out)


def test_a_checkpoint_that_lacks_the_neck_and_the_head_is_refused(trained, cfg, tmp_path):
    state = torch.load(trained[0] / 'epoch_2.pth', weights_only=False)
    state['state_dict'] = {key: value for key, value in state['state_dict'].items() if key.startswith('backbone.')}
    torch.save(state, tmp_path / 'backbone.pth')
    with pytest.raises(UserError, match='does not fit this RetinaNet .* missing from the file \\(neck'):
        run_test(cfg, str(tmp_path / 'backbone.pth'))


@pytest.mark.parametrize('own', [True, False])
def test_test_time_augmentation_is_that_of_the_config_or_else_a_flip(shapes, own):
    cfg = load_config(DEMO, options(shapes, 'work'))
    if own:
        cfg.tta_model = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.7), max_per_img=9))
        cfg.tta_pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[])]
    inner, before = cfg.model, cfg.test_dataloader.dataset.pipeline
    testing._augment(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module == inner
    assert cfg.model.tta_cfg.max_per_img == (9 if own else 100)
    pipeline = cfg.test_dataloader.dataset.pipeline
    assert pipeline[-1].type == 'TestTimeAug'
    if not own:
        assert pipeline[:-1] == [step for step in before[:-1] if step.type != 'LoadAnnotations']
        flips, _, (pack,) = pipeline[-1].transforms
        assert [flip.prob for flip in flips] == [1.0, 0.0] and 'flip' in pack.meta_keys
        # The ground truth stays in the coordinates of the original image.
        results = DATASETS.build(cfg.test_dataloader.dataset)[0]
        truth = json.load(open(cfg.test_evaluator.ann_file))['annotations']
        x, y, width, height = next(ann['bbox'] for ann in truth if ann['image_id'] == results['data_samples'][0].img_id)
        for sample in results['data_samples']:
            assert sample.gt_instances.bboxes.tensor[0].tolist() == pytest.approx([x, y, x + width, y + height])


def test_a_pickle_needs_no_coco_dataset(tmp_path):
    """Only results in COCO's format need classes and category ids."""
    dataset = SimpleNamespace(metainfo={})
    assert type(testing._dump(str(tmp_path / 'out.pkl'), dataset, metrics=[])) is DumpDetResults
    with pytest.raises(UserError, match="a SimpleNamespace without COCO's category ids; write a .pkl file instead"):
        testing._dump(str(tmp_path / 'out.json'), dataset, metrics=[])


def test_an_output_that_cannot_be_written_is_an_error_before_the_evaluation(cfg, trained, tmp_path):
    (tmp_path / 'folder.json').mkdir()
    with pytest.raises(UserError, match='the file extension .pkl or .pickle or .json for --out; got .*results.txt'):
        run_test(cfg, str(trained[0] / 'epoch_2.pth'), out=str(tmp_path / 'results.txt'))
    with pytest.raises(IsADirectoryError):
        run_test(cfg, str(trained[0] / 'epoch_2.pth'), out=str(tmp_path / 'folder.json'))
    (tmp_path / 'file').touch()
    with pytest.raises(FileExistsError):  # before the evaluation, so that its results are not lost
        run_test(cfg, str(trained[0] / 'epoch_2.pth'), out=str(tmp_path / 'file' / 'results.json'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'folder.json']
