"""The font for the names of classes."""

import logging

import matplotlib
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from econvnext_mmdet.utils import fonts
from econvnext_mmdet.utils.fonts import use_font_for


@pytest.fixture(autouse=True)
def bundled(monkeypatch):
    """Only the fonts that come with matplotlib, of which cmr10 is the first."""
    own = [font for font in font_manager.fontManager.ttflist if font.fname.startswith(matplotlib.get_data_path())]
    monkeypatch.setattr(font_manager.fontManager, 'ttflist', own)
    monkeypatch.setattr(font_manager, 'findSystemFonts', list)
    with matplotlib.rc_context({'font.sans-serif': ['cmr10']}):
        yield


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(fonts, 'print_log', lambda text, logger, level: lines.append((level, text)))
    return lines


def test_the_font_stays_if_it_has_all_characters(said):
    use_font_for(['cat', 'dog'])
    assert matplotlib.rcParams['font.sans-serif'] == ['cmr10'] and not said


def test_a_name_with_dollar_signs_is_no_formula(said):
    use_font_for(['$x^{$'])
    figure = Figure()
    figure.text(0, 0, '$x^{$')
    figure.draw_without_rendering()


def test_a_font_with_the_characters_is_used(said):
    use_font_for(['cat', 'собака'])
    chosen = font_manager.get_font(font_manager.findfont(FontProperties(family=['sans-serif']))).get_charmap()
    assert {*map(ord, 'catсобака')} <= {*chosen} and not said


@pytest.mark.parametrize(
    'name, package',
    [
        ('扇贝', 'fonts-noto-cjk'),
        ('ホタテ', 'fonts-noto-cjk'),
        ('𠮷', 'fonts-noto-cjk'),
        ('가리비', 'fonts-noto-cjk'),
        ('ಮೀನು', 'fonts-noto-core'),
        ('🦀🦞', 'fonts-symbola'),
    ],
)
def test_a_missing_font_is_named_with_its_package(said, name, package):
    use_font_for(['cat', name])
    ((level, text),) = said
    assert level == logging.WARNING and f'`apt-get install {package}` brings a font' in text
    assert ', '.join(sorted({*name})) in text
