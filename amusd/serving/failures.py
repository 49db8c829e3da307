"""Errors as HTTP answers, in the form that OpenAI's clients read."""

import json
from typing import Any, Final

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from amusd.errors import AccessError, AmusdError, BusyError, InputError, UnavailableError

STATUS_DESCRIPTIONS: Final = {
    400: "A value is refused; `param` names it.",
    401: "An API key is needed.",
    404: "There is no such model or path.",
    413: "The body is too large.",
    429: "Too many requests are running and waiting.",
    500: "The request failed on a defect or a lost worker.",
    503: "The server starts, drains or has lost its engine.",
}


class UnknownModelError(InputError):
    """A model that is not served here."""


class TooLargeError(InputError):
    """A body of more bytes than are read."""


class Json(JSONResponse):
    """A JSON answer in ASCII, so that no text that a client sent can break it."""

    def render(self, content: Any) -> bytes:
        """Encode."""
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def failure(error: Exception) -> tuple[int, dict[str, Any]]:
    """The status of an error and its body."""
    match error:
        case UnknownModelError():
            return _body(404, str(error), "invalid_request_error", error.field, "model_not_found")
        case TooLargeError():
            return _body(413, str(error), "invalid_request_error", error.field, "too_large")
        case InputError():
            return _body(400, str(error), "invalid_request_error", error.field, "invalid_value")
        case AccessError():
            return _body(401, str(error), "authentication_error", None, "invalid_api_key")
        case BusyError():
            return _body(429, str(error), "rate_limit_error", None, "queue_full")
        case UnavailableError():
            return _body(503, str(error), "service_unavailable_error", None, "unavailable")
        case AmusdError():
            return _body(500, str(error), "server_error", None, "engine_error")
        case HTTPException():
            return _body(error.status_code, str(error.detail), "invalid_request_error", None, None)
        case _:
            return _body(500, "the server failed on a defect; its log says more", "server_error", None, None)


async def answer_failure(request: Request, error: Exception) -> Response:
    """Registered for every kind of error."""
    status, body = failure(error)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, BusyError) and error.retry_seconds is not None:
        headers["Retry-After"] = str(error.retry_seconds)
    if isinstance(error, AccessError):
        headers["WWW-Authenticate"] = "Bearer"
    return Json(body, status, headers)


def _body(
    status: int, message: str, kind: str, param: str | None, code: str | None
) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}
