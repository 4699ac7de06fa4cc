"""What a server takes: sizes, lengths of queues and times."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fundus.images.limits import ImageLimits, image_limits
from fundus.parameters import check_int, check_real


@dataclass(frozen=True)
class ServingLimits:
    """What a server takes; what is more is refused with a message.

    Parameters
    ----------
    max_bytes : int, default=52428800
        Size of a photograph's file (50 MiB).
    max_pixels : int, default=60000000
        Width times height.
    max_files : int, default=32
        Photographs in one request.
    max_request : int, default=268435456
        Bytes of one request (256 MiB).
    max_held : int, default=536870912
        Bytes of all uploads that are in memory at the same time (512 MiB).
    max_waiting : int, default=64
        Photographs that wait for the model.
    max_batch : int, default=32
        Photographs that the model grades together.
    upload_seconds : float, default=30.0
        For a request to arrive.
    header_seconds : float, default=10.0
        For a connection to begin a request.
    answer_seconds : float, default=60.0
        For a photograph to be graded, the time in the queue included.

    Raises
    ------
    InvalidParameterError
        If one is not positive.

    Examples
    --------
    >>> ServingLimits(max_bytes=1_000_000).of_images().max_bytes
    1000000
    """

    max_bytes: int = 50 * 2**20
    max_pixels: int = 60_000_000
    max_files: int = 32
    max_request: int = 256 * 2**20
    max_held: int = 512 * 2**20
    max_waiting: int = 64
    max_batch: int = 32
    upload_seconds: float = 30.0
    header_seconds: float = 10.0
    answer_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_seconds"):
                check_real(self, name, low=0, low_open=True)
            else:
                assert value is not None
                check_int(self, name, low=1)

    def of_images(self) -> ImageLimits:
        """Return the limits of image files: the stricter of these and of the process's own."""
        known = image_limits()
        return replace(
            known,
            max_bytes=min(known.max_bytes, self.max_bytes),
            max_pixels=min(known.max_pixels, self.max_pixels),
        )
