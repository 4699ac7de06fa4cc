"""Public names of the registry, each read on first use."""

from .registry import BUILTIN as BUILTIN
from .registry import HOOKS as HOOKS
from .registry import OWN as OWN
from .registry import PRECOMPUTED as PRECOMPUTED
from .registry import Entry as Entry
from .registry import Kind as Kind
from .registry import PluginStatus as PluginStatus
from .registry import Registry as Registry
from .registry import canonical as canonical
from .registry import get_registry as get_registry
from .registry import list_backbones as list_backbones
from .registry import list_heads as list_heads
from .registry import list_preprocessors as list_preprocessors
from .registry import load_registry as load_registry
from .registry import plugin_statuses as plugin_statuses
