"""A small copy of Pascal VOC's development kit."""

from pathlib import Path

import cv2
import numpy as np

OBJECT = (
    '<object><name>{0}</name><difficult>{5}</difficult>'
    '<bndbox><xmin>{1}</xmin><ymin>{2}</ymin><xmax>{3}</xmax><ymax>{4}</ymax></bndbox></object>'
)
SPLITS = dict(VOC2007=('trainval', 'test'), VOC2012=('trainval',))


def write_xml(path, *objects, size=(128, 96)):
    """Write an annotation file. An object is a class, xmin, ymin, xmax, ymax and whether it is difficult (0 or 1)."""
    width, height = size
    body = ''.join(OBJECT.format(*item) for item in objects)
    path.write_text(f'<annotation><size><width>{width}</width><height>{height}</height></size>{body}</annotation>')


def make_voc(folder, pictures=3):
    """Draw pictures of 128 x 96 pixels for each split, with a cat, a dog and a difficult person in each.

    Args:
        folder: The folder for ``VOC2007`` and ``VOC2012``.
        pictures: The number of pictures of each split.
    """
    rng = np.random.default_rng(0)
    for year, splits in SPLITS.items():
        root = Path(folder) / year
        for part in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
            (root / part).mkdir(parents=True)
        for split in splits:
            names = [f'{split}_{i}' for i in range(pictures)]
            (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(names) + '\n')
            for name in names:
                image = rng.integers(0, 60, (96, 128, 3), np.uint8)
                objects = []
                for kind, left, colour in (('cat', 1, (0, 200, 0)), ('dog', 65, (0, 0, 200))):
                    x, y = left + int(rng.integers(20)), 1 + int(rng.integers(40))
                    cv2.rectangle(image, (x, y), (x + 40, y + 45), colour, -1)
                    objects.append((kind, x, y, x + 40, y + 45, 0))
                cv2.imwrite(str(root / 'JPEGImages' / f'{name}.jpg'), image)
                write_xml(root / 'Annotations' / f'{name}.xml', *objects, ('person', 1, 1, 60, 60, 1))
