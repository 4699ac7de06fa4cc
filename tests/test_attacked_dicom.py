"""No DICOM file, whatever is in it, does more than raise an ImageReadError, which names nobody."""

from __future__ import annotations

from attacks import dicom
from dicom_samples import SECRET


def test_damaged_dicom_files_are_read_or_refused(tmp_path, record_property):
    count = 300
    outcomes, printed = dicom.attack(count, 1, 149, tmp_path)
    assert set(outcomes) <= {"refused", "read"}, outcomes
    assert outcomes["refused"] > count // 2
    assert outcomes["read"] > count // 20  # both were tried
    assert not any(part in printed for part in SECRET.split("^")), printed
    record_property(
        "promise",
        "A damaged DICOM file is read or gives an ImageReadError that names the file and nobody.",
    )
    record_property("did", "whole files of 7 packings, changed at random or cut, and decoded")
    record_property("times", outcomes.total())
    record_property(
        "outcome", f"{outcomes['refused']:,} refused, {outcomes['read']:,} read, 0 else"
    )
