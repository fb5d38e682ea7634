"""Errors as OpenAI's clients expect them: ``{"error": {"message", "type", "param", "code"}}``."""

import logging
import secrets
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

logger = logging.getLogger(__name__)

_TEXT = {"type": ["string", "null"]}
_ERROR = {
    "type": "object",
    "properties": {"message": {"type": "string"}, "type": {"type": "string"}, "param": _TEXT, "code": _TEXT},
    "required": ["message", "type", "param", "code"],
}
_ENVELOPE = {"type": "object", "properties": {"error": _ERROR}, "required": ["error"]}
# What the schema of the interface says of errors, instead of FastAPI's own.
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"description": "An error.", "content": {"application/json": {"schema": _ENVELOPE}}}
    for status in ("4XX", "5XX")
}


class ApiError(Exception):
    """What a client is told.

    Args:
        message: one clear sentence: the cause, and the remedy.
        status: of HTTP.
        code: for programs.
        param: the field at fault.
        retry_after_s: when to try again.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.param = message, status, code, param
        self.retry_after_s = retry_after_s

    @property
    def type(self) -> str:
        """The kind of error, as OpenAI names them."""
        if self.status >= 500:
            return "server_error"
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return kinds.get(self.status, "invalid_request_error")

    def envelope(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return what the answer has beside its body."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.envelope(), self.status, self.headers())


def unsupported(param: str, value: object, supported: str) -> ApiError:
    """Return the error for a value that this server does not know."""
    return ApiError(
        f"Unsupported value: '{param}' does not support {str(value)[:100]!r}. Supported values are: {supported}.",
        code="unsupported_value",
        param=param,
    )


def failure(error: Exception) -> ApiError:
    """Return what a client is told of an error: of its own mistakes all, of ours only a number to ask about."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValueError):
        return ApiError(str(error), code="invalid_value")
    number = secrets.token_hex(4)
    logger.error("error %s", number, exc_info=error)
    return ApiError(f"The server failed; its log explains error {number}.", 500, code="internal_error")


def add_handlers(app: FastAPI) -> None:
    """Answer errors of all kinds in the same form."""

    @app.exception_handler(ApiError)
    async def _own(_: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or None
        message = f"{place}: {first['msg']}" if place else first["msg"]
        return ApiError(message, code="invalid_value", param=place).response()

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, ApiError):  # FastAPI wraps what goes wrong while it reads a body
            return error.__cause__.response()
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        response = ApiError(str(error.detail), error.status_code, code=code).response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> JSONResponse:
        response = failure(error).response()
        response.headers["Connection"] = "close"  # the error goes on to the server, which closes it
        return response
