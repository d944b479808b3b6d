"""Detection in one's own files, on small detectors with random weights."""
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from pycocotools import mask as mask_utils

from econvnext_mmdet.engine.run import load_config
from econvnext_mmdet.errors import UserError
from econvnext_mmdet.evaluation.coco_eval import evaluate_files
from econvnext_mmdet.inference import StrictInferencer, find_files, infer

from .conftest import ROOT, options

CLASSES = ('circle', 'square', 'triangle', 'star')
# Every detection counts: those of random weights have low scores.
CONFIGS = dict(
    retinanet={'model.test_cfg.score_thr': 0., 'model.test_cfg.max_per_img': 20},
    mask_rcnn={'model.neck.in_channels': [24, 48, 96, 192], 'model.test_cfg.rcnn.score_thr': 0.,
               'model.test_cfg.rcnn.max_per_img': 20})


def save(cfg, path):
    """Save random weights of a config's detector as training saves a checkpoint."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), path)


@pytest.fixture(scope='module')
def detectors(shapes, tmp_path_factory):
    """By name: a config and its checkpoint."""
    found = {}
    for name, changes in CONFIGS.items():
        folder = tmp_path_factory.mktemp(name)
        cfg = load_config(str(ROOT / 'configs' / 'demo' / f'{name}_e_convnext_mini_shapes.py'),
                          {**options(shapes, folder), **changes})
        found[name] = SimpleNamespace(cfg=cfg, checkpoint=str(folder / 'random.pth'), config=str(folder / 'config.py'))
        save(cfg, found[name].checkpoint)
        cfg.dump(found[name].config)
    return found


@pytest.fixture
def detect(detectors, tmp_path):
    """Infer with the RetinaNet; gives the report, the results by path and frame, and the content of images.json."""
    def run(*inputs, **kwargs):
        detector, out = detectors['retinanet'], tmp_path / 'out'
        report = infer(detector.cfg, detector.checkpoint, list(map(str, inputs)), out=str(out),
                       **{'device': 'cpu', 'score_thr': 0., **kwargs})
        return (report, *read(out))
    return run


def read(out):
    meta = json.loads((out / 'images.json').read_text())
    found = {image['id']: [] for image in meta['images']}
    assert len(found) == len(meta['images'])
    for entry in json.loads((out / 'results.json').read_text()):
        found[entry['image_id']].append(entry)
    return {(image['file_name'], image.get('frame_id')): found[image['id']] for image in meta['images']}, meta


def pictures(out):
    folder = out / 'pictures'
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def write_video(path, images, fps=5, codec='MJPG'):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, images[0].shape[1::-1])
    for image in images:
        writer.write(image)
    writer.release()


@pytest.mark.parametrize('name, batch_size', [('retinanet', 1), ('retinanet', 3), ('mask_rcnn', 1), ('mask_rcnn', 3)])
def test_detections_are_those_of_mmdets_inferencer(detectors, shapes, tmp_path, name, batch_size):
    detector = detectors[name]
    odd = tmp_path / 'odd.png'  # of another size than the others of its batch
    cv2.imwrite(str(odd), cv2.resize(cv2.imread(str(shapes / 'val' / '000001.jpg')), (97, 61)))
    paths = [str(odd), *sorted(map(str, (shapes / 'val').glob('*.jpg')))]
    np.random.seed(0)  # mmdet varies the colours of masks
    report = infer(detector.cfg, detector.checkpoint, paths, out=str(tmp_path / 'ours'), batch_size=batch_size,
                   score_thr=0., device='cpu')
    found, meta = read(tmp_path / 'ours')
    inferencer = DetInferencer(detector.cfg, detector.checkpoint, device='cpu', show_progress=False)
    np.random.seed(0)
    expected = inferencer(paths, batch_size=batch_size, pred_score_thr=0., out_dir=str(tmp_path / 'theirs'))
    assert len(found) == len(paths) == report.images
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


@pytest.fixture
def damaged(shapes, tmp_path):
    """A folder of four images of which three cannot be read, and the three's reasons."""
    folder = tmp_path / 'damaged'
    folder.mkdir()
    whole = (shapes / 'val' / '000000.jpg').read_bytes()
    for name, content in (('empty', b''), ('good', whole), ('text', b'no image'), ('truncated', whole[:200])):
        (folder / f'{name}.jpg').write_bytes(content)
    return folder, [f'{folder}/{name}.jpg is not a readable image: {reason}' for name, reason in (
        ('empty', 'the file is empty'), ('text', 'damaged, of an unknown format or too large'),
        ('truncated', 'damaged, of an unknown format or too large'))]


