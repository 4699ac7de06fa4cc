"""``pytest --fundus-plugin NAME``: the contract kit for an installed package, a test per check.

pytest imports this module wherever fundus-zoo is installed, so what takes time is imported only
where the option is given.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fundus.testing.plugin import PluginCheck

#: TensorFlow's tensors lack the copy argument that numpy 2 asks for; no plugin can change that.
_OF_KERAS = "__array__ implementation doesn't accept a copy keyword"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("fundus")
    group.addoption(
        "--fundus-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="check the plugins of the installed package NAME against the contract of fundus-zoo",
    )
    group.addoption(
        "--fundus-only",
        action="append",
        metavar="KIND:NAME",
        help="of its entries check this one alone, such as head:forest; may be given again",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Raise where entries are chosen, but no package is."""
    if config.getoption("fundus_only") and not config.getoption("fundus_plugin"):
        raise pytest.UsageError("--fundus-only chooses among the entries of --fundus-plugin NAME.")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Add the checks to what the session collects."""
    report = yield
    if isinstance(collector, pytest.Session) and report.result is not None:
        for name in collector.config.getoption("fundus_plugin"):
            report.result.append(PluginChecks.from_parent(collector, name=name, nodeid=name))
    return report


class PluginChecks(pytest.Collector):
    """The checks of one installed package."""

    def collect(self) -> Iterator[pytest.Item]:
        """Return an item per check of each entry."""
        from fundus.exceptions import UnknownNameError
        from fundus.testing.plugin import plan_checks

        try:
            checks = plan_checks(self.name, only=self.config.getoption("fundus_only"))
        except UnknownNameError as error:
            raise self.CollectError(str(error)) from error
        for check in checks:
            name = f"{check.subject}::{check.name}"
            yield PluginItem.from_parent(self, name=name, check=check)


class PluginItem(pytest.Item):
    """One check of one entry."""

    def __init__(self, *, check: PluginCheck, **options: Any) -> None:
        super().__init__(**options)
        self.check = check
        self.add_marker(pytest.mark.filterwarnings(f"ignore:{_OF_KERAS}:DeprecationWarning"))

    def runtest(self) -> None:
        """Make the check."""
        from fundus.testing.plugin import NotRunError

        try:
            self.check.run()
        except NotRunError as reason:
            pytest.skip(str(reason))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show what to change, and the traceback of the plugin's own error, not the kit's."""
        error = excinfo.value
        if not isinstance(error, AssertionError):
            return super().repr_failure(excinfo)
        if error.__cause__ is None:
            return str(error)
        cause = pytest.ExceptionInfo.from_exception(error.__cause__)
        return f"{error}\n\n{super().repr_failure(cause)}"

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the package where pytest names a file."""
        return Path(self.parent.name if self.parent else ""), None, self.name
