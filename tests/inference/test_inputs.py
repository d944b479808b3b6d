import os
import shutil
from pathlib import Path

import pytest

from econvnext_mmdet.inference.detection import DetectionOptions, detect
from econvnext_mmdet.inference.inputs import find_files, is_video, picture_paths
from econvnext_mmdet.utils.errors import UserError

from .helpers import pictures_in


def test_inputs_are_expanded_to_files(tmp_path, monkeypatch):
    for name in ('b.jpg', 'a.JPG', 'notes.txt', 'film.mp4', '.hidden.jpg', 'sub/deep/c.png', 'x[1].bmp', 'plain'):
        (tmp_path / 'in' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'in' / name).write_bytes(b'')
    (tmp_path / 'none').mkdir()
    monkeypatch.chdir(tmp_path)
    images = ['in/a.JPG', 'in/b.jpg', 'in/sub/deep/c.png', 'in/x[1].bmp']
    assert find_files(['in']) == (images, [])
    assert find_files(['in/b.jpg', 'in/', './in/b.jpg', str(tmp_path / 'in' / 'a.JPG')]).files == [
        'in/b.jpg',
        *(path for path in images if path != 'in/b.jpg'),
    ]
    assert find_files(['in/*']).files == ['in/a.JPG', 'in/b.jpg', 'in/film.mp4', 'in/x[1].bmp']
    assert find_files(['**/*.png']).files == ['in/sub/deep/c.png']
    assert find_files(['in/x[1].bmp', 'in/plain']).files == ['in/x[1].bmp', 'in/plain']
    for nothing, problem in (
        ('missing.jpg', 'there is no such file'),
        ('in/*.gif', 'no image or video matches the pattern'),
        ('none', 'the folder has no images'),
        ('in/*.txt', 'no image or video matches the pattern'),
    ):
        with pytest.raises(UserError) as error:
            find_files(['in', nothing])
        assert str(error.value).startswith(f'nothing to do for {nothing}: {problem}. Give images')


def test_links_that_lead_back_are_followed_once(tmp_path):
    (tmp_path / 'a' / 'b').mkdir(parents=True)
    (tmp_path / 'a' / 'b' / 'x.jpg').touch()
    (tmp_path / 'a' / 'b' / 'loop').symlink_to(tmp_path / 'a')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'y.jpg').touch()
    (tmp_path / 'a' / 'link').symlink_to(tmp_path / 'elsewhere')
    found = find_files([str(tmp_path / 'a')]).files
    assert [os.path.relpath(path, tmp_path) for path in found] == ['a/b/x.jpg', 'a/link/y.jpg']


def test_pictures_have_the_layout_of_the_inputs_and_a_writable_format(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = {
        'a/x.jpg': 'x.jpg',
        'a/b/x.png': 'b/x.png',
        'a/film.MP4': 'film.MP4',
        'a/film.avi': 'film.avi.mp4',
        'a/grey.pgm': 'grey.pgm.jpg',
        'a/plain': 'plain.jpg',
    }
    pictures = Path('out') / 'pictures'
    assert picture_paths(Path('out'), list(expected)) == {path: pictures / name for path, name in expected.items()}
    assert [path for path in expected if is_video(path)] == ['a/film.MP4', 'a/film.avi']


def test_inputs_with_the_same_name_get_different_pictures(detect_in, shapes, tmp_path):
    for name in ('p/1.jpg', 'q/1.jpg', 'q/1.pgm', 'q/plain'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(shapes / 'val' / '000000.jpg', tmp_path / name)
    summary, found, _ = detect_in(tmp_path / 'p', tmp_path / 'q', tmp_path / 'q' / 'plain')
    assert len(found) == 4 and not summary.skipped
    assert pictures_in(tmp_path / 'out') == ['p/1.jpg', 'q/1.jpg', 'q/1.pgm.jpg', 'q/plain.jpg']


@pytest.mark.parametrize('name', ['pictures/a.png', 'pictures/film.mp4'])
def test_no_input_is_overwritten(detectors, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pictures').mkdir()
    (tmp_path / name).write_bytes(b'own')
    detector, options = detectors['retinanet'], DetectionOptions(out='.', device='cpu')
    with pytest.raises(UserError, match=f'the picture of {name} would overwrite the input {name}'):
        detect(detector.cfg, detector.checkpoint, [name], options)
    assert (tmp_path / name).read_bytes() == b'own'
    with pytest.raises(UserError, match=r'the folder has no images \(files in pictures do not count because'):
        detect(detector.cfg, detector.checkpoint, ['pictures'], options)


def test_two_inputs_must_not_share_a_picture(detect_in, shapes, tmp_path):
    for name in ('p', 'p.jpg'):
        shutil.copy(shapes / 'val' / '000000.jpg', tmp_path / name)
    with pytest.raises(UserError, match='p and .*p.jpg would both be written to .*out/pictures/p.jpg'):
        detect_in(tmp_path / 'p', tmp_path / 'p.jpg')
    assert detect_in(tmp_path / 'p', tmp_path / 'p.jpg', pictures=False)[0].images == 2


def test_pictures_of_an_earlier_run_are_not_inputs(detect_in, shapes, tmp_path):
    shutil.copy(shapes / 'val' / '000000.jpg', tmp_path)
    for inputs in ([tmp_path], [tmp_path], [f'{tmp_path}/**']):
        assert list(detect_in(*inputs)[1]) == [(f'{tmp_path}/000000.jpg', None)]
