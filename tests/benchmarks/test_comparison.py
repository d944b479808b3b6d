"""These tests check what is timed, in which order, and what is made of the times, not how long a network takes."""

import json
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from econvnext_mmdet.benchmarks import comparison, comparison_report, networks, peers, runtimes
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.progress import progress_bar

from ..helpers import ROOT

TOOL = str(ROOT / 'tools' / 'analysis_tools' / 'benchmark.py')
# Published parameters in millions. E-ConvNeXt: our README. RepViT: its paper (arXiv 2307.09283), for the form for
# inference. The others: timm's model cards.
PARAMS = {
    'e-convnext-mini': 7.66,
    'e-convnext-tiny': 13.25,
    'e-convnext-small': 19.43,
    'resnet18': 11.7,
    'resnet50': 25.6,
    'convnext_tiny': 28.6,
    'convnextv2_pico': 9.1,
    'cspdarknet53': 27.6,
    'fasternet_t2': 15.0,
    'fasternet_s': 31.2,
    'starnet_s4': 7.5,
    'repvit_m1_0': 6.8,
    'repvit_m1_5': 14.0,
    'mobilenetv4_conv_medium': 9.7,
    'efficientnet_b1': 7.8,
    'hgnetv2_b1': 6.3,
    'hgnetv2_b2': 11.2,
}


def entry_of(name):
    (entry,) = peers.choose([name])
    return entry


@pytest.fixture
def result():
    """A comparison of two networks, with times that a test can check by hand."""
    entries = [entry_of(name) for name in ('e-convnext-mini', 'resnet18')]
    found = [comparison.Network(e.name, e.title, e.ours, e.accuracy, e.source, 7_000_000) for e in entries]
    measured = [
        comparison.Measurement(e.name, 'eager', 1, size, size, 10**9 * size // 224, 10**9, times, 1e11, memory)
        for e in entries
        for size, times, memory in ((224, [20.0, 10.0, 40.0], 50.0), (448, [100.0, 40.0, 160.0], 150.0))
    ]
    environment = dict(device='CPU', threads=1, rounds=3, date='2026-01-01', versions=dict(torch='2'))
    return comparison.Comparison(environment, 'top-1', found, measured, ['eager cannot run X: Error: no'])


@pytest.mark.parametrize('entry', peers.CLASSIFIERS, ids=lambda entry: entry.name)
def test_each_classifier_has_its_published_size_and_folding_keeps_its_outputs(entry):
    torch.manual_seed(0)
    network = networks.build(entry).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.3, 0.3)
            norm.running_var.uniform_(0.7, 1.4)
            norm.weight.data.uniform_(0.8, 1.2)
            norm.bias.data.uniform_(-0.2, 0.2)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        (expected,) = torch.utils._pytree.tree_leaves(network(images))
        network = networks.for_inference(network)
        (found,) = torch.utils._pytree.tree_leaves(network(images))
    assert expected.shape == (1, 1000)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    # StarNet normalises its last map, after which there is no convolution.
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == (entry.name == 'starnet_s4')
    params = sum(param.numel() for param in network.parameters())
    assert params / 1e6 == pytest.approx(PARAMS[entry.name], rel=0.02)


@pytest.mark.parametrize('name', ['retinanet_e-convnext-mini', 'ppyoloe-s_cspresnet', 'rtmdet_tiny', 'mask-rcnn_r18'])
def test_detectors_yield_the_tensors_of_their_heads(name):
    network = networks.for_inference(networks.build(entry_of(name)))
    with torch.no_grad():
        outputs = network(torch.rand(1, 3, 64, 64))
    assert len(outputs) > 1 and all(isinstance(output, torch.Tensor) for output in outputs)


def test_every_detector_has_its_config():
    names = [entry.name for entry in peers.DETECTORS]
    assert len(set(names)) == len(names) and {'rtmdet_s', 'mask-rcnn_r50', 'yolov10-m_csp-darknet'} <= set(names)
    for entry in peers.DETECTORS:
        assert (ROOT / entry.origin).is_file(), entry.origin
        assert (entry.accuracy is None) == (entry.source == '')


