"""Detection in a user's files, with small detectors that have random weights."""

import copy
import json
import os
import shutil

import cv2
import mmcv
import numpy as np
import pytest
import torch
from PIL import Image

from econvnext_mmdet.evaluation.coco_eval import evaluate_files
from econvnext_mmdet.inference.detection import DetectionOptions, detect
from econvnext_mmdet.inference.inferencer import StrictInferencer
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT, tool
from .helpers import CLASSES, pictures_in, read_output, write_video


@pytest.fixture
def damaged(shapes, tmp_path):
    """A folder of four images, three of which cannot be read, and what the summary says about these three."""
    folder = tmp_path / 'damaged'
    folder.mkdir()
    whole = (shapes / 'val' / '000000.jpg').read_bytes()
    for name, content in (('empty', b''), ('good', whole), ('text', b'no image'), ('truncated', whole[:200])):
        (folder / f'{name}.jpg').write_bytes(content)
    unreadable = 'the file is damaged, too large or in an unknown format'
    return folder, [
        f'{folder}/{name}.jpg is not a readable image: {reason}'
        for name, reason in (('empty', 'the file is empty'), ('text', unreadable), ('truncated', unreadable))
    ]


def test_unreadable_images_are_skipped(detect_in, damaged, shapes, tmp_path):
    folder, reasons = damaged
    summary, found, _ = detect_in(folder, shapes / 'val', batch_size=2)
    assert summary.skipped == reasons
    assert list(found)[0] == (f'{folder}/good.jpg', None) and len(found) == summary.images == 7
    assert summary.detections == summary.above == sum(map(len, found.values())) == 140
    assert len(pictures_in(tmp_path / 'out')) == 7


def test_the_tool_lists_skipped_files(detectors, damaged, tmp_path):
    detector, (folder, reasons) = detectors['retinanet'], damaged
    status, out, err = tool(
        'tools/infer.py', detector.config, detector.checkpoint, folder, '--out', tmp_path / 'out', '--device', 'cpu'
    )
    assert status == 1, err
    assert err.rstrip().endswith('\n  '.join(['skipped or incomplete: 3', *reasons]))
    assert '1 images, 20 detections, 0 of them above 0.3\n' in out
    assert len(read_output(tmp_path / 'out')[0]) == 1


def test_every_frame_of_a_video_is_processed_and_drawn(detect_in, shapes, tmp_path):
    images = [cv2.resize(cv2.imread(str(path)), (80, 64)) for path in sorted((shapes / 'val').glob('*.jpg'))]
    write_video(tmp_path / 'film.avi', images)
    write_video(tmp_path / 'film.mp4', images[:4], codec='mp4v')
    summary, found, meta = detect_in(tmp_path / 'film.avi', tmp_path / 'film.mp4', batch_size=4)
    assert (summary.images, summary.frames) == (0, 10) and not summary.skipped
    assert list(found) == [(f'{tmp_path}/film.avi', i) for i in range(6)] + [
        (f'{tmp_path}/film.mp4', i) for i in range(4)
    ]
    assert all(len(entries) == 20 for entries in found.values())
    assert (meta['images'][0]['width'], meta['images'][0]['height']) == (80, 64)
    assert pictures_in(tmp_path / 'out') == ['film.avi.mp4', 'film.mp4']
    for name, count in (('film.avi.mp4', 6), ('film.mp4', 4)):
        drawn = mmcv.VideoReader(str(tmp_path / 'out' / 'pictures' / name))
        assert (len(list(drawn)), drawn.resolution, drawn.fps) == (count, (80, 64), 5)


def test_colours_of_a_video_are_kept(detect_in, tmp_path):
    blue = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    write_video(tmp_path / 'blue.avi', [blue] * 2)
    detect_in(tmp_path / 'blue.avi', score_thr=1.0)
    frame = mmcv.VideoReader(str(tmp_path / 'out' / 'pictures' / 'blue.avi.mp4'))[0]
    assert frame[..., 0].min() > 200 and frame[..., 1:].max() < 50


