"""Training and testing a config: what tools/train.py and tools/test.py call."""
import inspect
import os
import shlex
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Iterator, Optional

import torch
from mmcv.ops import get_compiling_cuda_version
from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmdet.registry import RUNNERS
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint
from torch.utils.data import Dataset

from ..checkpoint import check_fits, pretrained_of, read_checkpoint
from ..datasets.checks import check_datasets, evaluators_of, is_classification
from ..errors import UserError, examples
from ..evaluation.coco_metric import OfficialCocoMetric
from ..evaluation.coco_results import DumpCocoResults
from ..files import check_writable
from ..models import EConvNeXt
from .hooks import CocoTableHook


def load_config(path: str, cfg_options: Optional[dict] = None, work_dir: Optional[str] = None,
                launcher: str = 'none') -> Config:
    """Read a config and merge what the command line says.

    Args:
        path (str): The config file.
        cfg_options (dict, optional): Settings by dotted name. Defaults to None.
        work_dir (str, optional): Defaults to None: the config's own, else ``work_dirs/`` and the config's name.
        launcher (str): mmengine's launcher: 'none', 'pytorch', 'slurm' or 'mpi'. Defaults to 'none'.

    Returns:
        Config: The config.

    Raises:
        UserError: The file is missing or no config, or an option does not fit it.
    """
    if not Path(path).is_file():
        raise UserError(f'no config file {path}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program of the user's: anything may go wrong in it
        raise UserError(f'cannot read the config {path}: {type(error).__name__}: {error}') from error
    # A new name at the top of a config is merged without a word, and one that is misspelt has no reader.
    known = {*cfg, *inspect.signature(Runner).parameters, 'tta_model', 'tta_pipeline'}
    for name in {key.partition('.')[0] for key in cfg_options or {}} - known:
        for similar in get_close_matches(name, known, n=1, cutoff=0.8):
            raise UserError(f"--cfg-options: {path} has no setting '{name}'; did you mean '{similar}'?")
    try:
        cfg.merge_from_dict(cfg_options or {})
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise UserError(f'--cfg-options does not fit {path}: {error}') from error
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return cfg


def train(cfg: Config, amp: bool = False, auto_scale_lr: bool = False, resume: Optional[str] = None,
          pretrained: Optional[str] = None) -> None:
    """Train a config's detector or classifier, evaluate it, and log the COCO table and where the checkpoint lies.

    Args:
        cfg (Config): The config, of :func:`load_config`.
        amp (bool): Train in mixed precision. Defaults to False.
        auto_scale_lr (bool): Scale the learning rate to the batch by the config's ``auto_scale_lr``. Defaults
            to False.
        resume (str, optional): A checkpoint to go on from, or 'auto' for the last one in the work directory.
            Defaults to None.
        pretrained (str, optional): A checkpoint to start the backbone from, strictly. Defaults to None.

    Raises:
        UserError: Something that the user can mend; training has not begun, but for an image that proves
            unreadable when it is its turn.
    """
    set_precision(cfg, amp)
    if auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config, the batch of all '
                            'GPUs together that its learning rate is meant for')
        cfg.auto_scale_lr.enable = True
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
        if cfg.load_from:
            read_checkpoint(cfg.load_from)
    if pretrained is not None:
        _start_from(cfg, pretrained)
    _check_held(cfg)
    with errors_of_the_user():
        _check(cfg, ['train', 'val'] if cfg.get('val_cfg') is not None else ['train'])  # MMPretrain's is empty
        runner = _build_runner(cfg)
        runner.train()


def set_precision(cfg: Config, amp: bool) -> None:
    """Turn on mixed precision where it is asked for.

    Raises:
        UserError: That, or the config, asks for it, and there is no GPU.
    """
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if 'Amp' in getattr(wrapper, '__name__', wrapper) and not torch.cuda.is_available():
        raise UserError('--amp needs a GPU, and PyTorch sees none here; train without it')


