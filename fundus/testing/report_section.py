"""`check_report_section`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus.documents.added import blocks_of
from fundus.documents.blocks import Document, Section
from fundus.documents.html import to_html
from fundus.documents.markdown import to_markdown
from fundus.exceptions import PluginError
from fundus.hookspecs import ReportSectionSpec
from fundus.plugins.registry import Entry
from fundus.testing.checks import expect, registered, run_checks
from fundus.testing.toy_run import toy_run


def check_report_section(section: str | ReportSectionSpec) -> None:
    """Check that a report section follows the contract.

    On runs of five and of three grades it must return records that a report can hold, or none, the
    same each time, and write nothing into the run's folder.

    Parameters
    ----------
    section : str or ReportSectionSpec
        A registered name, or a record.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how, and what to change.
    UnknownNameError
        If no section has the name.

    Examples
    --------
    >>> def make(run):
    ...     from fundus.documents.blocks import Text
    ...     return [Text(f"{run.metrics['data']['n_images']} photographs.")]
    >>> check_report_section(
    ...     ReportSectionSpec(name="size", title="Size", make=make, description="How many.")
    ... )
    """
    with registered("report-section", ReportSectionSpec, section) as entry:
        run_checks(SectionCase(entry), SECTION_CHECKS)


@dataclass
class SectionCase:
    """A section under test."""

    entry: Entry

    @property
    def what(self) -> str:
        """Start of messages."""
        return f"The report section {self.entry.spec.name!r}"


def _check_runs(case: SectionCase) -> None:
    for n_grades in (5, 3):
        with tempfile.TemporaryDirectory() as place:
            run = toy_run(Path(place) / "run", n_grades=n_grades)
            before = _contents(run.path)
            try:
                blocks = blocks_of(case.entry, run)
                again = blocks_of(case.entry, run)
            except PluginError as error:
                raise AssertionError(
                    f"{case.what} must work for a run of {n_grades} grades. {error} Return an "
                    "empty list where the run lacks what it needs."
                ) from error
            shown = Section(case.entry.spec.name, case.entry.spec.title, blocks)
            document = Document("Run", "", (), [shown])
            expect(
                [block.to_dict() for block in blocks] == [block.to_dict() for block in again],
                f"{case.what} must be the same for the same run: draw nothing at random.",
            )
            to_html(document)
            to_markdown(document, beside=run.path)
            after = _contents(run.path)
        changed = sorted({name for name, _ in {*after.items()} ^ {*before.items()}})
        expect(
            not changed,
            f"{case.what} must write nothing into the run's folder, which others read. It has "
            f"changed {', '.join(changed)}.",
        )


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


SECTION_CHECKS: dict[str, Callable[[Any], None]] = {"runs": _check_runs}