def test_broken_videos_are_reported(detect_in, shapes, tmp_path):
    images = [cv2.imread(str(path)) for path in sorted((shapes / 'val').glob('*.jpg'))]
    write_video(tmp_path / 'whole.avi', images, fps=2)
    content = (tmp_path / 'whole.avi').read_bytes()
    (tmp_path / 'half.avi').write_bytes(content[: len(content) // 2])
    (tmp_path / 'text.mp4').write_bytes(b'no video')
    summary, found, _ = detect_in(*(tmp_path / name for name in ('text.mp4', 'half.avi', 'whole.avi')))
    done = sum(path.endswith('half.avi') for path, _ in found)
    assert 0 < done < 4 and sum(path.endswith('whole.avi') for path, _ in found) == 6
    assert summary.skipped == [
        f'{tmp_path}/text.mp4 is not a readable video: the file is damaged or in an unknown format',
        f'{tmp_path}/half.avi ends early, after {done} of 6 frames; the results include these {done} frames',
    ]
    assert pictures_in(tmp_path / 'out') == ['half.avi.mp4', 'whole.avi.mp4']


def test_classes_can_be_selected_and_pictures_left_out(detect_in, shapes, tmp_path):
    image = shapes / 'val' / '000000.jpg'
    _, everything, _ = detect_in(image)
    shutil.rmtree(tmp_path / 'out' / 'pictures')
    wanted = sorted({entry['category_id'] for entry in everything[str(image), None]})[-1]
    summary, found, meta = detect_in(image, classes=[CLASSES[wanted - 1]], pictures=False)
    assert found[str(image), None] == [
        entry for entry in everything[str(image), None] if entry['category_id'] == wanted
    ]
    assert 0 < summary.detections < 20
    assert meta['categories'] == [dict(id=wanted, name=CLASSES[wanted - 1])]
    assert not (tmp_path / 'out' / 'pictures').exists()


@pytest.fixture
def annotations(shapes, tmp_path):
    """The annotation file of the validation images with other ids, and with the classes in reverse order."""
    coco = json.loads((shapes / 'annotations' / 'val.json').read_text())
    names = {category['id']: category['name'] for category in coco['categories']}
    for item in coco['images'] + coco['annotations']:
        key = 'id' if 'file_name' in item else 'image_id'
        item[key] += 1000
    for item in coco['annotations']:
        item['category_id'] = 70 - CLASSES.index(names[item['category_id']])
    coco['categories'] = [dict(id=70 - i, name=name) for i, name in enumerate(CLASSES)]
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(coco))
    return path, coco


def test_a_checkpoint_without_names_takes_those_of_the_config(detectors, shapes, tmp_path):
    """A converted checkpoint, or a bare state dict, has no names. MMDetection would take those of COCO."""
    detector = detectors['retinanet']
    bare, cfg = tmp_path / 'bare.pth', copy.deepcopy(detector.cfg)
    torch.save(torch.load(detector.checkpoint, weights_only=True)['state_dict'], bare)
    options = DetectionOptions(out=str(tmp_path / 'out'), device='cpu', score_thr=0.0, classes=['star'])
    detect(cfg, str(bare), [f'{shapes}/val'], options)
    _, images = read_output(tmp_path / 'out')
    assert [category['name'] for category in images['categories']] == ['star']
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo = None
    says = r'the model has 4 classes, and train_dataloader names 80 \(person, .*Set metainfo.classes of the datasets'
    with pytest.raises(UserError, match=says):
        detect(cfg, str(bare), [f'{shapes}/val'], options)


@pytest.mark.parametrize('wrap', [None, 'ConcatDataset', 'RepeatDataset'])
def test_the_pipeline_may_be_in_a_wrapper_or_in_the_validation_set(detectors, shapes, tmp_path, wrap):
    detector = detectors['retinanet']
    cfg = copy.deepcopy(detector.cfg)
    dataset = cfg.test_dataloader.dataset
    if wrap is None:
        cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    else:
        inner = dict(datasets=[dataset, dataset]) if wrap == 'ConcatDataset' else dict(dataset=dataset, times=2)
        cfg.test_dataloader.dataset = dict(type=wrap, **inner)
    out = tmp_path / 'out'
    detect(cfg, detector.checkpoint, [f'{shapes}/val'], DetectionOptions(out=str(out), device='cpu', score_thr=0.0))
    results, _ = read_output(out)
    assert results
    cfg.test_dataloader = cfg.val_dataloader = None
    with pytest.raises(UserError, match='expected a pipeline in test_dataloader.dataset'):
        detect(cfg, detector.checkpoint, [f'{shapes}/val'], DetectionOptions(out=str(out), device='cpu'))


def test_ids_come_from_the_annotation_file(detect_in, annotations, shapes, tmp_path):
    path, coco = annotations
    _, plain, _ = detect_in(shapes / 'val')
    _, found, meta = detect_in(shapes / 'val', annotations=str(path))
    ids = {image['file_name']: image['id'] for image in coco['images']}
    assert {image['file_name']: image['id'] for image in meta['images']} == {
        str(shapes / 'val' / name): number for name, number in ids.items()
    }
    assert meta['categories'] == coco['categories']
    for key, entries in found.items():
        assert [entry['category_id'] for entry in entries] == [71 - entry['category_id'] for entry in plain[key]]
    assert set(evaluate_files(str(path), str(tmp_path / 'out' / 'results.json'))) == {'bbox'}


def test_file_names_in_an_annotation_file_may_be_paths(detect_in, annotations, shapes):
    path, coco = annotations
    ids = {image['file_name']: image['id'] for image in coco['images']}
    for start in ('./', 'val/', f'{shapes}/val/'):
        for image in coco['images']:
            image['file_name'] = start + image['file_name'].rpartition('/')[2]
        path.write_text(json.dumps(coco))
        _, _, meta = detect_in(shapes / 'val', annotations=str(path))
        assert [image['id'] for image in meta['images']] == [ids[name] for name in sorted(ids)]


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.update(images=None), 'expected a list "images"'),
        (lambda c: c['images'].append(5), r'images\[6\] lacks'),
        (lambda c: c['categories'][0].pop('id'), r'categories\[0\] lacks id'),
    ],
)
def test_a_malformed_annotation_file_is_rejected(detect_in, annotations, shapes, change, message):
    path, coco = annotations
    change(coco)
    path.write_text(json.dumps(coco))
    with pytest.raises(UserError, match=f'truth.json: malformed: {message}'):
        detect_in(shapes / 'val', annotations=str(path))


