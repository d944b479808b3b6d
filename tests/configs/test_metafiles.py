"""model-index.yml and the metafiles agree with the configs and with the models that these build."""

from pathlib import Path

import modelindex
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain import get_model, list_models
from mmpretrain.apis.model import ModelHub
from torch.utils.flop_counter import FlopCounterMode

from econvnext_mmdet.utils.config import load_config

from ..helpers import ROOT
from .helpers import PATHS, epochs_of

INDEX = str(ROOT / 'model-index.yml')
ENTRIES = {model.name: model for model in modelindex.load(INDEX).models}


def multiply_adds(function, *inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*inputs)
    return counter.get_total_flops() // 2


def count_without_data(model, shape):
    """Count the multiply-adds from the shapes of tensors alone.

    The second stage of a two-stage detector gets 100 regions for masks. For boxes it gets the largest number that the
    first stage can propose, 1000 by default.
    """
    image = torch.empty(1, 3, *shape)
    if not hasattr(model, 'roi_head'):
        return multiply_adds(lambda: model(image, mode='tensor'))
    head = model.roi_head
    total = multiply_adds(lambda: model.rpn_head(model.extract_feat(image)))
    for part, regions in (('bbox', model.test_cfg.rpn.max_per_img), ('mask', 100)):
        heads, extractors = getattr(head, f'{part}_head'), getattr(head, f'{part}_roi_extractor')
        for stage, extractor in (
            zip(heads, extractors) if isinstance(heads, torch.nn.ModuleList) else [(heads, extractors)]
        ):
            size = extractor.roi_layers[0].output_size
            total += multiply_adds(stage, torch.empty(regions, extractor.out_channels, *size))
    return total


def test_every_config_is_listed_once():
    configs = [str(path.relative_to(ROOT)) for path in PATHS]
    listed = [model.config for model in modelindex.load(INDEX).models]
    assert sorted(listed) == sorted(configs) and len(ENTRIES) == len(configs)
    assert all(model.name == Path(model.config).stem for model in ENTRIES.values())
    assert not modelindex.load(INDEX).check(silent=True)


@pytest.mark.parametrize('name', sorted(ENTRIES))
def test_counts_equal_those_of_the_built_model(name):
    entry = ENTRIES[name]
    cfg = load_config(str(ROOT / entry.config))
    init_default_scope(cfg.default_scope)
    # MMPretrain's ConvNeXt and ResNet cannot be built on meta.
    of_mmpretrain = cfg.model.backbone.type.startswith('mmpretrain.') or cfg.default_scope == 'mmpretrain'
    with torch.device('cpu' if of_mmpretrain else 'meta'):
        model = MODELS.build(cfg.model).eval().to('meta')
    with torch.device('meta'):
        assert count_without_data(model, entry.metadata.data['Input Size']) == entry.metadata.flops
    assert sum(param.numel() for param in model.parameters()) == entry.metadata.parameters
    assert entry.metadata.epochs == epochs_of(cfg)


def test_no_entry_claims_weights():
    assert [name for name, model in ENTRIES.items() if model.weights] == []


def test_results_on_data_that_we_did_not_train_on_are_marked_as_the_papers():
    for name, entry in ENTRIES.items():
        for result in entry.results or ():
            untrained = result.dataset in ('ImageNet-1k', 'DUO', 'Sonar')
            assert untrained == all("the paper's" in metric for metric in result.metrics), name


# The AP in per cent and the GFLOPs of the paper's detectors, by data, detector and backbone.
PAPER = {
    ('Sonar', 'PP-YOLOE-S', 'CSPResNet'): (42.6, 17.4),
    ('Sonar', 'PP-YOLOE-S', 'E-ConvNeXt-mini'): (50.6, 20.56),
    ('Sonar', 'PP-YOLOE-L', 'CSPResNet'): (49.0, 110.7),
    ('Sonar', 'PP-YOLOE-L', 'E-ConvNeXt-tiny'): (51.3, 82.6),
    ('Sonar', 'YOLOv10-L', 'CSPDarknet'): (46.1, 120),
    ('Sonar', 'YOLOv10-M', 'ConvNeXt-tiny'): (50.1, 94.3),
    ('Sonar', 'YOLOv10-M', 'E-ConvNeXt-tiny'): (51.3, 69.9),
    ('DUO', 'YOLOv10-L', 'CSPDarknet'): (56.4, 120),
    ('DUO', 'YOLOv10-L', 'E-ConvNeXt-tiny'): (61.2, 78.0),
}


def test_every_detector_of_the_paper_has_a_config():
    found = {}
    for entry in ENTRIES.values():
        data = entry.metadata.data
        if "FLOPs (the paper's)" in data:
            (result,) = entry.results
            found[data['Training Data'], data['Detector'], data['Backbone']] = (
                result.metrics["box AP (the paper's)"],
                data["FLOPs (the paper's)"],
            )
    assert found == PAPER


def test_mmpretrain_finds_classifiers_by_name(monkeypatch):
    monkeypatch.setattr(ModelHub, '_models_dict', {})
    monkeypatch.setattr(ModelHub, '_ModelHub__mmpretrain_registered', True)  # leaves MMPretrain's own models out
    monkeypatch.chdir(ROOT)
    ModelHub.register_model_index('model-index.yml', config_prefix=ROOT)
    assert list_models('e-convnext-*_16xb64_in1k') == [
        f'e-convnext-{arch}_16xb64_in1k' for arch in ('mini', 'small', 'tiny')
    ]
    with torch.device('meta'):
        model = get_model('e-convnext-mini_16xb64_in1k', pretrained=False)
    assert sum(param.numel() for param in model.parameters()) == 7_658_992
