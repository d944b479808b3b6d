import pytest

from econvnext_mmdet.weights.paddle_names import to_torch_name


def test_every_name_of_the_reference_is_translated_once(reference):
    """Every name is known, only Layer Scale is unused, and no two names get the same translation."""
    names = {name: to_torch_name(name) for name in reference.paddle_names}
    assert all(name.endswith('.gamma') for name, ours in names.items() if ours is None)
    translated = [ours for ours in names.values() if ours is not None]
    assert len(set(translated)) == len(translated)
    assert all(
        to_torch_name(f'backbone.{name}') == ours
        for name, ours in names.items()
        if ours is None or ours.startswith('backbone.')
    )


@pytest.mark.parametrize('name', ['backbone.norm.weight', 'yolo_head.proj_conv.weight', 'stages.0.blocks.0.gamma'])
def test_unused_names_have_no_translation(name):
    assert to_torch_name(name) is None


@pytest.mark.parametrize('name', ['head.weight', 'backbone.stem.conv1.conv.weight', 'neck.fpn_routes.0.conv.weight'])
def test_unknown_names_are_refused(name):
    """The last one belongs to a detector, and no detector is given."""
    with pytest.raises(KeyError):
        to_torch_name(name)
