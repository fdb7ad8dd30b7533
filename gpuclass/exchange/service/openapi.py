"""The service's OpenAPI description: what FastAPI knows of it, and each call's answers, errors included.

One table says what every call answers; a test goes through it against the running service.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gpuclass.exchange.service import shapes
from gpuclass.exchange.service.manifest import Manifest

ANSWERS: dict[str, type[BaseModel]] = {
    "GET /api/courses": shapes.CourseList,
    "POST /api/course/{course}": shapes.Done,
    "DELETE /api/course/{course}": shapes.Done,
    "POST /api/instructor/{course}/{login}": shapes.Done,
    "GET /api/instructor/{course}/{login}": shapes.ShownPerson,
    "DELETE /api/instructor/{course}/{login}": shapes.Done,
    "GET /api/instructors/{course}": shapes.InstructorList,
    "POST /api/student/{course}/{login}": shapes.Done,
    "GET /api/student/{course}/{login}": shapes.ShownPerson,
    "DELETE /api/student/{course}/{login}": shapes.Done,
    "POST /api/students/{course}": shapes.AddedList,
    "GET /api/students/{course}": shapes.StudentList,
    "GET /api/assignments/{course}": shapes.AssignmentList,
    "GET /api/assignment/{course}/{assignment}": shapes.Tree,
    "POST /api/assignment/{course}/{assignment}": shapes.Done,
    "DELETE /api/assignment/{course}/{assignment}": shapes.Done,
    "GET /api/submissions/{course}/{assignment}": shapes.SentList,
    "GET /api/submissions/{course}/{assignment}/{student}": shapes.SentList,
    "POST /api/submission/{course}/{assignment}": shapes.ShortReceipt,
    "GET /api/submission/{course}/{assignment}/{student}": shapes.TimedTree,
    "POST /api/feedback/{course}/{assignment}/{student}": shapes.Done,
    "GET /api/feedback/{course}/{assignment}/{student}": shapes.TimedTree,
    "GET /gpuclass/v1/health": shapes.Done,
    "GET /gpuclass/v1/limits": shapes.ShownLimits,
    "GET /gpuclass/v1/assignments/{course}": shapes.Overview,
    "POST /gpuclass/v1/submission/{course}/{assignment}": shapes.Receipt,
    "PUT /gpuclass/v1/assignment/{course}/{assignment}": shapes.Version,
    "POST /gpuclass/v1/grading/{course}/{assignment}/{student}": shapes.Enqueued,
    "GET /gpuclass/v1/grading/jobs/{job_id}": shapes.Job,
    "GET /gpuclass/v1/grading/{course}": shapes.Progress,
    "POST /gpuclass/v1/regrade/{course}/{assignment}": shapes.RegradeRequested,
    "GET /gpuclass/v1/regrade/{course}/{assignment}/{batch}": shapes.Regrade,
    "POST /gpuclass/v1/regrade/{course}/{assignment}/{batch}/apply": shapes.Done,
    "POST /gpuclass/v1/regrade/{course}/{assignment}/{batch}/cancel": shapes.Done,
    "POST /gpuclass/v1/check/{course}/{assignment}": shapes.CheckRequested,
    "GET /gpuclass/v1/check/{course}/{assignment}/{check_id}": shapes.Check,
    "GET /gpuclass/v1/deadlines/{course}": shapes.DeadlineList,
    "PUT /gpuclass/v1/deadline/{course}/{assignment}": shapes.ShownDeadline,
    "PUT /gpuclass/v1/deadline/{course}/{assignment}/{student}": shapes.ShownDeadline,
    "GET /gpuclass/v1/submissions/{course}/{assignment}": shapes.StandingList,
}
REFERENCE = "#/components/schemas/{model}"
TEXT = "GET /gpuclass/v1/metrics"
OPEN = "GET /gpuclass/v1/health"
ERRORS = {
    302: "There is no user's token with the scope to use the exchange; `Location` is the page to log in",
    400: "It cannot be read, or a name is not safe; nothing was changed",
    403: "The caller may not do this",
    404: "There is no such course, assignment, person or submission",
    408: "It came too slowly; nothing was stored",
    409: "It is there already, or clashes with what is",
    413: "More than the limits allow; nothing was stored. The message has the number and what to do",
    415: "Another kind of body than the one described",
    429: "Too often, or too much at once; `Retry-After` says when to try again",
    503: "The hub cannot say who the caller is; `Retry-After` says when to try again",
    507: "The disk is full or broken; nothing was stored",
}
ALWAYS = (302, 503, 507)
WITH_NAMES = (400, 403, 404)
WITH_BODY = (400, 408, 413, 415, 429)
CLASHES = (
    "POST /api/course/{course}",
    "POST /api/student/{course}/{login}",
    "POST /api/assignment/{course}/{assignment}",
    "POST /gpuclass/v1/submission/{course}/{assignment}",
    "POST /gpuclass/v1/regrade/{course}/{assignment}",
    "POST /gpuclass/v1/regrade/{course}/{assignment}/{batch}/apply",
    "POST /gpuclass/v1/regrade/{course}/{assignment}/{batch}/cancel",
)


def describe(app: FastAPI, prefix: str) -> None:
    """Have ``app`` describe itself so; ``prefix`` is where its paths begin."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, prefix)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to change it


def _described(app: FastAPI, prefix: str) -> dict[str, Any]:
    api = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models: list[type[BaseModel]] = [shapes.Failure, shapes.Unwell, *dict.fromkeys(ANSWERS.values())]
    named, schemas = models_json_schema(
        [(Manifest, "validation"), *((model, "serialization") for model in models)], ref_template=REFERENCE
    )
    api["components"] = {
        "schemas": schemas["$defs"],
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "The JupyterHub token of a user's server, or another of a user with the scope "
                "`access:services!service=exchange`. `Authorization: token …` does as well.",
            }
        },
    }
    failure = named[shapes.Failure, "serialization"]
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            call = f"{method.upper()} {path.removeprefix(prefix)}"
            operation["security"] = [] if call == OPEN else [{"token": []}]
            answers = {
                "200": _good(call, named),
                **{str(status): _bad(status, failure) for status in _errors(call, operation)},
            }
            if call == OPEN:
                answers["503"] = _json("Submissions cannot be taken", named[shapes.Unwell, "serialization"])
            operation["responses"] = dict(sorted(answers.items()))
    return api


def _errors(call: str, operation: dict[str, Any]) -> Iterator[int]:
    """The statuses with which a call may be refused."""
    if call == OPEN:
        return
    yield from ALWAYS
    if "{" in call:
        yield from WITH_NAMES
    if "requestBody" in operation:
        yield from WITH_BODY
    if call in CLASHES:
        yield 409
    if call == TEXT:
        yield 403


def _good(call: str, named: Any) -> dict[str, Any]:
    if call == TEXT:
        return {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}
    model = ANSWERS[call]
    return _json((model.__doc__ or "").strip(), named[model, "serialization"])


def _bad(status: int, failure: dict[str, Any]) -> dict[str, Any]:
    answer = _json(ERRORS[status], failure)
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "seconds"}}
    if status == 302:
        answer["headers"] = {"Location": {"schema": {"type": "string"}}}
    return answer


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
