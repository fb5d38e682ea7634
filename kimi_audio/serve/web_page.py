"""``/``: the page to talk to the model, and its files."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

router = APIRouter()

FOLDER = Path(__file__).parent / "web"
INDEX = FOLDER / "index.html"


@router.get("/", response_model=None)
async def page() -> Response:
    """Return the page."""
    if INDEX.exists():
        return FileResponse(INDEX)
    return PlainTextResponse("kimi-audio serves here: OpenAI's audio routes and Realtime under /v1.\n")


def mount_files(app: FastAPI) -> None:
    """Serve what lies beside the page under ``/web/``, and nothing else."""
    if FOLDER.is_dir():
        app.mount("/web", StaticFiles(directory=FOLDER))