def test_the_annotation_file_must_have_the_images_and_classes(detect_in, annotations, shapes, tmp_path):
    path, coco = annotations
    copy = tmp_path / '000000.jpg'
    shutil.copy(shapes / 'val' / '000000.jpg', copy)
    with pytest.raises(UserError, match='000000.jpg and .*000000.jpg both belong to the image 000000.jpg in'):
        detect_in(shapes / 'val', copy, annotations=str(path))
    with pytest.raises(UserError, match=f'{path} has no image {copy.parent}/other.jpg'):
        detect_in(copy.rename(tmp_path / 'other.jpg'), annotations=str(path))
    absent = coco['categories'].pop()['id']
    coco['annotations'] = [item for item in coco['annotations'] if item['category_id'] != absent]
    path.write_text(json.dumps(coco))
    with pytest.raises(UserError, match='lacks the classes star of the model; .* are circle, square, triangle.'):
        detect_in(shapes / 'val', annotations=str(path))
    assert not (tmp_path / 'out').exists()
    assert len(detect_in(shapes / 'val', annotations=str(path), classes=['circle', 'square'])[1]) == 6


def test_an_annotation_file_describes_each_image_once_and_in_its_size(detect_in, annotations, shapes, tmp_path):
    path, coco = annotations
    coco['images'].append({**coco['images'][0], 'id': 12345})
    path.write_text(json.dumps(coco))
    with pytest.raises(UserError, match='truth.json lists the image .*.jpg with the ids .* and 12345; remove one of'):
        detect_in(shapes / 'val', annotations=str(path))
    coco['images'].pop()
    coco['images'][0]['width'] *= 2
    path.write_text(json.dumps(coco))
    summary, found, _ = detect_in(shapes / 'val', annotations=str(path))
    assert len(found) == 5
    assert summary.skipped == [
        f'{shapes}/val/{coco["images"][0]["file_name"]} has 64 x 64 pixels, and {path} says 128 x 64'
    ]


