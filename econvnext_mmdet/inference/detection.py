"""Detection in images and videos, for tools/infer.py."""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config
from rich.progress import Progress

from ..deploy.runtime import is_exported
from ..evaluation.coco_eval import coco_entries
from ..evaluation.coco_format import check_annotations
from ..utils.config import explain_user_errors, files_in, is_classification
from ..utils.errors import UserError, errors_in
from ..utils.files import check_not_read, load_json, number_of_pages, whole_file, write_json
from ..utils.model import has_cuda_operators
from ..utils.progress import progress_bar
from .inferencer import Item, StrictInferencer
from .inputs import find_files, is_video, picture_paths

MISSING_FRAMES = 0.1  # of a short video, and at most those of one second, that may be missing without a word


@dataclass(frozen=True)
class DetectionOptions:
    """The options of :func:`detect`.

    Attributes:
        out: The output folder. Existing files with the same names are replaced. Defaults to 'inference'.
        annotations: A COCO annotation file with the input images and the classes of the model. The results use its
            image and category ids. Defaults to None: images are numbered from 1 in the order of processing, and
            categories from 1 in the order of the model.
        score_thr: Detections above this score are drawn. Defaults to 0.3.
        classes: The classes to keep. Defaults to None: all.
        batch_size: The number of images per batch. Defaults to 1.
        device: PyTorch's name of the device. Defaults to None: 'cuda:0' if there is a GPU, or else 'cpu'.
        pictures: Draw the detections. Defaults to True.

    Raises:
        UserError: The batch size or the score threshold is out of range.
    """

    out: str = 'inference'
    annotations: str | None = None
    score_thr: float = 0.3
    classes: Sequence[str] | None = None
    batch_size: int = 1
    device: str | None = None
    pictures: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f'the batch size must be 1 or more; got {self.batch_size}')
        if not 0 <= self.score_thr <= 1:
            raise UserError(f'the score threshold must be from 0 to 1; got {self.score_thr}')


@dataclass
class DetectionSummary:
    """The summary of a call of :func:`detect`.

    Attributes:
        images: The number of processed images.
        frames: The number of processed frames of videos.
        detections: The number of detections in the results.
        above: The number of detections above the score threshold.
        skipped: One sentence for each file that was skipped or processed only in part. It has the path and the reason.
    """

    images: int = 0
    frames: int = 0
    detections: int = 0
    above: int = 0
    skipped: list[str] = field(default_factory=list)


