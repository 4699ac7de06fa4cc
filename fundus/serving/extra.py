"""The packages of the extra ``serve``."""

from __future__ import annotations

from importlib.util import find_spec

from fundus.exceptions import MissingDependencyError

#: Modules, and the packages that bring them.
MODULES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}


def check_extra() -> None:
    """Refuse to serve where packages of the extra are missing.

    Raises
    ------
    MissingDependencyError
        If one is; the message names all that are missing.

    Examples
    --------
    >>> check_extra()
    """
    missing = [package for module, package in MODULES.items() if find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"fundus serve needs {', '.join(missing)}, which this Python lacks: install them with "
            "pip install 'fundus-zoo[serve]'."
        )
