"""The tools as commands: their output, their errors and their exit status."""

import re
import runpy
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from econvnext_mmdet.engine.testing import test as run_test
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, ROOT, as_options, options, tool


@pytest.mark.parametrize(
    'args, says',
    [
        (['tools/train.py', 'configs/none.py'], 'error: no config file configs/none.py'),
        (
            ['tools/train.py', DEMO, '--cfg-options', 'train_dataloader.dataset.data_root=nowhere/'],
            'error: no annotation file nowhere/annotations/train.json',
        ),
        (['tools/test.py', DEMO, 'none.pth'], 'error: no checkpoint file none.pth'),
        (['tools/make_shapes.py', 'tests'], 'error: tests exists already'),
        (['tools/eval_coco.py', 'none.json', 'none.json'], 'error: cannot read none.json as JSON'),
        (
            ['tools/analysis_tools/analyze_results.py', 'none.json', 'none.json', '--out', 'tests'],
            'error: tests exists already',
        ),
        (['tools/dataset_converters/voc2coco.py', 'tests'], 'error: tests is not a Pascal VOC folder'),
    ],
)
def test_an_error_prints_one_line_and_gives_status_1(args, says):
    status, _, err = tool(*args)
    lines = [line for line in err.splitlines() if 'arning' not in line and line.strip()]
    assert status == 1 and len(lines) == 1 and lines[0].startswith(says)


def test_a_closed_pipe_is_not_an_error(shapes, tmp_path):
    (tmp_path / 'none.json').write_text('[]')
    command = f'{sys.executable} tools/eval_coco.py {shapes}/annotations/val.json {tmp_path}/none.json | true'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == 'note: 0 of the 6 images of the annotation file have detections\n'


def test_an_output_that_cannot_be_written_is_an_error_before_the_work(shapes, tmp_path):
    (tmp_path / 'none.json').write_text('[]')
    status, out, err = tool(
        'tools/eval_coco.py', shapes / 'annotations' / 'val.json', tmp_path / 'none.json', '--json', tmp_path
    )
    assert (status, out, err) == (1, '', f'error: {tmp_path}: Is a directory\n')


def test_check_dataset_refuses_the_settings_that_training_refuses(shapes, tmp_path, monkeypatch, capsys):
    changes = {**options(shapes, tmp_path), 'default_hooks.checkpoint.save_best': 'bbox_mAP'}
    monkeypatch.setattr(sys, 'argv', ['check_dataset.py', DEMO, '--annotations-only', *as_options(changes)])
    with pytest.raises(UserError, match="did you mean 'coco/bbox_mAP'"):
        runpy.run_path(str(ROOT / 'tools' / 'check_dataset.py'))['main']()
    assert '12 images' in capsys.readouterr().out  # what is known of the data is printed


@pytest.mark.parametrize('option, name', [('--json', 'annotations/val.json'), ('--picture', 'val/000002.jpg')])
def test_check_dataset_replaces_no_file_of_the_data(option, name, shapes, tmp_path, monkeypatch):
    data = shutil.copytree(shapes, tmp_path / 'shapes')
    file = data / name
    content = file.read_bytes()
    changes = as_options(options(data, tmp_path))
    monkeypatch.setattr(sys, 'argv', ['check_dataset.py', DEMO, option, str(file), *changes])
    with pytest.raises(UserError, match=f'{name} is to be read and to be written; give another name'):
        runpy.run_path(str(ROOT / 'tools' / 'check_dataset.py'))['main']()
    assert file.read_bytes() == content


def test_check_dataset_takes_the_config_that_training_wrote(trained):
    (config,) = trained[0].glob('*.py')
    status, out, err = tool('tools/check_dataset.py', config, '--annotations-only')
    assert status == 0 and out.rstrip().endswith('no errors'), err


def test_an_option_without_a_value_is_a_usage_error():
    status, _, err = tool('tools/train.py', DEMO, '--cfg-options', 'train_dataloader.batch_size')
    assert status == 2 and 'Traceback' not in err
    assert 'KEY=VALUE' in err and "'train_dataloader.batch_size'" in err


def test_make_shapes_writes_images_of_the_given_size_and_get_flops_prints_counts(tmp_path):
    status, out, err = tool('tools/make_shapes.py', tmp_path / 'x', '--train', 2, '--val', 1, '--size', 64, 80)
    assert status == 0, err
    assert 'train.json: 2 images' in out and cv2.imread(str(tmp_path / 'x/val/000000.jpg')).shape == (64, 80, 3)
    status, out, err = tool('tools/analysis_tools/get_flops.py', DEMO, '--shape', 64, 96)
    assert status == 0, err
    assert re.search(
        r'detector: [\d,]+ parameters, [\d,]+ multiply-adds \([\d.]+ GMACs\)\nbackbone: [\d,]+ parameters', out
    )


def test_benchmark_training_prints_the_speed_and_the_hours_of_all_epochs():
    status, out, err = tool(
        'tools/analysis_tools/benchmark_training.py',
        DEMO,
        '--shape',
        64,
        64,
        '--batch-size',
        2,
        '--steps',
        1,
        '--images',
        3600,
    )
    assert status == 0, err
    speed, hours = re.search(
        r'shapes.py: ([\d.]+) images/s, 2 images per step, 64 x 64, CPU, .*; 9 epochs of 3,600 images: '
        r'([\d.]+) hours',
        out,
    ).groups()
    assert float(hours) == pytest.approx(9 / float(speed), rel=0.01, abs=0.06)


def test_voc2coco_converts_the_existing_splits(tmp_path):
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/train.txt').write_text('a\n')
    (tmp_path / 'ImageSets/Main/cat_train.txt').write_text('a 1\n')
    (tmp_path / 'Annotations/a.xml').write_text(
        '<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>'
        '</object></annotation>'
    )
    cv2.imwrite(str(tmp_path / 'JPEGImages/a.jpg'), np.zeros((8, 8, 3), np.uint8))
    status, out, err = tool('tools/dataset_converters/voc2coco.py', tmp_path)
    assert status == 0, err
    assert [path.name for path in (tmp_path / 'annotations').iterdir()] == ['train.json']
    assert 'train.json: 1 images, 1 objects: cat 1\ndropped nothing' in out


def test_analyze_results_writes_a_folder_and_prints_the_path_of_its_page(trained, shapes, tmp_path):
    results, truth = tmp_path / 'results.json', shapes / 'annotations' / 'val.json'
    run_test(load_config(DEMO, options(shapes, tmp_path)), str(trained[0] / 'epoch_2.pth'), out=str(results))
    (log,) = trained[0].glob('*/vis_data/scalars.json')
    status, out, err = tool(
        'tools/analysis_tools/analyze_results.py',
        truth,
        results,
        '--images',
        shapes / 'val',
        '--log',
        log,
        '--out',
        tmp_path / 'report',
    )
    assert status == 0, err
    assert out.strip() == str(tmp_path / 'report' / 'index.html')
    assert {'report.json', 'training-loss.png', 'training-ap.png', 'bbox-0-best-0.png'} <= {
        path.name for path in (tmp_path / 'report').iterdir()
    }


def test_testing_with_tta_prints_the_coco_table(trained, shapes, tmp_path):
    status, out, err = tool(
        'tools/test.py',
        DEMO,
        trained[0] / 'epoch_2.pth',
        '--tta',
        '--work-dir',
        tmp_path,
        *as_options(options(shapes, tmp_path)),
    )
    assert status == 0, err
    assert 'COCO evaluation' in out + err
