"""Making the plan of a fit: costs decide which results are kept."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace

from fundus.backbones.network import all_frozen, find_cut
from fundus.frozen.filling import missing_rows
from fundus.frozen.function import Frozen
from fundus.frozen.loading import FORWARD_BATCH
from fundus.frozen.sources import decoded_segment
from fundus.frozen.work import Work, tolerating
from fundus.images.augment import Augmentation
from fundus.store import Segment, Store
from fundus.transfer.plan import Option, Plan, in_bytes
from fundus.transfer.probe import Probe, probe

#: Recomputing must be so many times cheaper before it replaces keeping: a plan that varies with the
#: load of the machine would change results in their last digits.
CLEARLY = 1.5

_ENTRY_BYTES = 64  # header, key and padding


@dataclass(frozen=True)
class Request:
    """The request for a plan.

    Parameters
    ----------
    augmentation : Augmentation or None
        Drawn again at every use, so that only decoded images can be kept.
    epochs : int
        Uses of every image; 1 for a head that is fitted on features, and for prediction.
    each : int
        Rows of an image, of which an epoch uses one.
    measure : bool
        Run two batches, whose results are kept, to compare costs; otherwise
        everything that there is room for is kept.
    measure_training : bool
        Also measure the training of the layers after the cut.
    """

    augmentation: Augmentation | None
    epochs: int
    batch_size: int
    each: int = 1
    measure: bool = False
    measure_training: bool = False


def make_plan(work: Work, request: Request) -> Plan:
    """Decide which results of the frozen layers a fit keeps."""
    store, segment, frozen, keys = work.store, work.segment, work.frozen, work.keys
    epochs, batch_size = request.epochs, request.batch_size
    trained = not all_frozen(frozen.network)
    nothing_frozen = trained and find_cut(frozen.network).prefix is None
    if store is None or segment is None or request.augmentation is not None or nothing_frozen:
        return _live_plan(work, request)
    distinct = list(dict.fromkeys(keys))
    n, n_distinct, n_missing = len(keys), len(distinct), len(missing_rows(segment, keys))
    uses = n // request.each * epochs
    probed = None
    if request.measure and n_missing:
        train = batch_size if request.measure_training and trained else None
        with tolerating(store):
            probed = probe(work, store, segment, batch_size=train)
    width = _result_bytes(frozen, segment, distinct)
    stored = width // 2 if segment.half else width
    keep = Option(
        "activations" if trained or frozen.network.pooling == "flatten" else "features",
        n_distinct * (stored + _ENTRY_BYTES),
        n_missing,
        n_missing,
        _fits(store, n_distinct, n_missing, stored),
    )
    again = None
    if trained:
        picture = 3 * frozen.recipe.image_size**2
        undecoded = len(missing_rows(decoded_segment(frozen.recipe, store), keys))
        again = Option(
            "images",
            n_distinct * (picture + _ENTRY_BYTES),
            undecoded,
            uses,
            _fits(store, n_distinct, undecoded, picture),
        )
    if probed is not None:
        keep = replace(keep, seconds=_seconds(keep, probed, n, uses, 1.0))
    if probed is not None and again is not None:
        size = again.disk_bytes / keep.disk_bytes
        again = replace(again, seconds=_seconds(again, probed, n, uses, size))
    chosen, others, reason = _choose(keep, again)
    training = None if probed is None or probed.train is None else probed.train * uses
    held = width * (batch_size if chosen.way != "features" else n)
    return Plan(
        n, n_distinct, n_distinct - n_missing, _where(frozen), width, held, epochs,
        chosen, others, reason, training,
    )  # fmt: skip


def _live_plan(work: Work, request: Request) -> Plan:
    """Plan of a fit in which the frozen layers, if any, run at every use."""
    frozen, store = work.frozen, work.store
    augmentation, epochs = request.augmentation, request.epochs
    n, picture = len(work.images), 3 * frozen.recipe.image_size**2
    uses = n // request.each * epochs
    if store is None:
        reason = "cache=False: nothing is kept"
        if augmentation is None and all_frozen(frozen.network):
            chosen = Option("features", 0, n, n)
            reason += ", so every fit computes the features again"
        else:
            chosen = Option("files", 0, n + uses, uses)
    else:
        fits = _fits(store, n, n, picture)
        reason = (
            "augmentation changes the image at every use"
            if augmentation is not None
            else "no layer is frozen"
        )
        chosen = Option("images", n * (picture + _ENTRY_BYTES), n, uses, fits)
    network = frozen.network
    width = 4 * sum(math.prod(s) for s in find_cut(network).shapes) or 4 * picture
    if find_cut(network).prefix is None:
        chosen = replace(chosen, forward_passes=0)
    held = width * (n if chosen.way == "features" else request.batch_size)
    return Plan(n, n, 0, _where(frozen), width, held, epochs, chosen, (), reason)


def _choose(keep: Option, again: Option | None) -> tuple[Option, tuple[Option, ...], str]:
    if again is None:
        size = "wide" if keep.way == "activations" else "small"
        return keep, (), f"all layers are frozen, and features are {size}"
    if not keep.fits:
        return again, (keep,), f"there is no room for {in_bytes(keep.disk_bytes)} of activations"
    if keep.seconds is None or again.seconds is None:
        reason = "all of it is stored already" if keep.forward_passes == 0 else "there is room"
        return keep, (again,), reason
    if again.fits and again.seconds * CLEARLY < keep.seconds:
        ratio = keep.seconds / again.seconds
        return again, (keep,), f"running the layers again is {ratio:.1f} times cheaper"
    ratio = again.seconds / keep.seconds
    return keep, (again,), f"running the layers again would cost {ratio:.1f} times as much"


def _seconds(option: Option, probed: Probe, n: int, uses: int, size: float) -> float:
    """Expected time; `size` is the size of an entry relative to a result of the frozen part."""
    read = probed.read * size
    if option.way == "images":
        each = read + probed.forward
        return option.decodes * (probed.decode + probed.write * size) + uses * each
    first = option.forward_passes * (probed.decode + probed.forward + probed.write)
    return first + read * (n if option.way == "features" else uses)


def _fits(store: Store, n_entries: int, n_missing: int, n_bytes: int) -> bool:
    """Whether the store's limit has room for all entries, and the disk for the missing ones."""
    size = n_bytes + _ENTRY_BYTES
    # a page of LMDB is 4 KiB, and an entry beyond half of one takes whole pages
    pages = size if size < 2048 else -(-size // 4096) * 4096
    free = shutil.disk_usage(store.path).free
    return n_entries * pages <= store.limit and n_missing * pages <= 0.95 * free


def _result_bytes(frozen: Frozen, segment: Segment, keys: list[bytes]) -> int:
    """Bytes of an image's result; taken from an entry if there is one, without TensorFlow."""
    if frozen.network.freeze == "all":
        for key in keys[: 2 * FORWARD_BATCH]:
            (entry,) = segment.get_many([key])
            if entry is not None:
                return int(entry.nbytes)
    return 4 * sum(math.prod(shape) for shape in find_cut(frozen.network).shapes)


def _where(frozen: Frozen) -> str:
    network = frozen.network
    if network.freeze == "all":
        place = "the field of view" if frozen.pools_fov else "all positions"
        some = "" if network.stages is None else f" of stages {network.stages}"
        return f"all layers of {network.spec.name}, {network.pooling} pooling{some} over {place}"
    cut = find_cut(network)
    then = f"then trained layers and {network.pooling} pooling over all positions"
    if cut.prefix is None:
        return f"no layer of {network.spec.name}, {then}"
    shapes = ["x".join(map(str, shape)) for shape in cut.shapes]
    tensors = ", ".join(f"{name} ({s})" for name, s in zip(cut.names, shapes, strict=False))
    return f"the first {cut.n_frozen} layers of {network.spec.name}, up to {tensors}, {then}"
