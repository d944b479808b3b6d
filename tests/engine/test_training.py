import pytest
import torch
from mmengine.config import Config

from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, options


@pytest.fixture
def cfg(shapes, tmp_path):
    """The demo config, reduced so that training takes a few seconds."""
    return load_config(DEMO, options(shapes, tmp_path / 'work'))


def test_pretrained_needs_an_econvnext_backbone(cfg):
    cfg.model.backbone = dict(type='ResNet', depth=18)
    with pytest.raises(UserError, match='this config has ResNet; set model.backbone.init_cfg instead'):
        train(cfg, pretrained='x.pth')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a device for AMP')
def test_amp_and_launcher_need_a_gpu(cfg):
    with pytest.raises(UserError, match='mixed precision needs a GPU, .* leave out --amp, or replace AmpOptimWrapper'):
        train(cfg, amp=True)
    cfg = Config(cfg.to_dict())
    cfg.optim_wrapper.type, cfg.launcher = 'OptimWrapper', 'slurm'
    with pytest.raises(UserError, match='--launcher slurm gives each process a GPU'):
        train(cfg)


def test_the_launcher_of_torchrun_needs_torchrun(cfg, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    cfg.launcher = 'pytorch'
    with pytest.raises(UserError, match='--launcher pytorch is for processes that torchrun starts; call tools/dist_'):
        train(cfg)


def test_the_error_for_an_unregistered_type_names_it(cfg):
    cfg.model.backbone.type = 'EConvNext'
    with pytest.raises(UserError, match="model.backbone.type is 'EConvNext', .* did you mean 'EConvNeXt'"):
        train(cfg)


def test_a_slurm_task_that_trains_alone_checks_its_data(shapes, tmp_path, monkeypatch):
    """Slurm also gives ranks to tasks that are not processes of one training run."""
    monkeypatch.setenv('SLURM_PROCID', '3')
    cfg = load_config(DEMO, {**options(shapes, tmp_path), 'train_dataloader.dataset.ann_file': 'none.json'})
    with pytest.raises(UserError, match='no annotation file'):
        train(cfg)


# The run of 3 steps per epoch had planned 1 epoch or 2. A schedule that was shorter from the start is a warm-up.
@pytest.mark.parametrize('planned, end, warned', [(1, 1, True), (1, 2, False), (1, 10**9, False), (2, 1, False)])
def test_a_resumed_run_says_if_the_schedule_of_its_checkpoint_is_over(planned, end, warned, trained, shapes, tmp_path):
    checkpoint = torch.load(trained[0] / 'epoch_2.pth', weights_only=False)
    checkpoint['meta']['epoch'], checkpoint['meta']['iter'] = 1, 3
    checkpoint['message_hub']['runtime_info']['max_iters'] = planned * 3
    for scheduler in checkpoint['param_schedulers']:
        scheduler['end'] = end * (1 if scheduler['by_epoch'] else 3)
    torch.save(checkpoint, tmp_path / 'mine.pth')
    train(load_config(DEMO, options(shapes, tmp_path / 'work')), resume=str(tmp_path / 'mine.pth'))
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    says = 'the learning rate schedule of the checkpoint ends after 1 epochs, and training goes on to epoch 2 with'
    assert (says in log) == warned
