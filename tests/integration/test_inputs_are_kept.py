"""What a run reads, it does not overwrite: annotations, images, configs, checkpoints and logs."""

import os
import shutil
from pathlib import Path

import pytest

from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.inference.detection import DetectionOptions, detect
from econvnext_mmdet.utils.config import files_in, load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, options, tool

BOTH = 'is to be read and to be written; give another name or folder for the file to write'


@pytest.fixture
def data(shapes, tmp_path):
    """A copy of the shapes that a test may damage."""
    return shutil.copytree(shapes, tmp_path / 'data')


@pytest.fixture
def cfg(data, tmp_path):
    return load_config(DEMO, options(data, tmp_path / 'work'))


@pytest.fixture
def checkpoint(trained):
    return str(trained[0] / 'epoch_2.pth')


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_the_files_of_a_config_are_found_below_its_data_root(cfg, data):
    cfg.test_dataloader.dataset.proposal_file = 'annotations/val.json'
    cfg.load_from = str(data / 'val' / '000000.jpg')  # any file
    cfg.custom_imports = dict(imports=['a.b'], allow_failed_imports=True)
    found = {os.path.realpath(path) for path in files_in(cfg)}
    names = ('annotations/train.json', 'annotations/val.json', 'val/000000.jpg')
    assert found == {DEMO, *(os.path.realpath(data / name) for name in names)}


@pytest.mark.parametrize('link', [False, True])
def test_testing_does_not_write_its_results_onto_the_annotations(link, cfg, checkpoint, data, tmp_path):
    out, before = data / 'annotations' / 'val.json', content_of(data)
    if link:
        out = tmp_path / 'link.json'
        out.symlink_to(data / 'annotations' / 'val.json')
    with pytest.raises(UserError, match=BOTH):
        run_test(cfg, checkpoint, out=str(out))
    assert content_of(data) == before and out.is_symlink() == link


def test_testing_does_not_draw_its_pictures_onto_the_images(cfg, checkpoint, data, tmp_path):
    (tmp_path / 'link').symlink_to(data / 'val')
    before = content_of(data)
    for folder in (data / 'val', tmp_path / 'link'):
        with pytest.raises(UserError, match='a picture would overwrite the image .*jpg; give another folder'):
            run_test(cfg.copy(), checkpoint, show_dir=str(folder))
    with pytest.raises(FileExistsError):  # before the evaluation
        run_test(cfg.copy(), checkpoint, show_dir=str(data / 'annotations' / 'val.json'))
    assert content_of(data) == before


@pytest.mark.parametrize('name', ['results.json', 'images.json'])
@pytest.mark.parametrize('role', ['annotations', 'input'])
def test_inference_does_not_write_its_results_onto_what_it_reads(role, name, cfg, checkpoint, data, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    shutil.copy(data / 'annotations' / 'val.json', out / name)
    before, inputs = content_of(tmp_path), [str(data / 'val')]
    if role == 'input':
        inputs.append(str(out / name))
    annotations = str(out / name) if role == 'annotations' else None
    with pytest.raises(UserError, match=f'{name} {BOTH}'):
        detect(cfg, checkpoint, inputs, DetectionOptions(str(out), annotations, device='cpu', pictures=False))
    assert content_of(tmp_path) == before


def test_a_config_in_the_work_directory_stays_as_the_user_wrote_it(checkpoint, data, tmp_path):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    path = work_dir / 'mine.py'
    path.write_text(f"# my own words\n_base_ = '{DEMO}'\n")
    before = path.read_bytes()
    run_test(load_config(str(path), options(data, work_dir)), checkpoint)
    assert path.read_bytes() == before and len(list(work_dir.glob('*/vis_data/config.py'))) == 1
    run_test(load_config(str(path), options(data, tmp_path / 'other')), checkpoint)
    assert (tmp_path / 'other' / 'mine.py').is_file()


def test_training_does_not_write_over_the_checkpoint_from_which_it_starts(cfg, checkpoint, tmp_path):
    best = tmp_path / 'work' / 'best_coco_bbox_mAP_epoch_2.pth'
    best.parent.mkdir()
    shutil.copy(checkpoint, best)
    with pytest.raises(UserError, match='work has the checkpoints of a training run, such as best_coco_bbox_mAP'):
        train(cfg, pretrained=str(best))
    assert [*best.parent.glob('*.pth')] == [best] and not list(best.parent.glob('*.py'))


def test_links_in_a_work_directory_are_replaced_and_not_followed(checkpoint, data, tmp_path):
    """Those of the pointer, of the stored config and of a file that is being written."""
    work_dir, kept = tmp_path / 'work', tmp_path / 'kept.txt'
    work_dir.mkdir()
    kept.write_text('mine')
    for name in ('last_checkpoint', Path(DEMO).name, '.part-epoch_1.pth'):
        (work_dir / name).symlink_to(kept)
    train(load_config(DEMO, {**options(data, work_dir), 'train_cfg.max_epochs': 1}))
    assert kept.read_text() == 'mine'
    assert (work_dir / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    assert not (work_dir / 'epoch_1.pth').is_symlink() and 'optim_wrapper' in (work_dir / Path(DEMO).name).read_text()


def test_a_table_is_not_written_onto_the_log_of_a_run(trained, tmp_path):
    work_dir = shutil.copytree(trained[0], tmp_path / 'run')
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    before = content_of(work_dir)
    status, _, err = tool('tools/analysis_tools/compare_trainings.py', work_dir, '--json', log)
    assert status == 1 and BOTH in err and content_of(work_dir) == before
