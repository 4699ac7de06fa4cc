"""The content-addressed store of frozen work."""

from fundus.store.cache import Cache, default_location, open_store
from fundus.store.folder import Segment, Store

__all__ = ["Cache", "Segment", "Store", "default_location", "open_store"]