def test_what_is_not_read_of_a_file_is_named(detect_in, shapes, tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    page = Image.open(shapes / 'val' / '000000.jpg')
    page.save(folder / 'a.tif', save_all=True, append_images=[page])
    page.save(folder / 'b.gif')
    os.mkfifo(folder / 'c.png')
    Image.fromarray(np.full((64, 64), 2**12, np.uint16)).save(folder / 'd.png')
    (folder / 'notes.txt').touch()
    summary, found, _ = detect_in(folder)
    assert [path for path, _ in found] == [f'{folder}/a.tif', f'{folder}/d.png']
    assert summary.skipped == [
        f'{folder}/b.gif has a format that is not read (image/gif); convert it to JPEG or PNG',
        f'{folder}/c.png is no file: a pipe, a device or a broken link',
        f'{folder}/a.tif has 2 pages, and the results include the first one',
        f'{folder}/d.png has 16 bits and is nearly black, because the loader keeps the upper 8 bits; scale it to all '
        '16',
    ]


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(batch_size=0), 'the batch size must be 1 or more; got 0'),
        (dict(score_thr=30.0), 'the score threshold must be from 0 to 1; got 30'),
        (dict(device='cuda:99'), 'the device cuda:99 is not available'),
        (dict(device='tpu9'), 'the device tpu9 is not available'),
        (dict(device='meta'), 'the device meta is not available'),
        (dict(classes=['circle', 'cat']), 'no class cat; it has circle, square, triangle, star'),
        (dict(annotations='none.json'), 'cannot read none.json'),
        (dict(out=__file__), 'cannot write into the folder'),
    ],
)
def test_wrong_options_are_rejected_before_detection_starts(detect_in, shapes, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        detect_in(shapes / 'val', **changes)
    assert not (tmp_path / 'out').exists()


def test_the_error_for_a_classifier_names_mmpretrains_inferencer(detectors, shapes, tmp_path):
    cfg = load_config(str(ROOT / 'configs' / 'demo' / 'e-convnext-mini_10e_shapes.py'))
    options = DetectionOptions(out=str(tmp_path / 'out'))
    with pytest.raises(UserError, match="the config of a classifier; use MMPretrain's ImageClassificationInferencer"):
        detect(cfg, detectors['retinanet'].checkpoint, [str(shapes / 'val')], options)


def test_an_interrupted_run_leaves_no_results(detect_in, shapes, tmp_path, monkeypatch):
    """There are neither incomplete results nor those of an earlier run, and every picture is complete."""
    images = [cv2.imread(str(path)) for path in sorted((shapes / 'val').glob('*.jpg'))]
    write_video(tmp_path / 'film.avi', images)
    detect_in(shapes / 'val' / '000000.jpg', tmp_path / 'film.avi')
    assert read_output(tmp_path / 'out') and len(pictures_in(tmp_path / 'out')) == 2
    shutil.rmtree(tmp_path / 'out' / 'pictures')
    draw = StrictInferencer.draw

    def interrupted(self, item, *args):
        if item.frame == 2:
            raise KeyboardInterrupt
        return draw(self, item, *args)

    monkeypatch.setattr(StrictInferencer, 'draw', interrupted)
    with pytest.raises(KeyboardInterrupt):
        detect_in(shapes / 'val' / '000000.jpg', tmp_path / 'film.avi')
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['pictures']
    assert len(pictures_in(tmp_path / 'out')) == 1
