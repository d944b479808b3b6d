"""A font for the names of classes, which may be in any script."""

import logging
from collections.abc import Iterable
from unicodedata import name as name_of

from matplotlib import font_manager, rcParams
from matplotlib.font_manager import FontProperties
from mmengine.logging import print_log

from .errors import examples

# Debian's packages with a font for characters whose Unicode names begin with a word. All others: fonts-noto-core.
PACKAGES = dict(CJK='fonts-noto-cjk', HIRAGANA='fonts-noto-cjk', KATAKANA='fonts-noto-cjk', HANGUL='fonts-noto-cjk')
EMOJI = 0x1F000  # from here on, characters are mostly emoji; matplotlib cannot draw their coloured fonts


def use_font_for(names: Iterable[str]) -> None:
    """Let matplotlib draw names as they are written, with a font that has their characters.

    MMEngine draws all text with one font. If no installed font has all characters, the one with the most is used, and
    a warning says which are missing and which package has them.

    Args:
        names: The names of the classes.
    """
    rcParams['text.parse_math'] = False  # a name with two dollar signs is no formula
    needed = {ord(character) for name in names for character in name if not character.isspace()}
    missing = needed - _characters(font_manager.findfont(FontProperties(family=['sans-serif'])))
    if not missing:
        return
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:  # matplotlib's list may be older than the font
        try:
            font_manager.fontManager.addfont(path)
        except Exception:  # a font in a format that it cannot read
            continue
    # The Last Resort font only shows which script a character is from. Bold and italic fonts of a family come later.
    fonts = [font for font in font_manager.fontManager.ttflist if not font.name.startswith('Last Resort')]
    fonts.sort(key=lambda font: (font.style != 'normal', font.weight != 400))
    best = min(fonts, key=lambda font: len(needed - _characters(font.fname)))
    if len(needed - _characters(best.fname)) < len(missing):
        missing = needed - _characters(best.fname)
        rcParams['font.sans-serif'] = [best.name, *rcParams['font.sans-serif']]
    if missing:
        packages = {_package(code) for code in missing}
        print_log(
            'no installed font has all characters of the class names, so pictures and plots show boxes in place of '
            f'{examples([chr(code) for code in sorted(missing)], most=5)}; on Debian or Ubuntu, '
            f'`apt-get install {" ".join(sorted(packages))}` brings a font with them',
            logger='current',
            level=logging.WARNING,
        )


def _characters(path: str) -> set[int]:
    """The characters of a font. Empty if matplotlib cannot read it."""
    try:
        return set(font_manager.get_font(path).get_charmap())
    except Exception:  # FreeType's errors have no common base
        return set()


def _package(code: int) -> str:
    other = 'fonts-symbola' if code >= EMOJI else 'fonts-noto-core'
    return PACKAGES.get(name_of(chr(code), '').partition(' ')[0], other)
