"""The HTTP interface and the page, as an ASGI application."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from fundus._version import __version__
from fundus.serving import answers
from fundus.serving.guard import Guard
from fundus.serving.limits import ServingLimits
from fundus.serving.problems import MEDIA_TYPE, Problem
from fundus.serving.served import NOTICE, ServedModel
from fundus.serving.service import Service

PAGE = Path(__file__).parent / "page"
#: Files of the page, by path.
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/ask.js": ("ask.js", "text/javascript; charset=utf-8"),
    "/table.js": ("table.js", "text/javascript; charset=utf-8"),
    "/details.js": ("details.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PROBLEMS: dict[int | str, Any] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": _REF}}}}
    for _REF in ("#/components/schemas/ProblemAnswer",)
    for status, text in (
        (400, "A form that cannot be read, or was cut off"),
        (401, "No token, or another one"),
        (403, "A request of another site"),
        (408, "An upload that took too long"),
        (413, "Too many bytes, pixels or photographs"),
        (415, "A body of another kind than a form or a photograph"),
        (421, "A name that is not the server's"),
        (
            422,
            "No photograph or several, no image, a damaged one, or a parameter that cannot be used",
        ),
        (500, "A mistake of the server"),
        (503, "Too much to do: try again after Retry-After"),
        (507, "Too little memory for the photograph"),
    )
}


def make_app(
    served: ServedModel,
    limits: ServingLimits | None = None,
    *,
    hosts: Collection[str] = ("localhost", "127.0.0.1", "::1"),
    addresses: bool = False,
    token: str | None = None,
) -> tuple[ASGIApp, Service]:
    """Make the application of a model.

    Parameters
    ----------
    served : ServedModel
        Warmed up.
    limits : ServingLimits, default=None
        By default those of its docstring.
    hosts, addresses, token
        As `Guard` takes them.

    Returns
    -------
    app : ASGIApp
    service : Service
        To be closed at the end.
    """
    limits = ServingLimits() if limits is None else limits
    service = Service(served, limits)
    app = FastAPI(
        title="fundus",
        version=__version__,
        # without the model's name, as no token is asked for here
        description=f"Grades of retinal photographs. {NOTICE}",
        docs_url=None,  # their scripts would come from elsewhere
        redoc_url=None,
    )
    _handle_problems(app, service)
    _add_interface(app, service)
    _add_page(app)
    metrics = service.metrics
    known = {getattr(route, "path", "") for route in app.routes}

    def answered(path: str, status: int, seconds: float) -> None:
        at = path if path in known else "other"
        metrics.requests.labels(at, str(status)).inc()
        metrics.seconds.labels(at).observe(seconds)

    guard = Guard(app, hosts=hosts, addresses=addresses, token=token, answered=answered)
    return guard, service


def _handle_problems(app: FastAPI, service: Service) -> None:
    def answer(problem: Problem) -> Response:
        return Response(problem.body(), problem.status, problem.headers())

    @app.exception_handler(Problem)
    async def of_ours(_: Request, problem: Problem) -> Response:
        return answer(problem)

    @app.exception_handler(RequestValidationError)
    async def of_parameters(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"][1:]))
        return answer(
            Problem(422, "A parameter cannot be used", f"{name}: {first['msg']}.",
                    "See /openapi.json for what it may be.")
        )  # fmt: skip

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        asked = f"{request.method} {request.url.path[:200]}"
        return answer(
            Problem(error.status_code, str(error.detail), f"The request was {asked!r}.",
                    "See /openapi.json for what there is.")
        )  # fmt: skip

    @app.exception_handler(Exception)  # `Guard` logs where it was raised
    async def of_a_mistake(_: Request, error: Exception) -> Response:
        return answer(
            # without its text, which may hold what is nobody's business
            Problem(500, "The server has an error", f"It fails with {type(error).__name__}.",
                    "Tell whoever runs the server; its terminal says more.")
        )  # fmt: skip

    @app.exception_handler(ClientDisconnect)
    async def of_the_client(_: Request, __: ClientDisconnect) -> Response:
        service.metrics.left.inc()
        return Response(status_code=499)  # which nobody reads


def _takes(*fields: tuple[str, Any], raw: bool = True) -> dict[str, Any]:
    """What a request's body may be, for OpenAPI."""
    form = {"type": "object", "properties": dict(fields), "required": [fields[0][0]]}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if raw:
        kinds = ("image/jpeg", "image/png", "image/tiff", "application/dicom")
        content |= dict.fromkeys(kinds, _BINARY)
    return {"requestBody": {"required": True, "content": content}}


_ONE = _takes(("file", _BINARY["schema"]))
_SEVERAL = _takes(("files", {"type": "array", "items": _BINARY["schema"]}), raw=False)


def _add_interface(app: FastAPI, service: Service) -> None:
    # what is answered is made here, and the models are for OpenAPI: nothing is checked twice
    @app.post(
        "/v1/grade", response_model=answers.GradeAnswer, responses=_PROBLEMS, openapi_extra=_ONE
    )
    async def grade(request: Request, quality: bool = True) -> Response:
        """Grade one photograph."""
        (found,) = await service.grades(request, quality=quality, one=True)
        if isinstance(found, Problem):
            raise found
        return JSONResponse(found)

    @app.post(
        "/v1/grade/batch", response_model=answers.BatchAnswer, responses=_PROBLEMS,
        openapi_extra=_SEVERAL,
    )  # fmt: skip
    async def batch(request: Request, quality: bool = True) -> Response:
        """Grade several photographs; one that cannot be graded has a problem as its result."""
        results = await service.grades(request, quality=quality)
        found = [one.to_dict() if isinstance(one, Problem) else one for one in results]
        return JSONResponse({"results": found})

    @app.post(
        "/v1/explain", response_model=answers.MapAnswer, responses=_PROBLEMS, openapi_extra=_ONE
    )
    async def explain(request: Request) -> Response:
        """Map on one photograph what raises and what lowers its severity."""
        return JSONResponse((await service.map(request)).to_dict())

    asked_for: dict[int | str, Any] = {status: _PROBLEMS[status] for status in (401, 421)}

    @app.get("/v1/model", response_model=answers.ModelAnswer, responses=asked_for)
    async def model() -> Response:
        """Tell what the model is, and what the server takes."""
        names = ("max_bytes", "max_pixels", "max_files", "max_request")
        inside = service.limits.of_images()
        limits = {name: getattr(service.limits, name) for name in names}
        limits |= {"max_bytes": inside.max_bytes, "max_pixels": inside.max_pixels}
        return JSONResponse({**service.served.describe(), "limits": limits})

    @app.get("/health", response_model=answers.HealthAnswer)
    async def health() -> Response:
        """Tell whether the server can grade."""
        return JSONResponse({"status": "ok", "waiting": service.batches.waiting})

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    for path, (name, kind) in FILES.items():
        data = (PAGE / name).read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'

        async def page(
            request: Request, data: bytes = data, kind: str = kind, tag: str = tag
        ) -> Response:
            headers = {"etag": tag, "cache-control": "no-cache"}
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers=headers)
            return Response(data, media_type=kind, headers=headers)

        app.router.add_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
