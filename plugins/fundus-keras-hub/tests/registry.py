"""Write ``table.py``'s rows from the installed keras-hub: ``python tests/registry.py``."""

from __future__ import annotations

import re

#: What keras-hub's descriptions and names do not say: timm's own input sizes.
_SIZES = {
    "efficientnet_b1_ra4_e3600_r240_imagenet": 240,
    "efficientnet_b2_ra_imagenet": 256,
    "efficientnet_b3_ra2_imagenet": 288,
    "efficientnet_b4_ra2_imagenet": 320,
    "efficientnet_b5_sw_imagenet": 416,
    "efficientnet_b5_sw_ft_imagenet": 448,
    "efficientnet2_rw_m_agc_imagenet": 320,
    "efficientnet2_rw_s_ra2_imagenet": 288,
    "xception_41_imagenet": 299,
}


def rows(families):
    """Yield (name, family, handle, parameters, image size) for every sound entry."""
    from keras_hub import models

    for family in families:
        for name, entry in getattr(models, family).presets.items():
            handle = entry["kaggle_handle"].removeprefix("kaggle://")
            if name not in handle.split("/"):
                continue  # the entry points at another network
            yield name, family, handle, entry["metadata"]["params"], _size(name, entry)


def _size(name, entry):
    if name in _SIZES:
        return _SIZES[name]
    description = entry["metadata"]["description"]
    found = re.search(r"(\d{3})x\1", description) or re.search(
        r"resolution of (\d{3})", description
    )
    found = found or re.search(r"_(\d{3,4})$", name)
    return int(found[1]) if found else 224


def main():
    from fundus_keras_hub.table import FAMILIES

    for name, family, handle, parameters, size in rows(FAMILIES):
        print(f'    Row("{name}", "{family}",\n        "{handle}", {parameters:_}, {size}),')


if __name__ == "__main__":
    main()
