"""Checkpoints that survive a crash, a full disk and a moved work directory."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from mmengine.fileio import LocalBackend

from econvnext_mmdet.engine.saving import WholeFiles, checkpoints_in, latest_checkpoint, own_work_dir
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.files import whole_file
from econvnext_mmdet.weights.checkpoint import read_checkpoint

from ..helpers import DEMO, options


@pytest.fixture
def folder(tmp_path):
    """A work directory with the checkpoints of three epochs."""
    for epoch in (1, 2, 10):
        torch.save(dict(state_dict=dict(weight=torch.full((3,), float(epoch)))), tmp_path / f'epoch_{epoch}.pth')
    (tmp_path / 'last_checkpoint').write_text(f'{tmp_path}/epoch_10.pth')
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def test_the_pointer_names_the_latest_checkpoint(folder):
    (folder / 'last_checkpoint').write_text(f'{folder}/epoch_2.pth')
    assert latest_checkpoint(str(folder)) == f'{folder}/epoch_2.pth'


@pytest.mark.parametrize(
    'damage',
    [
        lambda folder: cut(folder / 'epoch_10.pth'),
        lambda folder: (folder / 'epoch_10.pth').write_bytes(b''),
        lambda folder: (folder / 'epoch_10.pth').unlink(),
        lambda folder: torch.save(dict(state_dict=dict(a=torch.tensor(float('nan')))), folder / 'epoch_10.pth'),
    ],
    ids=['half', 'empty', 'missing', 'nan'],
)
def test_the_last_whole_checkpoint_takes_the_place_of_a_damaged_one(folder, damage):
    damage(folder)
    assert latest_checkpoint(str(folder)) == f'{folder}/epoch_2.pth'


@pytest.mark.parametrize('text', ['', None], ids=['empty', 'missing'])
def test_the_last_epoch_is_found_without_a_pointer(folder, text):
    (folder / 'last_checkpoint').unlink()
    if text is not None:
        (folder / 'last_checkpoint').write_text(text)
    assert latest_checkpoint(str(folder)) == f'{folder}/epoch_10.pth'


def test_a_folder_without_any_whole_checkpoint_is_an_error(folder, tmp_path_factory):
    for path in folder.glob('*.pth'):
        cut(path)
    with pytest.raises(UserError, match='no checkpoint in .* can be read, so training cannot go on: .*epoch_10.pth'):
        latest_checkpoint(str(folder))
    assert latest_checkpoint(str(tmp_path_factory.mktemp('new'))) is None


def test_a_copied_work_directory_is_left_for_its_original_by_nothing(folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp('copies') / 'work'
    shutil.copytree(folder, copy)
    assert latest_checkpoint(str(copy)) == f'{copy}/epoch_10.pth'


def test_a_copy_without_its_checkpoints_does_not_go_on_from_its_original(folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp('copies') / 'work'
    copy.mkdir()
    shutil.copy(folder / 'last_checkpoint', copy)
    with pytest.raises(UserError, match=f'no checkpoint in {copy} can be read'):
        latest_checkpoint(str(copy))
    shutil.copy(folder / 'epoch_1.pth', copy)
    assert latest_checkpoint(str(copy)) == f'{copy}/epoch_1.pth'


def test_a_pipe_in_the_place_of_the_pointer_is_an_error(folder):
    (folder / 'last_checkpoint').unlink()
    os.mkfifo(folder / 'last_checkpoint')
    with pytest.raises(UserError, match='last_checkpoint is a device or a pipe'):
        latest_checkpoint(str(folder))
    with (
        pytest.raises(UserError, match='last_checkpoint is a device or a pipe'),
        own_work_dir(str(folder), resume=True),
    ):
        pass


def test_checkpoints_in_a_folder_of_their_own_are_found(shapes, tmp_path, capsys):
    """MMEngine's CheckpointHook has out_dir, in which each work directory has a folder of its name."""
    changes = {**options(shapes, tmp_path / 'run'), 'default_hooks.checkpoint.out_dir': str(tmp_path / 'saved')}
    train(load_config(DEMO, changes))
    assert checkpoints_in(str(tmp_path / 'saved' / 'run'))[0].endswith('epoch_2.pth')
    with pytest.raises(UserError, match='saved/run has the checkpoints of a training run'):
        train(load_config(DEMO, changes))
    capsys.readouterr()
    (tmp_path / 'run' / 'last_checkpoint').write_text('anything')
    train(load_config(DEMO, changes), resume='auto')
    # The run has ended already, and writes no checkpoint.
    assert f'checkpoint: {tmp_path}/saved/run/epoch_2.pth' in capsys.readouterr().out


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / 'epoch_1.pth').write_bytes(b'old')

    def full(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space left') as raised:
        WholeFiles().put(b'new', tmp_path / 'epoch_1.pth')
    assert raised.value.filename == str(tmp_path / 'epoch_1.pth')
    assert [*tmp_path.iterdir()] == [tmp_path / 'epoch_1.pth'] and open(tmp_path / 'epoch_1.pth', 'rb').read() == b'old'


def test_an_older_file_goes_after_its_successor_is_there(tmp_path):
    files = WholeFiles()
    assert isinstance(files, LocalBackend)
    files.put(b'1', tmp_path / 'epoch_1.pth')
    files.remove(tmp_path / 'epoch_1.pth')
    assert (tmp_path / 'epoch_1.pth').exists()
    files.put(b'2', tmp_path / 'epoch_2.pth')
    files.flush()
    assert [*tmp_path.iterdir()] == [tmp_path / 'epoch_2.pth']


def test_the_name_of_the_file_is_in_the_error_of_a_full_disk(tmp_path):
    with pytest.raises(OSError) as raised, whole_file(tmp_path / 'x'):
        raise OSError(errno.ENOSPC, 'full')
    assert raised.value.filename == str(tmp_path / 'x')


def test_a_work_directory_has_one_training_run(folder, tmp_path_factory):
    with pytest.raises(UserError, match='has the checkpoints of a training run, such as epoch_10.pth. Give --resume'):
        with own_work_dir(str(folder), resume=False):
            pass
    with FileLock(folder / '.lock'), pytest.raises(UserError, match='another training run uses'):
        with own_work_dir(str(folder), resume=True):
            pass
    with own_work_dir(str(folder), resume=True):
        pass


def test_training_keeps_the_newest_and_the_best_checkpoint_also_in_a_copy(shapes, tmp_path):
    """The best checkpoint of the original stays when a run goes on in a copy of its folder."""
    changes = {'default_hooks.checkpoint.max_keep_ckpts': 1, 'default_hooks.checkpoint.save_best': 'coco/bbox_mAP'}
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    train(load_config(DEMO, {**options(shapes, original), **changes}))
    names = sorted(path.name for path in original.glob('*.pth'))
    assert names[-1] == 'epoch_2.pth' and len(names) == 2
    shutil.copytree(original, copy)
    resumed = load_config(DEMO, {**options(shapes, copy), **changes, 'train_cfg.max_epochs': 3})
    train(resumed, resume='auto')
    assert sorted(path.name for path in original.glob('*.pth')) == names
    assert [os.path.basename(path) for path in checkpoints_in(str(copy))] == ['epoch_3.pth']
    assert len([*copy.glob('best_*.pth')]) == 1
    (best,) = original.glob('best_*.pth')
    assert read_checkpoint(str(best)).state
    with pytest.raises(UserError, match="lacks the optimiser's state"):
        train(load_config(DEMO, {**options(shapes, tmp_path / 'third'), **changes}), resume=str(best))


def test_training_stops_at_a_loss_that_is_not_finite(shapes, tmp_path):
    changes = {'optim_wrapper.optimizer.lr': 1e12, 'optim_wrapper.clip_grad': None, 'train_cfg.max_epochs': 5}
    with pytest.raises(UserError, match=r'the loss is no finite number at step \d+ of epoch \d+ .*train/0000\d\d.jpg'):
        train(load_config(DEMO, {**options(shapes, tmp_path), **changes}))
    assert all(read_checkpoint(path).state for path in checkpoints_in(str(tmp_path)))