def detect(
    cfg: Config, checkpoint: str, inputs: Sequence[str], options: DetectionOptions | None = None
) -> DetectionSummary:
    """Detect objects in images and videos. The detections are those of MMDetection's ``DetInferencer``.

    The output folder then contains:

    - ``results.json``: all detections in COCO's results format.
    - ``images.json``: what the ids in the results stand for, as ``images`` and ``categories`` in COCO's format. A
      frame of a video also has a ``frame_id``, which starts at 0.
    - ``pictures/``: each input with its detections drawn, in the same subfolders as the inputs have below their common
      parent folder. A video is drawn as an .mp4 file. Its codec needs an even width and height, so an odd width or
      height loses one pixel.

    A file that cannot be read is skipped. If a video ends early, the frames before its end are processed.

    Args:
        cfg: The config, from :func:`~econvnext_mmdet.utils.config.load_config`.
        checkpoint: The checkpoint of the detector, which must fit the config, or a file that was exported from it.
        inputs: Images, videos, folders and glob patterns; see :func:`find_files`.
        options: The options. Defaults to None: the defaults of :class:`DetectionOptions`.

    Returns:
        The numbers of processed images and detections, and the skipped files.

    Raises:
        UserError: A mistake that the user can fix. It is raised before detection starts, except for a missing video
            codec.
    """
    options = options or DetectionOptions()
    if is_classification(cfg):
        raise UserError(
            "expected the config of a detector, got the config of a classifier; use MMPretrain's "
            'ImageClassificationInferencer with this config and its checkpoint'
        )
    folder = Path(options.out)
    files, unread = find_files(inputs, exclude=str(folder / 'pictures'))
    drawn = picture_paths(folder, files) if options.pictures else {}
    annotations = _Annotations(options.annotations) if options.annotations else None
    read = [checkpoint, *files_in(cfg), *files, *filter(None, [options.annotations])]
    for name in ('results.json', 'images.json'):
        check_not_read(folder / name, *read)
    image_ids = annotations.image_ids(files) if annotations else None
    with explain_user_errors():
        device = _choose_device(options.device, is_exported(checkpoint))
        inferencer = StrictInferencer(cfg, checkpoint, device, options.classes)
    category_ids = annotations.category_ids(inferencer) if annotations else list(range(1, len(inferencer.names) + 1))
    _prepare_folder(options.out)
    summary = DetectionSummary(skipped=unread)
    with (
        whole_file(folder / 'results.json') as part,
        open(part, 'w', encoding='utf-8') as file,
        progress_bar() as progress,
    ):
        results = _ResultsWriter(file, summary, options.score_thr, category_ids, image_ids)
        detection = _Detection(inferencer, options, drawn, results, summary, progress, annotations)
        detection.run_images([path for path in files if not is_video(path)])
        for path in filter(is_video, files):
            detection.run_video(path)
        results.close()
        categories = [dict(id=category_ids[label], name=inferencer.names[label]) for label in inferencer.kept]
        write_json(str(folder / 'images.json'), dict(images=results.images, categories=categories))
    return summary


class _ResultsWriter:
    """Writes detections into the open results file one by one, because there may be millions of them.

    Args:
        file: The open results file.
        summary: The summary, whose counts it keeps up to date.
        score_thr: The score threshold, for the count of the detections above it.
        category_ids: The category id of each label.
        image_ids: The image id of each path. Defaults to None: images are numbered from 1.

    Attributes:
        images: The images so far, in COCO's format.
    """

    def __init__(
        self,
        file: TextIO,
        summary: DetectionSummary,
        score_thr: float,
        category_ids: Sequence[int],
        image_ids: dict[str, int] | None = None,
    ):
        self._file, self._summary, self._score_thr = file, summary, score_thr
        self._category_ids, self._image_ids = category_ids, image_ids
        self.images: list[dict] = []
        file.write('[')

    def add(self, item: Item, found: dict) -> None:
        """Add the detections of an image or a frame, in the format of MMDetection's ``pred2dict``."""
        image_id = self._image_ids[item.path] if self._image_ids else len(self.images) + 1
        image: dict[str, Any] = dict(id=image_id, file_name=item.path, width=item.shape[1], height=item.shape[0])
        if item.frame is None:
            self._summary.images += 1
        else:
            self._summary.frames += 1
            image['frame_id'] = item.frame
        self.images.append(image)
        found.update({key: np.array(found[key]) for key in ('labels', 'bboxes', 'scores')})
        for entry in coco_entries(image_id, found, self._category_ids):
            self._file.write((',\n' if self._summary.detections else '\n') + json.dumps(entry))
            self._summary.detections += 1
            self._summary.above += entry['score'] > self._score_thr

    def close(self) -> None:
        """Write the end of the list."""
        self._file.write('\n]\n')


