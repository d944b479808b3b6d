"""Detection in one's own images and videos: what tools/infer.py calls."""
import copy
import glob
import json
import os
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, TextIO, Tuple, Union

import cv2
import mmcv
import numpy as np
import torch
from mmcv.ops import get_compiling_cuda_version
from mmdet.apis import DetInferencer
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .checkpoint import check_fits, read_checkpoint
from .datasets.checks import is_classification
from .datasets.coco_format import check_annotations
from .engine.run import errors_of_the_user
from .errors import UserError
from .evaluation.coco_eval import coco_entries
from .files import load_json, whole_file, write_json
from .models.reparam import fold_branches
from .visualization import quiet_drawing

VIDEO_EXTENSIONS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv')


@dataclass
class Report:
    """What an inference did.

    Attributes:
        images (int): How many images are done.
        frames (int): How many frames of videos are done.
        detections (int): How many detections the results hold.
        above (int): How many of them are above the threshold.
        skipped (list[str]): A sentence for each file that is not done, or not to its end: its path and why.
    """
    images: int = 0
    frames: int = 0
    detections: int = 0
    above: int = 0
    skipped: List[str] = field(default_factory=list)


def infer(cfg: Config, checkpoint: str, inputs: Sequence[str], out: str = 'inference',
          annotations: Optional[str] = None, score_thr: float = 0.3, classes: Optional[Sequence[str]] = None,
          batch_size: int = 1, device: Optional[str] = None, pictures: bool = True) -> Report:
    """Detect in images and videos; the detections are those of mmdet's ``DetInferencer``.

    Writes into ``out``: ``results.json``, all detections in COCO's results format; ``images.json``, what its ids
    stand for, as COCO's ``images`` (frames of a video with ``frame_id``, from 0) and ``categories``; and
    ``pictures/``, each input with its detections drawn, laid out as the inputs are below the folder that they
    share. A video becomes an .mp4, less a pixel of an odd width or height, which its codec does not have.

    A file that cannot be read is skipped, and a video that breaks off is done as far as it goes.

    Args:
        cfg (Config): The config, of :func:`~econvnext_mmdet.engine.run.load_config`.
        checkpoint (str): The detector's checkpoint, which has to fit the config.
        inputs (Sequence[str]): Images, videos, folders and glob patterns, as :func:`find_files` takes them.
        out (str): The folder to write; files of the same names in it are replaced. Defaults to 'inference'.
        annotations (str, optional): A COCO annotation file with these images and classes, whose ids are used.
            Defaults to None: images count from 1 as they are done, categories from 1 in the model's order.
        score_thr (float): Detections above this score are drawn. Defaults to 0.3.
        classes (Sequence[str], optional): The classes to keep. Defaults to None: all.
        batch_size (int): Images at a time. Defaults to 1.
        device (str, optional): As PyTorch names it. Defaults to None: 'cuda:0' where there is a GPU, else 'cpu'.
        pictures (bool): Draw. Defaults to True.

    Returns:
        Report: What was done and what was skipped.

    Raises:
        UserError: Something that the user can mend; inference has not begun.
    """
    if batch_size < 1:
        raise UserError(f'the batch size is 1 or more; got {batch_size}')
    if not 0 <= score_thr <= 1:
        raise UserError(f'the score threshold is from 0 to 1; got {score_thr}')
    if is_classification(cfg):
        raise UserError("the config is a classifier's, and this detects objects; MMPretrain's "
                        'ImageClassificationInferencer takes the config and its checkpoint')
    folder = Path(out)
    files = find_files(inputs, apart_from=str(folder / 'pictures'))
    drawn = _picture_paths(folder, files) if pictures else {}
    coco = _load_annotations(annotations) if annotations else None
    image_ids = _image_ids(files, coco, annotations) if annotations else None
    with errors_of_the_user():
        inferencer = StrictInferencer(cfg, checkpoint, _check_device(device), classes)
    cat_ids = _category_ids(inferencer, coco, annotations)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ('results.json', 'images.json'):  # an earlier run's would pass for this one's
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f'cannot write into the folder {out}: {error.strerror}') from error
    # On stderr, as stdout is for the summary; where a bar cannot be redrawn there is none.
    console = Console(stderr=True)
    progress = Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                        console=console, disable=not console.is_terminal)
    report = Report()
    with whole_file(folder / 'results.json') as part, open(part, 'w', encoding='utf-8') as file, progress:
        results = _Results(file, report, score_thr, image_ids, cat_ids)

        def detect(items: Iterable[_Item]) -> Iterator[Tuple[str, Optional[np.ndarray]]]:
            for item, prediction in inferencer.predict(items, batch_size):
                results.add(item, inferencer.pred2dict(prediction))
                yield item.path, inferencer.draw(item, prediction, score_thr) if pictures else None

        images = [path for path in files if not _is_video(path)]
        tracked = progress.track(images, description='images') if images else ()
        for path, picture in detect(_load_images(inferencer, tracked, report.skipped)):
            if picture is not None:
                mmcv.imwrite(picture, str(drawn[path]))
        for path in filter(_is_video, files):
            with mmcv.VideoReader(path, cache_capacity=1) as reader:
                announced, before = reader.frame_cnt, report.frames
                fps = reader.fps if reader.fps > 0 else 25
                # A generator, as rich asks for a length, and that of a stream without one is negative.
                frames = progress.track((frame for frame in reader), total=announced if announced > 0 else None,
                                        description=os.path.basename(path))
                found = (picture for _, picture in detect(_load_frames(inferencer, path, frames)))
                if pictures:
                    _write_video(drawn[path], fps, found)
                else:
                    deque(found, maxlen=0)
                done = report.frames - before
                # Some containers do not count their frames: then the number is an estimate from their length.
                if not done:
                    report.skipped.append(f'{path} is not a readable video: damaged, or of an unknown format')
                elif announced - done > fps:
                    report.skipped.append(f'{path} breaks off after {done} of {announced} frames; those are done')
        results.close()
        categories = [dict(id=cat_ids[label], name=inferencer.names[label]) for label in inferencer.kept]
        write_json(str(folder / 'images.json'), dict(images=results.images, categories=categories))
    return report