def test(cfg: Config, checkpoint: str, out: Optional[str] = None, show: bool = False, show_dir: Optional[str] = None,
         wait_time: float = 2, tta: bool = False) -> dict:
    """Evaluate a checkpoint and log the metrics, a detector's as the COCO table.

    Args:
        cfg (Config): The config, of :func:`load_config`.
        checkpoint (str): The checkpoint of its detector or classifier.
        out (str, optional): A file for the predictions: ``.pkl`` as mmdet's and mmpretrain's, ``.json`` of
            detections in COCO's results format. Defaults to None.
        show (bool): Show each image with its predictions in a window. Defaults to False.
        show_dir (str, optional): A folder for pictures: a detector's of ground truth and detections, side by side.
            Defaults to None.
        wait_time (float): Seconds that ``show`` shows an image. Defaults to 2.
        tta (bool): Test-time augmentation, by the config's ``tta_model`` and ``tta_pipeline`` or by flipping.
            Defaults to False.

    Returns:
        dict: The metrics.

    Raises:
        UserError: Something that the user can mend.
    """
    if out is not None:
        if Path(out).suffix not in ('.pkl', '.pickle', '.json'):
            raise UserError(f'--out writes .pkl (as MMDetection and MMPretrain) or .json (COCO results); got {out}')
        check_writable(out)
    state, meta = read_checkpoint(checkpoint)
    cfg.load_from = checkpoint
    if show or show_dir:
        _visualize(cfg, show, show_dir and os.path.abspath(show_dir), wait_time)
    if tta:
        _augment(cfg)
    with errors_of_the_user():
        _check(cfg, ['test'])
        runner = _build_runner(cfg)
        # mmengine loads what matches and warns about the rest, which ends in a silent mAP of 0.
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        check_fits(model, state, checkpoint)
        if is_classification(cfg):
            _check_classes(runner.test_dataloader.dataset, meta, checkpoint)
        if out is not None:
            metrics = runner.test_evaluator.metrics
            metrics.append(_dump(out, runner.test_dataloader.dataset, metrics))
        return runner.test()


def _check_classes(dataset: Dataset, meta: dict, checkpoint: str) -> None:
    """Check that a dataset of folders numbers the classes as the one that a classifier was trained on."""
    trained = (meta.get('dataset_meta') or {}).get('classes')
    tested = getattr(dataset, 'metainfo', {}).get('classes')
    if trained and tested and list(trained) != list(tested):
        raise UserError(f'{checkpoint} was trained on the classes {examples(trained, most=5)}, and the test set has '
                        f'{examples(tested, most=5)}; folders are numbered by their names, so the labels would not be '
                        'the same')


