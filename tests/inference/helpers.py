"""What the tests of inference share. Fixtures are in conftest.py."""

import json

import cv2

CLASSES = ('circle', 'square', 'triangle', 'star')


def read_output(out):
    """Read an output folder: the results by path and frame, and the content of images.json."""
    meta = json.loads((out / 'images.json').read_text())
    found = {image['id']: [] for image in meta['images']}
    assert len(found) == len(meta['images'])
    for entry in json.loads((out / 'results.json').read_text()):
        found[entry['image_id']].append(entry)
    return {(image['file_name'], image.get('frame_id')): found[image['id']] for image in meta['images']}, meta


def pictures_in(out):
    """The names of the pictures in an output folder."""
    folder = out / 'pictures'
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def write_video(path, images, fps=5, codec='MJPG'):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, images[0].shape[1::-1])
    for image in images:
        writer.write(image)
    writer.release()