def test_a_point_is_on_the_frontier_if_no_other_beats_it():
    points = [(3.0, 80.0), (1.0, 70.0), (2.0, 70.0), (3.0, 79.0), (3.0, 80.0), (4.0, 80.0), (5.0, 81.0)]
    assert comparison_report.frontier(points) == [1, 0, 4, 6]
    assert comparison_report.frontier([]) == []


def test_functions_take_turns_and_only_second_runs_of_late_rounds_count(monkeypatch):
    """The n-th run of a function takes n seconds on a clock of the test."""
    seen, now = [], [0.0]

    def run(name):
        seen.append(name)
        now[0] += seen.count(name)

    clock = SimpleNamespace(perf_counter=lambda: now[0], sleep=lambda seconds: None)
    monkeypatch.setattr(comparison, 'time', clock)
    with progress_bar(auto_refresh=False) as progress:
        times = comparison.take_turns([lambda: run('a'), lambda: run('b')], 3, progress, 'timing')
    assert seen == 5 * ['a', 'a', 'b', 'b']
    assert times == [[6000, 8000, 10000]] * 2


def test_the_result_survives_json(result, tmp_path):
    table = comparison_report.to_markdown(result)
    paths = comparison_report.save_comparison(result, str(tmp_path / 'new'), table)
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == sorted(path.name for path in paths)
    assert paths[0].read_text() == table
    assert json.loads(paths[1].read_text()) == asdict(result)


def test_the_tables_hold_medians_shares_and_the_growth_per_pixel(result):
    sizes = comparison_report.sizes_to_markdown(result)
    result.measurements = result.measurements[::2]
    table = comparison_report.to_markdown(result)
    assert '| **E-ConvNeXt-mini** | 78.3 | 7.00 | 1.00 | 1 x 224 x 224 | 20.0 (10.0 to 40.0) | 50 |' in table
    assert '| ResNet-18 | 50% |' in table  # 1e9 multiply-adds in 20 ms, of 1e11 per second
    assert 'E-ConvNeXt-mini: arXiv 2508.20955' in table and 'eager cannot run X' in table
    assert '| ResNet-18 | eager | 1 x 224 x 224 | 20.0 (10.0 to 40.0) | 1.00 | 50 | 1.00 |' in sizes
    assert '| ResNet-18 | eager | 1 x 448 x 448 | 100.0 (40.0 to 160.0) | 1.25 | 150 | 0.75 |' in sizes


def test_labels_in_the_plot_do_not_overlap(result):
    result.measurements = result.measurements[::2]
    figure = comparison_report.plot(result)
    labels = [text for text in figure.axes[0].texts if text.get_visible()]
    assert [label.get_text() for label in labels] == ['E-ConvNeXt-mini', 'ResNet-18']
    first, second = (label.get_window_extent() for label in labels)
    assert not first.overlaps(second)


def test_without_accuracies_there_is_no_plot(result):
    for network in result.networks:
        network.accuracy = None
    assert comparison_report.plot(result) is None


def test_mistakes_are_explained(monkeypatch):
    with pytest.raises(
        UserError, match='no network resnet19 in the comparison. There are e-convnext-mini, .*detectors'
    ):
        peers.choose(['resnet19'])
    with pytest.raises(UserError, match='each kind in a run of its own'):
        peers.choose(['resnet18', 'rtmdet_s'])
    for names, batch_size, message in (
        (['tensorrt'], 1, 'no runtime tensorrt. There are eager, '),
        (['train'], 1, '--batch-size 2 or more'),
        (['onnxruntime-int8'], 2, 'one image per call; got --batch-size 2'),
    ):
        with pytest.raises(UserError, match=message):
            runtimes.check_runtimes(names, batch_size)
    entries = peers.choose(['resnet18'])
    with pytest.raises(UserError, match='memory is measured in the runtime eager; got channels_last. Add eager.'):
        comparison.compare(entries, ['channels_last'], memory=True)
    for name in ('train', 'openvino-int8'):
        with pytest.raises(UserError, match=f'{name} cannot run every size of a batch from 1 to 8; remove it'):
            comparison.compare_sizes(entries, [name])
    monkeypatch.setitem(sys.modules, 'nncf', None)
    with pytest.raises(UserError, match='nncf is not installed'):
        comparison.compare(entries, ['eager', 'openvino-int8'])
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(UserError, match=r'timm is not installed.*pip install "econvnext_mmdet\[benchmark\]"'):
        networks.build(entry_of('resnet18'))


