"""What is registered: backbones, heads and preprocessors, built in or from plugins."""

import lazy_loader

# the command line reads constants of this package, and loads NumPy only for a command
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
