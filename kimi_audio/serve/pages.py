"""``/`` and ``/web/``: the page, as it lies in the package. It holds nothing secret, so it needs no key."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "web"
_HEADERS = {"Cache-Control": "no-cache"}  # a browser asks whether they have changed: the parts belong together

router = APIRouter()


@router.get("/", include_in_schema=False)
async def index() -> FileResponse:
    """Return the page."""
    return FileResponse(FOLDER / "index.html", headers=_HEADERS)


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def add_pages(app: FastAPI) -> None:
    """Serve the page."""
    app.include_router(router)
    app.mount("/web", _Files(directory=FOLDER))