def test_a_network_that_a_runtime_cannot_run_is_named(monkeypatch):
    def fail(job, runtime, threads):
        if job.entry.name == 'resnet18':
            raise RuntimeError('no such operator\nmore')
        return lambda: None

    monkeypatch.setattr(comparison, 'prepare', fail)
    entries = peers.choose(['resnet18', 'starnet_s4'])
    found = comparison.compare(entries, ['openvino'], (64, 64), rounds=1)
    assert [measured.name for measured in found.measurements] == ['starnet_s4']
    assert found.failures == ['openvino cannot run ResNet-18: RuntimeError: no such operator']
    with pytest.raises(UserError, match='no network could be measured; .*\nopenvino cannot run ResNet-18'):
        comparison.compare(entries[:1], ['openvino'], (64, 64), rounds=1)


def test_sizes_of_a_network_take_turns(monkeypatch):
    seen = []
    monkeypatch.setattr(comparison, 'SIZES', (32, 64))
    monkeypatch.setattr(comparison, 'BATCH_SIZES', (2,))
    monkeypatch.setattr(comparison, 'prepare', lambda job, *_: lambda: seen.append((job.batch_size, job.shape[0])))
    found = comparison.compare_sizes(peers.choose(['resnet18']), ['eager'], rounds=1)
    once = [(1, 32), (1, 64), (2, 32)]
    assert seen == once + 3 * [size for size in once for _ in range(2)]  # preparing, then two rounds of warm-up and one
    assert [measured.macs for measured in found.measurements][2] == 2 * found.measurements[0].macs


@pytest.mark.parametrize('runtime', ['channels_last', 'onnxruntime', 'openvino'])
def test_a_runtime_computes_what_the_network_computes(runtime, monkeypatch):
    """The eager outputs come from a spy, because calls that are timed return nothing."""
    job = runtimes.Job(entry_of('resnet18'), 1, (64, 64))
    found = []
    for name in ('eager', runtime):
        with monkeypatch.context() as patch:
            patch.setattr(runtimes, '_inference', lambda network, images: lambda: network(images).detach().numpy())
            outputs = runtimes.prepare(job, name, threads=1)()
        found.append(outputs if name in runtimes.TORCH else outputs[0])
    assert abs(found[1] - found[0]).max() <= 1e-4 * abs(found[0]).max()


@pytest.mark.runs
def test_the_tool_writes_three_files(tmp_path):
    command = [sys.executable, TOOL, '--models', 'e-convnext-mini', 'starnet_s4', '--runtimes', 'eager', 'train']
    command += ['--shape', '64', '64', '--batch-size', '2', '--rounds', '1', '--threads', '1', '--out', str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('## Milliseconds per call\n')
    content = json.loads((tmp_path / 'benchmark.json').read_text())
    eager, train = content['measurements'][0], content['measurements'][2]
    assert (eager['runtime'], train['runtime'], content['environment']['threads']) == ('eager', 'train', 1)
    assert train['macs'] / eager['macs'] == pytest.approx(3, rel=0.02)
    assert (tmp_path / 'benchmark.md').read_text() + '\n' == done.stdout
    assert '<svg' in (tmp_path / 'benchmark.svg').read_text()