def find_files(inputs: Sequence[str], apart_from: str = 'inference/pictures') -> List[str]:
    """The image and video files that inputs stand for, each once, in the order of the inputs.

    An input is a file, which is an image unless it has a video's ending; a folder, for the images in it and below;
    or a glob pattern, ``**`` for any depth, for the images and videos among its matches. Hidden files are in
    neither.

    Args:
        inputs (Sequence[str]): The inputs.
        apart_from (str): A folder that folders and patterns leave out: that of the pictures to draw, where an
            earlier run's may lie. Defaults to 'inference/pictures'.

    Returns:
        list[str]: The paths.

    Raises:
        UserError: An input is nothing of this.
    """
    files = {}
    apart_from = os.path.join(os.path.abspath(apart_from), '')
    for text in inputs:
        if os.path.isfile(text):
            found = [text]
        else:
            folder = os.path.isdir(text)
            pattern = os.path.join(glob.escape(text), '**', '*') if folder else text
            endings = IMG_EXTENSIONS if folder else IMG_EXTENSIONS + VIDEO_EXTENSIONS
            found = sorted(path for path in glob.glob(pattern, recursive=True) if path.lower().endswith(endings)
                           and os.path.isfile(path) and not os.path.abspath(path).startswith(apart_from))
        if not found:
            what = ('the folder has no images' if folder else
                    'no image or video matches the pattern' if glob.has_magic(text) else 'there is no such file')
            if (folder or glob.has_magic(text)) and os.path.isdir(apart_from):
                what += f', apart from those in {os.path.relpath(apart_from)}, where pictures are drawn'
            raise UserError(f'nothing to do for {text}: {what}. Give images ({" ".join(IMG_EXTENSIONS)}), videos '
                            f'({" ".join(VIDEO_EXTENSIONS)}), folders of images or glob patterns.')
        for path in found:
            files.setdefault(os.path.abspath(path), os.path.normpath(path))
    return list(files.values())


