"""JSON of strangers, as the standard has it: whatever is taken can also be kept, told to the model and sent back."""

import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from kimi_audio.serve.http_errors import ApiError


def read_json(text: str | bytes) -> Any:
    """Return the values of a JSON text.

    Raises:
        ValueError: it is none, is nested too deeply, or holds half a character or a number that is not finite.
    """
    values = from_json(text, allow_inf_nan=False)
    if not _is_finite(values):  # 1e999 is well written
        raise ValueError("a number is too large")
    return values


def _is_finite(values: Any) -> bool:
    if isinstance(values, dict):
        return all(map(_is_finite, values.values()))
    if isinstance(values, list):
        return all(map(_is_finite, values))
    return not isinstance(values, float) or math.isfinite(values)


class _JsonRequest(Request):
    async def json(self) -> Any:
        try:
            return read_json(await self.body())
        except ValueError as error:
            raise ApiError(f"The body is not JSON: {error}.", code="invalid_json") from None


class JsonRoute(APIRoute):
    """A route whose body is read by ``read_json``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_strictly
