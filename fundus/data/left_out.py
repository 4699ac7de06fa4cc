"""Files in a folder of images that are no images: the messages about them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pandas as pd
from sklearn.utils import Bunch

from fundus.data.rows import SKIPPED, skipped_frame
from fundus.data.tables import IMAGE_SUFFIXES
from fundus.exceptions import Message, SetAsideWarning
from fundus.images.foreign import foreign_file


def no_images(where: object, what: str = "", odd: Sequence[str] = ()) -> str:
    """Say that there are no images, and what the first of the other files, `odd`, is.

    The user gave `where`; `what` says which folders of it were searched.
    """
    suffixes = ", ".join(IMAGE_SUFFIXES)
    message = f"There are no images in {what}{where!r}; looked for files that end in {suffixes}"
    foreign = foreign_file(odd[0]) if odd else None
    if foreign is None:
        return f"{message}."
    return f"{message}, and found {odd[0]!r}, {foreign.what}: {foreign.advice}."


def report_odd(data: Bunch, odd: list[str]) -> Bunch:
    """Add files that were passed over to a data set's ``skipped``.

    Returns
    -------
    Bunch
        `data`.

    Warns
    -----
    SetAsideWarning
        If there are any; the message says what the first is, where that is known.
    """
    if odd:
        kinds = [foreign_file(path) for path in odd]
        advice = f" ({kinds[0].what}: {kinds[0].advice})" if kinds[0] is not None else ""
        text = (
            f"Left out {len(odd)} file(s) without the extension of an image, such as {odd[0]!r}"
            f"{advice}; {SKIPPED} lists them."
        )
        warnings.warn(Message(text, SKIPPED), SetAsideWarning, stacklevel=3)
        unknown = f"the extension is none of {', '.join(IMAGE_SUFFIXES)}"
        reasons = [f"it is {k.what}: {k.advice}" if k is not None else unknown for k in kinds]
        more = skipped_frame([(p, None, reason) for p, reason in zip(odd, reasons, strict=True)])
        data.skipped = more if data.skipped.empty else pd.concat([data.skipped, more])
        data.skipped = data.skipped.reset_index(drop=True)
    return data
