import pickle

import pytest
import torch


@pytest.fixture
def save(tmp_path):
    """A function that saves an object as a checkpoint file and returns its path."""

    def save(content, name='checkpoint.pth'):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def trained_state(small):
    """The state of a reduced backbone in which every tensor of floats differs from its initial value."""
    model = small()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return model.state_dict()


@pytest.fixture
def write_pdparams(tmp_path):
    """A function that pickles an object as a .pdparams file and returns its path."""

    def write(content, protocol=4):
        (tmp_path / 'net.pdparams').write_bytes(pickle.dumps(content, protocol=protocol))
        return str(tmp_path / 'net.pdparams')

    return write