class _Detection:
    """Runs the model on files, and passes the detections to the results and to the pictures.

    Args:
        inferencer: The model.
        options: The options.
        drawn: The path of the picture for each input. Not used without pictures.
        results: The writer of the detections.
        summary: The summary, which gets the skipped files.
        progress: The progress bar.
        annotations: The annotation file whose ids the results use, or None.
    """

    def __init__(
        self,
        inferencer: StrictInferencer,
        options: DetectionOptions,
        drawn: dict[str, Path],
        results: _ResultsWriter,
        summary: DetectionSummary,
        progress: Progress,
        annotations: '_Annotations | None',
    ):
        self._inferencer, self._options, self._drawn = inferencer, options, drawn
        self._results, self._summary, self._progress = results, summary, progress
        self._annotations = annotations

    def run_images(self, paths: Sequence[str]) -> None:
        """Detect in images, and draw them."""
        tracked = self._progress.track(paths, description='images') if paths else ()
        for path, picture in self._run(self._load_images(tracked)):
            if picture is not None:
                mmcv.imwrite(picture, str(self._drawn[path]))

    def run_video(self, path: str) -> None:
        """Detect in the frames of a video, and draw them as a video."""
        with mmcv.VideoReader(path, cache_capacity=1) as reader:
            announced, before = reader.frame_cnt, self._summary.frames
            fps = reader.fps if reader.fps > 0 else 25
            # rich would use len() of the reader, which is negative if the length is unknown. A generator has no len().
            frames = self._progress.track(
                (frame for frame in reader),
                total=announced if announced > 0 else None,
                description=os.path.basename(path),
            )
            found = self._run(self._load_frames(path, frames))
            pictures = (picture for _, picture in found if picture is not None)
            if self._options.pictures:
                _write_video(self._drawn[path], fps, pictures)
            else:
                deque(pictures, maxlen=0)  # runs through all frames
            done = self._summary.frames - before
            # A small difference is not reported, because some containers do not count their frames: they announce an
            # estimate from the duration.
            if not done:
                self._summary.skipped.append(
                    f'{path} is not a readable video: the file is damaged or in an unknown format'
                )
            elif announced - done > min(fps, MISSING_FRAMES * announced):
                self._summary.skipped.append(
                    f'{path} ends early, after {done} of {announced} frames; the results include these {done} frames'
                )

    def _run(self, items: Iterable[Item]) -> Iterator[tuple[str, np.ndarray | None]]:
        """Write the detections of each item, and yield its path and its picture (BGR, or None without pictures)."""
        options = self._options
        for item, sample in self._inferencer.predict(items, options.batch_size):
            self._results.add(item, self._inferencer.pred2dict(sample))
            yield item.path, self._inferencer.draw(item, sample, options.score_thr) if options.pictures else None

    def _load_images(self, paths: Iterable[str]) -> Iterator[Item]:
        """Load images. Unreadable images are skipped."""
        for path in paths:
            try:
                shape, data, dark = self._inferencer.load(path)
                if self._annotations:
                    self._annotations.check_shape(path, shape)
            except UserError as error:
                self._summary.skipped.append(str(error))
                continue
            pages = number_of_pages(path)
            if pages > 1:
                self._summary.skipped.append(f'{path} has {pages} pages, and the results include the first one')
            if dark:
                self._summary.skipped.append(
                    f'{path} has 16 bits and is nearly black, because the loader keeps the upper 8 bits; scale it to '
                    'all 16'
                )
            yield Item(path, shape, data)

    def _load_frames(self, path: str, frames: Iterable[np.ndarray]) -> Iterator[Item]:
        for number, frame in enumerate(frames):
            shape, data, _ = self._inferencer.load(frame)
            yield Item(path, shape, data, number, frame)


def _write_video(path: Path, fps: float, pictures: Iterable[np.ndarray]) -> None:
    """Write pictures (BGR) as a video. If there are none, no file is written."""
    with whole_file(path) as part:
        writer = None
        try:
            for picture in pictures:
                if writer is None:
                    part.parent.mkdir(parents=True, exist_ok=True)
                    writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*'mp4v'), fps, picture.shape[1::-1])
                    if not writer.isOpened():
                        raise UserError(
                            f'cannot write the video {path}: this OpenCV has no codec for it. Use --no-pictures to '
                            'detect without drawing.'
                        )
                writer.write(picture)
        finally:
            if writer is not None:
                writer.release()