class StrictInferencer(DetInferencer):
    """mmdet's inferencer, which takes no checkpoint of another model and loads an image apart from the rest.

    Branches that training alone needs are folded or dropped.

    Args:
        cfg (Config): The config.
        checkpoint (str): The checkpoint.
        device (str): The device.
        classes (Sequence[str], optional): The classes to keep. Defaults to None: all.

    Raises:
        UserError: The checkpoint is unreadable or of another model, or the model has no such class.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str, classes: Optional[Sequence[str]] = None):
        self._state, self._path = read_checkpoint(checkpoint).state, checkpoint
        cfg = copy.deepcopy(cfg)
        # A visualizer is for drawing only: the config's may log to a service besides, or be left out.
        visualizer = cfg.get('visualizer') or dict(type='DetLocalVisualizer')
        cfg.visualizer = ConfigDict({**visualizer, 'vis_backends': None})
        super().__init__(cfg, checkpoint, device=device, show_progress=False)
        self.names = list(self.model.dataset_meta['classes'])
        unknown = [name for name in classes or () if name not in self.names]
        if unknown:
            raise UserError(f"the model has no class {', '.join(unknown)}; it has {', '.join(self.names)}")
        self.kept = [label for label, name in enumerate(self.names) if classes is None or name in classes]

    def _load_weights_to_model(self, model: torch.nn.Module, checkpoint: Optional[dict], cfg: Config) -> None:
        check_fits(model, self._state, self._path)
        del self._state
        super()._load_weights_to_model(model, checkpoint, cfg)
        fold_branches(model)

    def load(self, image: Union[str, np.ndarray]) -> Tuple[Tuple[int, int], dict]:
        """Load an image and prepare it for the model.

        Args:
            image (str | ndarray): Its path, or BGR (height, width, 3).

        Returns:
            tuple: Its (height, width) and the model's input.

        Raises:
            UserError: The file cannot be read, or the pipeline cannot scale it.
        """
        loader, *steps = self.pipeline.transforms
        try:
            data = loader(image)
        except Exception as error:  # of whatever kind its decoder raises; what comes after loading is not forgiven
            if not isinstance(image, str):
                raise
            raise UserError(f'{image} is not a readable image: {_reason(image, error)}') from error
        shape = data['ori_shape']
        try:
            for step in steps:
                data = step(data)
        except cv2.error as error:  # as a line of pixels, of which nothing is left when it is scaled down
            if not isinstance(image, str):
                raise
            raise UserError(f'{image}, of {shape[1]} x {shape[0]} pixels, cannot be prepared for the model: '
                            f'{error.err or error}') from error
        return shape, data

    def predict(self, items: 'Iterable[_Item]', batch_size: int) -> 'Iterator[Tuple[_Item, DetDataSample]]':
        """Detect in items by batches and give each with its detections of the classes to keep."""
        items = iter(items)
        while True:
            batch = list(islice(items, batch_size))
            if not batch:
                return
            for item, sample in zip(batch, self.forward(self.collate_fn([item.data for item in batch]))):
                found = sample.pred_instances
                if len(self.kept) < len(self.names):
                    sample.pred_instances = found[torch.isin(found.labels, found.labels.new_tensor(self.kept))]
                yield item, sample

    def draw(self, item: '_Item', sample: DetDataSample, score_thr: float) -> np.ndarray:
        """An item's image with the detections above a threshold, BGR."""
        # mmdet draws on arrays as if they were RGB, though the model takes them as BGR.
        image = item.path if item.image is None else item.image[..., ::-1]
        with quiet_drawing():
            return self.visualize([image], [sample], return_vis=True, pred_score_thr=score_thr)[0][..., ::-1]


@dataclass
class _Item:
    """An image, or a frame with its number and its pixels, and what the model gets of it."""
    path: str
    shape: Tuple[int, int]
    data: dict
    frame: Optional[int] = None
    image: Optional[np.ndarray] = None


class _Results:
    """Notes detections as they come: those go into the open file at once, for there may be millions."""

    def __init__(self, file: TextIO, report: Report, score_thr: float, image_ids: Optional[Dict[str, int]],
                 cat_ids: Sequence[Optional[int]]):
        self._file, self._report, self._score_thr = file, report, score_thr
        self._image_ids, self._cat_ids = image_ids, cat_ids
        self.images = []
        file.write('[')

    def add(self, item: _Item, found: dict) -> None:
        image_id = self._image_ids[item.path] if self._image_ids else len(self.images) + 1
        image = dict(id=image_id, file_name=item.path, width=item.shape[1], height=item.shape[0])
        if item.frame is None:
            self._report.images += 1
        else:
            self._report.frames += 1
            image['frame_id'] = item.frame
        self.images.append(image)
        found.update({key: np.array(found[key]) for key in ('labels', 'bboxes', 'scores')})
        for entry in coco_entries(image_id, found, self._cat_ids):
            self._file.write((',\n' if self._report.detections else '\n') + json.dumps(entry))
            self._report.detections += 1
            self._report.above += entry['score'] > self._score_thr

    def close(self) -> None:
        self._file.write('\n]\n')


def _load_images(inferencer: StrictInferencer, paths: Iterable[str], skipped: List[str]) -> Iterator[_Item]:
    for path in paths:
        try:
            shape, data = inferencer.load(path)
        except UserError as error:
            skipped.append(str(error))
        else:
            yield _Item(path, shape, data)


