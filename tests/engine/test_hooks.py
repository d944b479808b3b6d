from copy import deepcopy
from types import SimpleNamespace

import torch

from econvnext_mmdet import ChannelsLastHook


def test_channels_last_changes_the_layout_alone(small):
    """The same outputs and gradients, in the same parameters, which an optimiser may hold already."""
    model = small().double()
    model.init_weights()
    plain, parameters = deepcopy(model), list(model.parameters())
    ChannelsLastHook().before_run(SimpleNamespace(model=model))
    assert all(new is old for new, old in zip(model.parameters(), parameters))

    image = torch.rand(2, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outs, expected = model(image), plain(image)
    for out, other in zip(outs, expected):
        assert out.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(out, other, rtol=1e-9, atol=1e-9)
    for values in (outs, expected):
        sum((out ** 2).sum() for out in values).backward()
    for (name, parameter), other in zip(model.named_parameters(), plain.parameters()):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-6, atol=1e-8, msg=name)
    plain.load_state_dict(model.state_dict())  # a checkpoint of the one fits the other
