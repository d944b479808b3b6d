import pytest
from mmdet.utils import register_all_modules
from mmengine.registry import init_default_scope


@pytest.fixture
def mmdet_scope():
    """MMDetection's registries as the default, as in its tools."""
    register_all_modules()
    init_default_scope('mmdet')