def _visualize(cfg: Config, show: bool, show_dir: Optional[str], wait_time: float) -> None:
    """Turn on the hook that draws predictions."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise UserError('--show and --show-dir need default_hooks.visualization in the config, as in '
                        'mmdet::_base_/default_runtime.py')
    if is_classification(cfg):
        hook.update(enable=True, interval=1, show=show, out_dir=show_dir, wait_time=wait_time)
    else:
        trigger_visualization_hook(cfg, ConfigDict(show=show, show_dir=show_dir, wait_time=wait_time))


def _dump(out: str, dataset: Dataset, metrics: list) -> DumpDetResults:
    """The metric that writes detections, beside others, to a file of the format that its name ends in."""
    if Path(out).suffix != '.json':
        return DumpDetResults(out)
    if not hasattr(dataset, 'cat_ids'):
        raise UserError(f'--out {out} writes COCO results, and the test set is a {type(dataset).__name__} without '
                        "COCO's category ids; write a .pkl")
    classes = dataset.metainfo['classes']
    for metric in metrics:
        if isinstance(metric, OfficialCocoMetric) and len(classes) < len(metric.evaluator.categories):
            print_log(f'the annotation file has classes that the model does not know: evaluate {out} with --classes '
                      + ' '.join(map(shlex.quote, classes)), logger='current')
    return DumpCocoResults(out, dataset.cat_ids)


def _start_from(cfg: Config, pretrained: str) -> None:
    """Have the backbone start from a checkpoint."""
    backbone = cfg.model.get('backbone') or {}
    if not _is_ours(backbone):
        raise UserError(f'--pretrained starts an EConvNeXt backbone, and this config\'s is {backbone.get("type")}; '
                        'set its model.backbone.init_cfg instead')
    read_checkpoint(pretrained)  # an unreadable file is an error before the config is printed
    backbone.init_cfg = dict(type='Pretrained', checkpoint=pretrained)


def _is_ours(backbone: dict) -> bool:
    kind = backbone.get('type')
    return kind is EConvNeXt or isinstance(kind, str) and kind.rpartition('.')[2] == 'EConvNeXt'


def _check_held(cfg: Config) -> None:
    """Check that what training holds as it is has been trained before."""
    backbone = cfg.model.get('backbone') or {}
    held = [name for name, default in (('frozen_stages', -1), ('norm_eval', False))
            if backbone.get(name, default) != default]
    starts = cfg.get('load_from') or cfg.get('resume') and find_latest_checkpoint(cfg.work_dir) or any(
        pretrained_of(part.get('init_cfg')) for part in (backbone, cfg.model))
    if _is_ours(backbone) and held and not starts:
        raise UserError(f'{" and ".join(held)} of the backbone would hold weights or statistics that nothing has '
                        'trained; give a checkpoint with --pretrained, in the backbone\'s init_cfg or in load_from')


def _check(cfg: Config, splits: list) -> None:
    """Check launcher, operators and data; of several processes the first checks the data for all."""
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        raise UserError(f'--launcher {cfg.launcher} gives each process a GPU, and PyTorch sees none here; leave it '
                        'out to run on the CPU')
    if torch.cuda.is_available() and get_compiling_cuda_version() == 'not available':
        raise UserError('PyTorch sees a GPU, but mmcv was built with operators for the CPU only: set '
                        'CUDA_VISIBLE_DEVICES= to use the CPU, or build mmcv with nvcc')
    # A task of Slurm's that is no process of one training has a rank too, and data of its own.
    if cfg.launcher == 'none' or int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) == 0:
        check_datasets(cfg, splits)


def _build_runner(cfg: Config) -> Runner:
    runner = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    runner.register_hook(CocoTableHook(), priority='VERY_LOW')
    return runner


def _augment(cfg: Config) -> None:
    """Turn on test-time augmentation: as the config has it, else both flips, detections merged by NMS."""
    if any('segm' in evaluator.get('metric', ()) for evaluator in evaluators_of(cfg, 'test')):
        raise UserError("--tta merges boxes and drops masks, and this config's evaluator evaluates masks; set "
                        'test_evaluator.metric=bbox to test the boxes alone')
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='AverageClsScoreTTA') if is_classification(cfg) else dict(
            type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'pipeline' not in dataset:
        raise UserError(f'--tta changes the pipeline of the test set, and a {dataset.type} has none of its own')
    if 'tta_pipeline' not in cfg:
        *load, pack = deepcopy(dataset.pipeline)
        if not is_classification(cfg):
            pack.meta_keys = (*pack.get('meta_keys', ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
                              'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)]
        # The ground truth is in the coordinates of the original image, which a flip would take for its own.
        truth = [step for step in load if step['type'] == 'LoadAnnotations']
        steps = [flips, *([step] for step in truth), [pack]]
        cfg.tta_pipeline = [*(step for step in load if step not in truth),
                            dict(type='TestTimeAug', transforms=steps)]
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


@contextmanager
def errors_of_the_user() -> Iterator[None]:
    """Give the errors that the libraries raise on a user's mistake a sentence of their own."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = str(error)
        # The loader of images names the file; a worker process wraps that in its traceback, at whose end it stands.
        _, found, image = text.rpartition('failed to load image: ')
        if found:
            raise UserError(f'{image.strip()} is not a readable image: its content is damaged or of an unknown '
                            'format. Replace it, or take it out of the data set.') from error
        if '`epoch_length` must be a positive' in text:
            raise UserError('the training set has fewer images than a batch, and an incomplete one is dropped; set '
                            'train_dataloader.batch_size') from error
        if 'Expected more than 1 value per channel when training' in text:
            raise UserError('a batch has one image, from which BatchNorm learns nothing; set '
                            'train_dataloader.drop_last=True or another batch_size') from error
        if isinstance(error, TypeError) and '__init__() got an unexpected keyword argument' in text:
            raise UserError(f'the config has a setting that its type does not have: {text}') from error
        if isinstance(error, KeyError) and 'is not in the' in text:
            raise UserError(f'the config names what no registry has: {error.args[0]}') from error
        raise