def _load_frames(inferencer: StrictInferencer, path: str, frames: Iterable[np.ndarray]) -> Iterator[_Item]:
    for number, frame in enumerate(frames):
        yield _Item(path, *inferencer.load(frame), number, frame)


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return 'the file is empty' if not os.path.getsize(path) else 'damaged, of an unknown format or too large'


def _is_video(path: str) -> bool:
    return path.lower().endswith(VIDEO_EXTENSIONS)


def _picture_paths(folder: Path, files: Sequence[str]) -> Dict[str, Path]:
    """Where each input is drawn: its place below the inputs' common folder, with an ending that can be written.

    Raises:
        UserError: Two would be the same file, or one an input.
    """
    inputs = {os.path.realpath(path) for path in files}
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in files])
    paths: Dict[Path, str] = {}
    for path in files:
        name = os.path.relpath(os.path.abspath(path), root)
        if _is_video(path):
            name += '' if name.lower().endswith('.mp4') else '.mp4'
        elif not name.lower().endswith(IMG_EXTENSIONS) or name.lower().endswith('.pgm'):  # which has no colour
            name += '.jpg'
        target = folder / 'pictures' / name
        if os.path.realpath(target) in inputs:
            raise UserError(f'the picture of {path} would be {target}, which is an input; give another folder to write')
        if target in paths:
            raise UserError(f'the pictures of {paths[target]} and {path} would both be {target}; give them apart')
        paths[target] = path
    return {path: target for target, path in paths.items()}


def _write_video(path: Path, fps: float, pictures: Iterable[np.ndarray]) -> None:
    """Write pictures (BGR) as a video, none without any."""
    with whole_file(path) as part:
        writer = None
        try:
            for picture in pictures:
                if writer is None:
                    part.parent.mkdir(parents=True, exist_ok=True)
                    writer = cv2.VideoWriter(str(part), cv2.VideoWriter_fourcc(*'mp4v'), fps, picture.shape[1::-1])
                    if not writer.isOpened():
                        raise UserError(f'cannot write the video {path}: this OpenCV has no codec for it. Leave the '
                                        'drawing out with --no-pictures.')
                writer.write(picture)
        finally:
            if writer is not None:
                writer.release()


def _check_device(device: Optional[str]) -> str:
    """The device, the first GPU or else the CPU where none is given, if this environment can use it."""
    device = device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'no device {device} here: {str(error).splitlines()[0]}; leave --device out to use what '
                        'there is') from error
    if device.startswith('cuda') and get_compiling_cuda_version() == 'not available':
        raise UserError(f'mmcv was built with operators for the CPU only, which do not run on {device}: use --device '
                        'cpu, or build mmcv with nvcc')
    return device


def _load_annotations(path: str) -> dict:
    coco = load_json(path, dict)
    try:
        check_annotations(coco, evaluated=True)
    except UserError as error:
        raise UserError(f'{path}: {error}') from None
    return coco


def _image_ids(files: Sequence[str], coco: dict, annotations: str) -> Dict[str, int]:
    """The annotation file's id of each file: of the entry whose file name is the longest end of its path."""
    known = {os.path.normpath(image['file_name']): image['id'] for image in coco['images']}
    ids, used = {}, {}
    for path in files:
        parts = Path(os.path.abspath(path)).parts
        names = (os.path.join(*parts[i:]) for i in range(len(parts)))
        name = next((name for name in names if name in known), None)
        if name is None:
            raise UserError(f'{annotations} has no image {path}; leave --annotations out, or give only images of its')
        if name in used:
            raise UserError(f'{path} and {used[name]} are both {name} of {annotations}; give one of them')
        ids[path], used[name] = known[name], path
    return ids


def _category_ids(inferencer: StrictInferencer, coco: Optional[dict], annotations: Optional[str]) -> list:
    """The category id of each of the model's labels; None for one to leave out that the file does not have."""
    if coco is None:
        return list(range(1, len(inferencer.names) + 1))
    known = {category['name']: category['id'] for category in coco['categories']}
    absent = [inferencer.names[label] for label in inferencer.kept if inferencer.names[label] not in known]
    if absent:
        raise UserError(f"{annotations} has no category {', '.join(absent)}, which the model has; it has "
                        f"{', '.join(known)}. Leave --annotations out, or keep only its classes with "
                        '--classes.')
    return [known.get(name) for name in inferencer.names]
