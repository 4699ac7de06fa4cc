"""Arrays in files hold what was given, and no pickle."""

from __future__ import annotations

import io

import numpy as np
import pytest

from fundus.runtime.arrays import save_arrays


def test_a_file_holds_the_arrays_that_were_given_and_no_other():
    file, given = io.BytesIO(), {"b": np.arange(3), "a": np.ones((2, 1), np.float32)}
    save_arrays(file, given)
    file.seek(0)
    read = np.load(file, allow_pickle=False)
    assert read.files == ["b", "a"]
    for name, array in given.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def test_objects_are_refused_before_anything_is_written():
    file = io.BytesIO()
    with pytest.raises(ValueError, match="'b' must hold numbers. Got Python objects"):
        save_arrays(file, {"a": np.ones(2), "b": np.array([{}], dtype=object)})
    assert file.getvalue() == b""
