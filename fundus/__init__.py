"""Grade retinal fundus photographs for diabetic retinopathy by transfer learning.

Public names load on first use, so that importing the package imports neither Keras nor
TensorFlow. They stand in ``__init__.pyi``.
"""

import lazy_loader

from fundus._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
