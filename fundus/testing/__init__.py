"""The conformance kit for plugin authors.

Each check takes what a plugin offers, as a record or by its registered name, and raises
`AssertionError` with a sentence that says what is wrong and what to change::

    from fundus.testing import check_backbone

    def test_my_backbone():
        check_backbone("my_net", image_size=64)

`check_plugin` does so for everything that an installed package offers, and
``pytest --fundus-plugin NAME`` makes a test of each of its checks.
"""

from __future__ import annotations

from fundus.testing.backbone import check_backbone
from fundus.testing.head import check_head
from fundus.testing.layout import check_layout
from fundus.testing.metric import check_metric
from fundus.testing.model import check_model
from fundus.testing.plugin import check_plugin
from fundus.testing.preprocessor import check_preprocessor
from fundus.testing.probes import probe_features, probe_images
from fundus.testing.report_section import check_report_section

__all__ = [
    "check_backbone",
    "check_head",
    "check_layout",
    "check_metric",
    "check_model",
    "check_plugin",
    "check_preprocessor",
    "check_report_section",
    "probe_features",
    "probe_images",
]
