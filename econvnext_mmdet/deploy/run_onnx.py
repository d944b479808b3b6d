"""Run an exported model on images. This file stands alone: it needs onnxruntime, NumPy, OpenCV and Pillow."""

import argparse
import io
import json
import os
import sys

import cv2
import numpy as np
import onnxruntime
from PIL import Image


def resize(image: np.ndarray, info: dict) -> np.ndarray:
    """Resize an image (H, W, 3) as the tests of the model do: fit, stretch, or scale the short side and crop."""
    (height, width), size, crop = image.shape[:2], info['imgsz'], info['resize'] == 'crop'
    scale = min(max(size) / max(height, width), min(size) / min(height, width))
    factor, by, half = (info['short_side'], min(height, width), 0) if crop else (scale, 1, 0.5)
    to = size[::-1] if info['resize'] == 'stretch' else [int(side * factor / by + half) for side in (width, height)]
    if min(to) < 1:
        raise ValueError(f'{width} x {height} pixels are too thin to be resized to {to[0]} x {to[1]}')
    pillow, way = info['backend'] == 'pillow', info['interpolation']
    kind = Image.Resampling[way.upper()] if pillow else dict(nearest=0, bilinear=1, bicubic=2, area=3, lanczos=4)[way]
    image = np.asarray(Image.fromarray(image).resize(to, kind)) if pillow else cv2.resize(image, to, interpolation=kind)
    top, left = (max(round((image.shape[i] - size[i]) / 2), 0) for i in (0, 1))
    return image[top : top + size[0], left : left + size[1]] if crop else image


def open_model(path: str) -> tuple[onnxruntime.InferenceSession, dict]:
    """Open a model, and read what it says about itself."""
    if not os.path.isfile(path):
        raise ValueError('there is no such file')
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    info = dict(session.get_modelmeta().custom_metadata_map)
    if info.get('producer') != 'econvnext_mmdet' or info['task'] not in ('detect', 'segment', 'classify'):
        raise ValueError('it is not a detector or classifier that tools/export.py wrote')
    info.update((key, json.loads(info[key])) for key in ('names', 'imgsz', 'short_side'))
    if info['resize'] not in ('fit', 'stretch', 'crop') or not 0 < max(info['imgsz']) <= 2**14:
        raise ValueError(f'it cannot {info["resize"]} images to {info["imgsz"]}')
    resize(np.zeros((64, 64, 3), np.uint8), info)  # fails if these values are wrong
    return session, info


def detect(session: onnxruntime.InferenceSession, info: dict, path: str) -> list[tuple]:
    """The name, the score and the box of each detection in an image, or of the best class, which has no box."""
    content = np.fromfile(path, np.uint8) if os.path.isfile(path) else np.empty(0, np.uint8)
    # OpenCV opens no file whose name is not UTF-8.
    if not len(content) or (image := cv2.imdecode(content, cv2.IMREAD_COLOR)) is None:
        raise ValueError('not a readable image')
    with Image.open(path) as file:
        file.load()  # raises an error where OpenCV takes the readable part of a damaged file
        pages = getattr(file, 'n_frames', 1)
        if pages > 1 and file.format != 'MPO':
            raise ValueError(f'it has {pages} pages; use a file with one')
    resized = resize(image, info)
    values = session.run(None, {'images': resized.transpose(2, 0, 1)[None].copy()})
    found = {output.name: value[0] for output, value in zip(session.get_outputs(), values)}
    if info['task'] == 'classify':
        labels, number = [found['scores'].argmax()], 1
        scores, boxes, right = found['scores'][labels], np.zeros((1, 0)), len(found['scores']) == len(info['names'])
    else:
        number = found['num_dets']
        labels, scores, boxes = (found[key][:number] for key in ('labels', 'scores', 'boxes'))
        right = boxes.shape == (number, 4) and np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all()
    if not right or not len(labels) == len(scores) == number or not ((scores >= 0) & (scores <= 1.001)).all():
        raise ValueError('the model gives other outputs than one that tools/export.py wrote')
    scale = np.tile(np.divide(resized.shape[1::-1], image.shape[1::-1]), 2)[: boxes.shape[1]]
    return [(info['names'][str(label)], score, box / scale) for label, score, box in zip(labels, scores, boxes)]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', help='the .onnx file that tools/export.py wrote')
    parser.add_argument('images', nargs='+', metavar='image', help='image file')
    return parser.parse_args()


def main() -> None:
    args, problems = parse_args(), []
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have characters that a terminal cannot show
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        session, info = open_model(args.model)
    except Exception as error:  # onnxruntime's exceptions have no common base
        sys.exit(f'error: cannot open {args.model}: {type(error).__name__}: {" ".join(str(error).split())}')
    for path in args.images:
        try:
            found = detect(session, info, path)
        except Exception as error:
            problems.append(f'error: {path}: {type(error).__name__}: {" ".join(str(error).split())}')
            continue
        for name, score, box in found:
            texts = (text if text.isprintable() else repr(text) for text in (path, str(name)))
            print(*texts, f'{score:.3f}', *(f'{side:.1f}' for side in box))
    sys.exit('\n'.join(problems) or 0)


if __name__ == '__main__':
    main()
