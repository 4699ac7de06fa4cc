"""Text of users in figures: names of any length, in any script, with any characters."""

from __future__ import annotations

from functools import lru_cache

#: Stands for a character that the font of figures lacks.
LACKING = "□"


@lru_cache(maxsize=8)
def _characters(weight: str) -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(weight=weight))).get_charmap())


def drawable(text: str, *, weight: str = "normal") -> str:
    """Replace what the font of figures cannot draw, and ends of lines.

    Examples
    --------
    >>> drawable("eye\\t1.png"), drawable("глаз.png")
    ('eye□1.png', 'глаз.png')
    """
    known = _characters(weight)
    return "".join(c if ord(c) in known and c.isprintable() else LACKING for c in text)


def text_width(text: str, size: float, *, weight: str = "normal") -> float:
    """Width of a line of text, in points; `drawable` text only.

    Examples
    --------
    >>> text_width("wide", 12) > text_width("ill", 12) > 0
    True
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text:
        return 0.0
    font = FontProperties(size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0])


def shortened(text: str, width: float, size: float, *, weight: str = "normal") -> str:
    """Shorten a line in the middle until it is not wider than `width` points.

    Of a path that is too long, folders go first. Characters that cannot be drawn are replaced.

    Examples
    --------
    >>> shortened("a/1.png", 200, 11), shortened("of/a/long/path/to/the/eye/1_left.jpeg", 90, 11)
    ('a/1.png', '…/1_left.jpeg')
    >>> short = shortened("an_endless_name_of_a_photograph_1_left.jpeg", 90, 11)
    >>> short[:3], short[-5:], text_width(short, 11) <= 90
    ('an_', '.jpeg', True)
    """
    text = drawable(text, weight=weight)
    if text_width(text, size, weight=weight) <= width:
        return text
    folders, _, name = text.rpartition("/")
    if folders and name:
        text = f"…/{name}"
    kept = len(text)
    short = text
    while kept > 1 and text_width(short, size, weight=weight) > width:
        kept -= 1
        first = kept // 2
        short = f"{text[:first]}…{text[len(text) - (kept - first) :]}"
    return short