def _prepare_folder(path: str) -> None:
    """Create the output folder. Remove results of an earlier run, which could be mistaken for the results of this run.

    Raises:
        UserError: The folder cannot be written.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        for name in ('results.json', 'images.json'):
            (Path(path) / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f'cannot write into the folder {path}: {error.strerror}') from error


def _choose_device(device: str | None, exported: bool) -> str:
    """Choose the first GPU, or else the CPU, unless a device is given. An exported file runs on the CPU.

    Raises:
        UserError: The device is not available, or the exported file or MMCV cannot use it.
    """
    if exported:
        if device not in (None, 'cpu'):
            raise UserError(f'an exported file runs on the CPU; leave out --device, or use --device cpu; got {device}')
        return 'cpu'
    device = device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        torch.zeros(1, device=device).item()  # the device meta has no values
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'the device {device} is not available: {str(error).splitlines()[0]}; leave out --device to use the '
            'first GPU, or the CPU if there is no GPU'
        ) from error
    if device.startswith('cuda') and not has_cuda_operators():
        raise UserError(
            f'MMCV was built with operators for the CPU only, which do not run on {device}; use --device cpu, or '
            'build MMCV with nvcc'
        )
    return device


class _Annotations:
    """A COCO annotation file whose image and category ids the results use.

    Args:
        path: The file.

    Raises:
        UserError: The file cannot be read or is malformed.
    """

    def __init__(self, path: str):
        self._path, self._coco = path, load_json(path, dict)
        with errors_in(path):
            check_annotations(self._coco)
        self._images: dict[str, dict] = {}  # by the path of the input
        self._known: dict[str, dict] = {}
        for image in self._coco['images']:
            other = self._known.setdefault(os.path.normpath(image['file_name']), image)
            if other is not image:
                raise UserError(
                    f'{path} lists the image {image["file_name"]} with the ids {other["id"]} and {image["id"]}; remove '
                    'one of the entries'
                )

    def image_ids(self, files: Sequence[str]) -> dict[str, int]:
        """The image id of each file.

        A file belongs to the entry whose ``file_name`` equals the end of the file's path. If several entries match, the
        longest ``file_name`` counts.

        Raises:
            UserError: A file has no entry, or two files have the same entry.
        """
        used: dict[str, str] = {}
        for path in files:
            parts = Path(os.path.abspath(path)).parts
            ends = (os.path.join(*parts[i:]) for i in range(len(parts)))
            name = next((end for end in ends if end in self._known), None)
            if name is None:
                raise UserError(
                    f'{self._path} has no image {path}; leave out --annotations, or give only images that it has'
                )
            if name in used:
                raise UserError(
                    f'{path} and {used[name]} both belong to the image {name} in {self._path}; give one of them'
                )
            self._images[path], used[name] = self._known[name], path
        return {path: image['id'] for path, image in self._images.items()}

    def check_shape(self, path: str, shape: tuple[int, int]) -> None:
        """Check that an input has the size that the file says. Its detections would be in other pixels.

        Args:
            path: The input.
            shape: Its height and width in pixels.

        Raises:
            UserError: It has another size.
        """
        image = self._images[path]
        if (image['height'], image['width']) != shape:
            raise UserError(
                f'{path} has {shape[1]} x {shape[0]} pixels, and {self._path} says {image["width"]} x {image["height"]}'
            )

    def category_ids(self, inferencer: StrictInferencer) -> list[int]:
        """The category id of each label of the model. It is -1 for a class that is not kept and not in the file.

        Raises:
            UserError: The file lacks a class that is kept.
        """
        known = {category['name']: category['id'] for category in self._coco['categories']}
        absent = [inferencer.names[label] for label in inferencer.kept if inferencer.names[label] not in known]
        if absent:
            raise UserError(
                f'{self._path} lacks the classes {", ".join(absent)} of the model; the categories of the file are '
                f'{", ".join(known)}. Leave out --annotations, or use --classes to keep only classes that the file has.'
            )
        return [known.get(name, -1) for name in inferencer.names]
