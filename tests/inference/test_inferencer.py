import copy
import json

import cv2
import numpy as np
import pytest
from mmdet.apis import DetInferencer
from PIL import Image
from pycocotools import mask as mask_utils

from econvnext_mmdet.inference.detection import DetectionOptions, detect
from econvnext_mmdet.inference.inferencer import StrictInferencer
from econvnext_mmdet.models.fuse import fuse
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.model import prefer_channels_last

from .helpers import CLASSES, read_output


@pytest.mark.parametrize('name, batch_size', [('retinanet', 1), ('retinanet', 3), ('mask_rcnn', 1), ('mask_rcnn', 3)])
def test_detections_are_those_of_mmdetections_inferencer(detectors, shapes, tmp_path, name, batch_size):
    detector = detectors[name]
    odd = tmp_path / 'odd.png'  # differs in size from the other images of its batch
    cv2.imwrite(str(odd), cv2.resize(cv2.imread(str(shapes / 'val' / '000001.jpg')), (97, 61)))
    paths = [str(odd), *sorted(map(str, (shapes / 'val').glob('*.jpg')))]
    options = DetectionOptions(out=str(tmp_path / 'ours'), batch_size=batch_size, score_thr=0.0, device='cpu')
    np.random.seed(0)  # MMDetection draws masks in random colours
    summary = detect(detector.cfg, detector.checkpoint, paths, options)
    found, meta = read_output(tmp_path / 'ours')
    inferencer = DetInferencer(detector.cfg, detector.checkpoint, device='cpu', show_progress=False)
    fuse(inferencer.model)  # as detect does; the last digits differ otherwise
    prefer_channels_last(inferencer.model)
    np.random.seed(0)
    expected = inferencer(paths, batch_size=batch_size, pred_score_thr=0.0, out_dir=str(tmp_path / 'theirs'))
    assert len(found) == len(paths) == summary.images
    for path, prediction in zip(paths, expected['predictions']):
        entries = found[path, None]
        assert len(entries) == len(prediction['scores']) > 0
        assert [entry['score'] for entry in entries] == prediction['scores']
        assert [entry['category_id'] - 1 for entry in entries] == prediction['labels']
        assert [entry['bbox'] for entry in entries] == [[x, y, x2 - x, y2 - y] for x, y, x2, y2 in prediction['bboxes']]
        assert [entry.get('segmentation') for entry in entries] == prediction.get('masks', [None] * len(entries))
    if name == 'mask_rcnn':
        assert mask_utils.decode(found[str(odd), None][0]['segmentation']).shape == (61, 97)
    drawn = {path.name: path.read_bytes() for path in (tmp_path / 'ours' / 'pictures').rglob('*.*')}
    assert drawn == {path.name: path.read_bytes() for path in (tmp_path / 'theirs' / 'vis').iterdir()}
    assert meta['images'][0] == dict(id=1, file_name=str(odd), width=97, height=61)
    assert meta['categories'] == [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]


def test_the_checkpoint_must_fit_the_model(detectors, shapes, tmp_path):
    options = DetectionOptions(out=str(tmp_path / 'out'), device='cpu')
    with pytest.raises(UserError, match='does not fit this RetinaNet'):
        detect(detectors['retinanet'].cfg, detectors['mask_rcnn'].checkpoint, [str(shapes / 'val')], options)
    assert not (tmp_path / 'out').exists()


def test_an_error_after_loading_is_not_blamed_on_the_file(detect_in, shapes, monkeypatch):
    monkeypatch.setattr('mmdet.datasets.transforms.PackDetInputs.transform', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        detect_in(shapes / 'val')


@pytest.mark.parametrize(
    'color_type, shape', [('color', (64, 48)), ('color_ignore_orientation', (48, 64)), ('unchanged', (48, 64))]
)
def test_pictures_are_turned_as_the_images_are_loaded(detectors, tmp_path, color_type, shape):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new('RGB', (64, 48), 'red').save(tmp_path / 'turned.jpg', exif=exif)
    detector = detectors['retinanet']
    cfg = copy.deepcopy(detector.cfg)
    cfg.test_dataloader.dataset.pipeline[0].color_type = color_type
    out = tmp_path / 'out'
    detect(cfg, detector.checkpoint, [str(tmp_path / 'turned.jpg')], DetectionOptions(str(out), device='cpu'))
    (image,) = json.loads((out / 'images.json').read_text())['images']
    picture = cv2.imread(str(out / 'pictures' / 'turned.jpg'))
    assert (image['height'], image['width']) == picture.shape[:2] == shape
    assert picture[0, 0].argmax() == 2  # BGR


def test_a_frame_of_a_video_becomes_gray_as_a_file_does(detectors, tmp_path):
    detector = detectors['retinanet']
    cfg = copy.deepcopy(detector.cfg)
    cfg.test_dataloader.dataset.pipeline[0].color_type = 'grayscale'
    inferencer = StrictInferencer(cfg, detector.checkpoint, 'cpu')
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'frame.png'), pixels)
    (_, file, _), (_, frame, _) = inferencer.load(str(tmp_path / 'frame.png')), inferencer.load(pixels)
    assert file['inputs'].shape[0] == 1 and (file['inputs'].int() - frame['inputs'].int()).abs().max() <= 1


def test_an_image_too_thin_to_be_resized_is_skipped(detect_in, shapes, tmp_path):
    cv2.imwrite(str(tmp_path / 'thin.png'), np.zeros((3000, 1, 3), np.uint8))
    summary, found, _ = detect_in(tmp_path / 'thin.png', shapes / 'val')
    (skipped,) = summary.skipped
    assert skipped.startswith(f'{tmp_path}/thin.png (1 x 3000 pixels) cannot be prepared for the model: ')
    assert len(found) == summary.images == 6