def test_unreadable_images_are_skipped(detect, damaged, shapes, tmp_path):
    folder, reasons = damaged
    report, found, _ = detect(folder, shapes / 'val', batch_size=2)
    assert report.skipped == reasons
    assert list(found)[0] == (f'{folder}/good.jpg', None) and len(found) == report.images == 7
    assert report.detections == report.above == sum(map(len, found.values())) == 140
    assert len(pictures(tmp_path / 'out')) == 7


def test_the_tool_tells_of_skipped_files(detectors, damaged, tmp_path):
    detector, (folder, reasons) = detectors['retinanet'], damaged
    done = subprocess.run([sys.executable, 'tools/infer.py', detector.config, detector.checkpoint, folder, '--out',
                           tmp_path / 'out', '--device', 'cpu'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.rstrip().endswith('\n  '.join(['skipped 3:', *reasons]))
    assert '1 images, 20 detections, 0 of them above 0.3\n' in done.stdout
    assert len(read(tmp_path / 'out')[0]) == 1


def test_an_error_after_loading_is_not_taken_for_a_bad_file(detect, shapes, monkeypatch):
    monkeypatch.setattr('mmdet.datasets.transforms.PackDetInputs.transform', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        detect(shapes / 'val')


def test_an_image_too_thin_to_be_scaled_is_skipped(detect, shapes, tmp_path):
    cv2.imwrite(str(tmp_path / 'thin.png'), np.zeros((3000, 1, 3), np.uint8))
    report, found, _ = detect(tmp_path / 'thin.png', shapes / 'val')
    (skipped, ) = report.skipped
    assert skipped.startswith(f'{tmp_path}/thin.png, of 1 x 3000 pixels, cannot be prepared for the model')
    assert len(found) == report.images == 6


def test_files_of_inputs(tmp_path, monkeypatch):
    for name in ('b.jpg', 'a.JPG', 'notes.txt', 'film.mp4', '.hidden.jpg', 'sub/deep/c.png', 'x[1].bmp', 'plain'):
        (tmp_path / 'in' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'in' / name).write_bytes(b'')
    (tmp_path / 'none').mkdir()
    monkeypatch.chdir(tmp_path)
    images = ['in/a.JPG', 'in/b.jpg', 'in/sub/deep/c.png', 'in/x[1].bmp']
    assert find_files(['in']) == images
    assert find_files(['in/b.jpg', 'in/', './in/b.jpg', str(tmp_path / 'in' / 'a.JPG')]) == ['in/b.jpg', *(
        path for path in images if path != 'in/b.jpg')]
    assert find_files(['in/*']) == ['in/a.JPG', 'in/b.jpg', 'in/film.mp4', 'in/x[1].bmp']
    assert find_files(['**/*.png']) == ['in/sub/deep/c.png']
    assert find_files(['in/x[1].bmp', 'in/plain']) == ['in/x[1].bmp', 'in/plain']
    for nothing, why in (('missing.jpg', 'there is no such file'), ('in/*.gif', 'no image or video matches'),
                         ('none', 'the folder has no images'), ('in/*.txt', 'no image or video matches')):
        with pytest.raises(UserError) as error:
            find_files(['in', nothing])
        assert str(error.value).startswith(f'nothing to do for {nothing}: {why}')


def test_pictures_of_one_name_do_not_overwrite_each_other(detect, shapes, tmp_path):
    for name in ('p/1.jpg', 'q/1.jpg', 'q/1.pgm', 'q/plain'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(shapes / 'val' / '000000.jpg', tmp_path / name)
    report, found, _ = detect(tmp_path / 'p', tmp_path / 'q', tmp_path / 'q' / 'plain')
    assert len(found) == 4 and not report.skipped
    assert pictures(tmp_path / 'out') == ['p/1.jpg', 'q/1.jpg', 'q/1.pgm.jpg', 'q/plain.jpg']


@pytest.mark.parametrize('name', ['pictures/a.png', 'pictures/film.mp4'])
def test_no_input_is_overwritten(detectors, shapes, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pictures').mkdir()
    (tmp_path / name).write_bytes(b'own')
    detector = detectors['retinanet']
    with pytest.raises(UserError, match=f'the picture of {name} would be {name}, which is an input'):
        infer(detector.cfg, detector.checkpoint, [name], out='.', device='cpu')
    assert (tmp_path / name).read_bytes() == b'own'
    with pytest.raises(UserError, match='the folder has no images, apart from those in pictures, where'):
        infer(detector.cfg, detector.checkpoint, ['pictures'], out='.', device='cpu')


def test_two_inputs_of_one_picture_are_refused(detect, shapes, tmp_path):
    for name in ('p', 'p.jpg'):
        shutil.copy(shapes / 'val' / '000000.jpg', tmp_path / name)
    with pytest.raises(UserError, match='p and .*p.jpg would both be .*out/pictures/p.jpg'):
        detect(tmp_path / 'p', tmp_path / 'p.jpg')
    assert detect(tmp_path / 'p', tmp_path / 'p.jpg', pictures=False)[0].images == 2


def test_pictures_of_an_earlier_run_are_no_inputs(detect, shapes, tmp_path):
    shutil.copy(shapes / 'val' / '000000.jpg', tmp_path)
    for inputs in ([tmp_path], [tmp_path], [f'{tmp_path}/**']):
        assert list(detect(*inputs)[1]) == [(f'{tmp_path}/000000.jpg', None)]


def test_a_video(detect, shapes, tmp_path):
    images = [cv2.resize(cv2.imread(str(path)), (80, 64)) for path in sorted((shapes / 'val').glob('*.jpg'))]
    write_video(tmp_path / 'film.avi', images)
    write_video(tmp_path / 'film.mp4', images[:4], codec='mp4v')
    report, found, meta = detect(tmp_path / 'film.avi', tmp_path / 'film.mp4', batch_size=4)
    assert (report.images, report.frames) == (0, 10) and not report.skipped
    assert list(found) == [(f'{tmp_path}/film.avi', i) for i in range(6)] + [
        (f'{tmp_path}/film.mp4', i) for i in range(4)]
    assert all(len(entries) == 20 for entries in found.values())
    assert (meta['images'][0]['width'], meta['images'][0]['height']) == (80, 64)
    assert pictures(tmp_path / 'out') == ['film.avi.mp4', 'film.mp4']
    for name, count in (('film.avi.mp4', 6), ('film.mp4', 4)):
        drawn = mmcv.VideoReader(str(tmp_path / 'out' / 'pictures' / name))
        assert (len(list(drawn)), drawn.resolution, drawn.fps) == (count, (80, 64), 5)


def test_colours_of_a_video_are_kept(detect, tmp_path):
    blue = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    write_video(tmp_path / 'blue.avi', [blue] * 2)
    detect(tmp_path / 'blue.avi', score_thr=1.)
    frame = mmcv.VideoReader(str(tmp_path / 'out' / 'pictures' / 'blue.avi.mp4'))[0]
    assert frame[..., 0].min() > 200 and frame[..., 1:].max() < 50


def test_a_broken_video_is_told(detect, shapes, tmp_path):
    images = [cv2.imread(str(path)) for path in sorted((shapes / 'val').glob('*.jpg'))]
    write_video(tmp_path / 'whole.avi', images, fps=2)
    content = (tmp_path / 'whole.avi').read_bytes()
    (tmp_path / 'half.avi').write_bytes(content[:len(content) // 2])
    (tmp_path / 'text.mp4').write_bytes(b'no video')
    report, found, _ = detect(*(tmp_path / name for name in ('text.mp4', 'half.avi', 'whole.avi')))
    done = sum(path.endswith('half.avi') for path, _ in found)
    assert 0 < done < 4 and sum(path.endswith('whole.avi') for path, _ in found) == 6
    assert report.skipped == [
        f'{tmp_path}/text.mp4 is not a readable video: damaged, or of an unknown format',
        f'{tmp_path}/half.avi breaks off after {done} of 6 frames; those are done']
    assert pictures(tmp_path / 'out') == ['half.avi.mp4', 'whole.avi.mp4']


def test_classes_and_no_pictures(detect, shapes, tmp_path):
    image = shapes / 'val' / '000000.jpg'
    _, everything, _ = detect(image)
    shutil.rmtree(tmp_path / 'out' / 'pictures')
    wanted = sorted({entry['category_id'] for entry in everything[str(image), None]})[-1]
    report, found, meta = detect(image, classes=[CLASSES[wanted - 1]], pictures=False)
    assert found[str(image), None] == [entry for entry in everything[str(image), None]
                                       if entry['category_id'] == wanted]
    assert 0 < report.detections < 20
    assert meta['categories'] == [dict(id=wanted, name=CLASSES[wanted - 1])]
    assert not (tmp_path / 'out' / 'pictures').exists()


@pytest.fixture
def annotations(shapes, tmp_path):
    """The annotation file of the validation images with other ids and the classes turned round."""
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


def test_ids_of_an_annotation_file(detect, annotations, shapes, tmp_path):
    path, coco = annotations
    _, plain, _ = detect(shapes / 'val')
    _, found, meta = detect(shapes / 'val', annotations=str(path))
    ids = {image['file_name']: image['id'] for image in coco['images']}
    assert {image['file_name']: image['id'] for image in meta['images']} == {
        str(shapes / 'val' / name): number for name, number in ids.items()}
    assert meta['categories'] == coco['categories']
    for key, entries in found.items():
        assert [entry['category_id'] for entry in entries] == [71 - entry['category_id'] for entry in plain[key]]
    assert set(evaluate_files(str(path), str(tmp_path / 'out' / 'results.json'))) == {'bbox'}


def test_file_names_of_an_annotation_file_may_be_paths(detect, annotations, shapes):
    path, coco = annotations
    ids = {image['file_name']: image['id'] for image in coco['images']}
    for start in ('./', 'val/', f'{shapes}/val/'):
        for image in coco['images']:
            image['file_name'] = start + image['file_name'].rpartition('/')[2]
        path.write_text(json.dumps(coco))
        _, _, meta = detect(shapes / 'val', annotations=str(path))
        assert [image['id'] for image in meta['images']] == [ids[name] for name in sorted(ids)]


@pytest.mark.parametrize('change, says', [
    (lambda c: c.update(images=None), 'expected a list "images"'),
    (lambda c: c['images'].append(5), r'images\[6\] lacks'),
    (lambda c: c['categories'][0].pop('id'), r'categories\[0\] lacks id'),
])
def test_malformed_annotation_files(detect, annotations, shapes, change, says):
    path, coco = annotations
    change(coco)
    path.write_text(json.dumps(coco))
    with pytest.raises(UserError, match=f'truth.json: malformed: {says}'):
        detect(shapes / 'val', annotations=str(path))


def test_annotation_files_that_do_not_fit(detect, annotations, shapes, tmp_path):
    path, coco = annotations
    copy = tmp_path / '000000.jpg'
    shutil.copy(shapes / 'val' / '000000.jpg', copy)
    with pytest.raises(UserError, match='000000.jpg and .*000000.jpg are both 000000.jpg of'):
        detect(shapes / 'val', copy, annotations=str(path))
    with pytest.raises(UserError, match=f'{path} has no image {copy.parent}/other.jpg'):
        detect(copy.rename(tmp_path / 'other.jpg'), annotations=str(path))
    absent = coco['categories'].pop()['id']
    coco['annotations'] = [item for item in coco['annotations'] if item['category_id'] != absent]
    path.write_text(json.dumps(coco))
    with pytest.raises(UserError, match='has no category star, .* it has circle, square, triangle'):
        detect(shapes / 'val', annotations=str(path))
    assert not (tmp_path / 'out').exists()
    assert len(detect(shapes / 'val', annotations=str(path), classes=['circle', 'square'])[1]) == 6


@pytest.mark.parametrize('kwargs, says', [
    (dict(batch_size=0), 'the batch size is 1 or more; got 0'),
    (dict(score_thr=30.), 'the score threshold is from 0 to 1; got 30'),
    (dict(device='cuda:99'), 'no device cuda:99 here'),
    (dict(device='tpu9'), 'no device tpu9 here'),
    (dict(classes=['circle', 'cat']), 'no class cat; it has circle, square, triangle, star'),
    (dict(annotations='none.json'), 'cannot read none.json'),
    (dict(out=__file__), 'cannot write into the folder'),
])
def test_what_a_user_can_mend(detectors, shapes, tmp_path, kwargs, says):
    detector = detectors['retinanet']
    with pytest.raises(UserError, match=says):
        infer(detector.cfg, detector.checkpoint, [str(shapes / 'val')],
              **{'out': str(tmp_path / 'out'), 'device': 'cpu', **kwargs})
    assert not (tmp_path / 'out').exists()


def test_a_checkpoint_of_another_model_is_refused(detectors, shapes, tmp_path):
    with pytest.raises(UserError, match='does not fit this RetinaNet'):
        infer(detectors['retinanet'].cfg, detectors['mask_rcnn'].checkpoint, [str(shapes / 'val')],
              out=str(tmp_path / 'out'), device='cpu')
    assert not (tmp_path / 'out').exists()


def test_a_classifiers_config_is_sent_to_mmpretrain(detectors, shapes, tmp_path):
    cfg = load_config(str(ROOT / 'configs' / 'demo' / 'e-convnext-mini_shapes.py'))
    with pytest.raises(UserError, match="the config is a classifier's, .* ImageClassificationInferencer takes"):
        infer(cfg, detectors['retinanet'].checkpoint, [str(shapes / 'val')], out=str(tmp_path / 'out'))


def test_an_interrupted_run_leaves_no_results(detect, shapes, tmp_path, monkeypatch):
    """Neither its own, half written, nor those of an earlier run; pictures are whole."""
    images = [cv2.imread(str(path)) for path in sorted((shapes / 'val').glob('*.jpg'))]
    write_video(tmp_path / 'film.avi', images)
    detect(shapes / 'val' / '000000.jpg', tmp_path / 'film.avi')
    assert read(tmp_path / 'out') and len(pictures(tmp_path / 'out')) == 2
    shutil.rmtree(tmp_path / 'out' / 'pictures')
    draw = StrictInferencer.draw

    def interrupted(self, item, *args):
        if item.frame == 2:
            raise KeyboardInterrupt
        return draw(self, item, *args)

    monkeypatch.setattr(StrictInferencer, 'draw', interrupted)
    with pytest.raises(KeyboardInterrupt):
        detect(shapes / 'val' / '000000.jpg', tmp_path / 'film.avi')
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['pictures']
    assert len(pictures(tmp_path / 'out')) == 1
