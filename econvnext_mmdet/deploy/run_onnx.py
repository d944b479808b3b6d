"""Run an exported model on images. This file stands alone: it needs onnxruntime, NumPy, OpenCV and Pillow."""

import argparse
import json
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
    pillow, way = info['backend'] == 'pillow', info['interpolation']
    kind = Image.Resampling[way.upper()] if pillow else dict(nearest=0, bilinear=1, bicubic=2, area=3)[way]
    image = np.asarray(Image.fromarray(image).resize(to, kind)) if pillow else cv2.resize(image, to, interpolation=kind)
    top, left = (max(round((image.shape[i] - size[i]) / 2), 0) for i in (0, 1))
    return image[top : top + size[0], left : left + size[1]] if crop else image


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', help='the .onnx file that tools/export.py wrote')
    parser.add_argument('images', nargs='+', metavar='image', help='image file')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        session = onnxruntime.InferenceSession(args.model, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime's exceptions have no common base
        sys.exit(f'error: cannot open {args.model}: {error}')
    info = dict(session.get_modelmeta().custom_metadata_map)
    if info.get('producer') != 'econvnext_mmdet' or info['task'] not in ('detect', 'segment', 'classify'):
        sys.exit(f'error: {args.model} is not a detector or classifier that tools/export.py wrote')
    info.update((key, json.loads(info[key])) for key in ('names', 'imgsz', 'short_side'))
    outputs, unreadable = [output.name for output in session.get_outputs()], []
    for path in args.images:
        if (image := cv2.imread(path)) is None:
            unreadable.append(path)
            continue
        resized = resize(image, info)
        found = dict(zip(outputs, session.run(None, {'images': resized.transpose(2, 0, 1)[None].copy()})))
        if info['task'] == 'classify':
            print(path, info['names'][str(found['scores'][0].argmax())], f'{found["scores"][0].max():.3f}')
        scale = np.tile(np.divide(resized.shape[1::-1], image.shape[1::-1]), 2)
        for i in range(found.get('num_dets', [0])[0]):
            label, score, box = (found[key][0, i] for key in ('labels', 'scores', 'boxes'))
            print(path, info['names'][str(label)], f'{score:.3f}', *(f'{side:.1f}' for side in box / scale))
    sys.exit(f'error: not a readable image: {", ".join(unreadable)}' if unreadable else 0)


if __name__ == '__main__':
    main()
