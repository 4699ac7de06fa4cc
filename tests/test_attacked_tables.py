"""No table, whatever is in it, gives more than an error that names it, or grades of its images."""

from __future__ import annotations

import pytest
from attacks import tables
from image_samples import encode, scene


@pytest.mark.slow
@pytest.mark.parametrize("count", [400, pytest.param(2_500, marks=pytest.mark.soak)])
def test_damaged_tables_are_loaded_or_refused(count, tmp_path, record_property):
    for number in range(12):
        (tmp_path / f"{number:02}_left.png").write_bytes(encode(scene(8, 8 + number), "PNG"))
    outcomes = tables.attack(count, 0, tmp_path)
    assert set(outcomes) <= {"refused", "loaded"}, outcomes
    assert outcomes.total() == count
    assert min(outcomes.values()) > count // 10  # both were tried
    record_property(
        "promise", "A damaged table is loaded right, or an error names it, its row or its image."
    )
    record_property("did", "tables of text in 7 layouts and Parquet, changed at random, loaded")
    record_property("times", count)
    record_property(
        "outcome", f"{outcomes['refused']:,} refused, {outcomes['loaded']:,} loaded, 0 else"
    )
