"""The page and what it asks for, as an ASGI application. It translates; what is done is in the other modules."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from balsam.client import Client
from balsam.errors import BalsamError, Conflict, NotAllowed, NotFound, Unavailable, ValidationError
from balsam.fields import check_id
from balsam_web.actions import act
from balsam_web.asking import Site
from balsam_web.board import Board
from balsam_web.door import Door
from balsam_web.guard import LOGIN, Guard

STATIC = Path(__file__).parent / "static"
PAGES = ("/", "/jobs", "/jobs/{job_id}", "/launches")
"""Addresses of the page; what it shows there, its scripts know."""
_NO_PAGES = ("/api/", "/static/")
"""Where what is not there is for programs; elsewhere the page says so, with a way back."""
_MOST_BODY = 65_536
_KEEP_ALIVE_SECONDS = 15.0

_STATUS: tuple[tuple[type[BalsamError], int], ...] = (
    (ValidationError, 400),
    (NotFound, 404),
    (NotAllowed, 403),
    (Conflict, 409),
    (Unavailable, 503),
)


def make_app(client: Client, board: Board, door: Door, cookie: str) -> ASGIApp:
    """The application.

    Args:
        client: the line to the site.
        board: tells what happens there.
        door: knows who may come in.
        cookie: name of the cookie.
    """
    site = Site(client)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with board.running():
            yield

    async def page(_request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def no_page(request: Request, _error: Exception) -> Response:
        if request.url.path.startswith(_NO_PAGES):
            return JSONResponse({"error": f"there is no {request.url.path}", "reason": "NOT_FOUND"}, 404)
        return FileResponse(STATIC / "index.html", 404)

    async def login(request: Request) -> Response:
        body = await _body(request)
        visitor = door.admit(str(body.get("token", "")))
        if visitor is None:
            return JSONResponse({"error": "this link has been used, or is an old one", "reason": "NOT_LET_IN"}, 401)
        response = JSONResponse({"key": visitor.key})
        response.set_cookie(cookie, visitor.cookie, path="/api", httponly=True, samesite="strict")
        return response

    async def events(request: Request) -> Response:
        job_id = request.query_params.get("job", "")
        stream = _told(board, check_id(job_id, "job") if job_id else "")
        return StreamingResponse(stream, media_type="text/event-stream")

    async def history(_request: Request) -> Response:
        return JSONResponse(board.history.columns(board.now()))

    async def action(request: Request) -> Response:
        body = await _body(request)
        return JSONResponse(await run_in_threadpool(act, client, request.path_params["name"], body))

    def asked(question: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return JSONResponse(await run_in_threadpool(question, request))

        return answer

    routes = [
        *(Route(path, page) for path in PAGES),
        Route(LOGIN, login, methods=["POST"]),
        Route("/api/site", asked(lambda _: site.about())),
        Route("/api/events", events),
        Route("/api/history", history),
        Route("/api/jobs", asked(lambda request: site.jobs(request.query_params))),
        Route("/api/jobs/{job_id}", asked(lambda request: site.job(request.path_params["job_id"]))),
        Route("/api/jobs/{job_id}/output", asked(lambda request: site.output(request.path_params["job_id"]))),
        Route("/api/launches", asked(lambda _: site.launches() | {"launchers": board.launchers})),
        Route("/api/actions/{name}", action, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={404: no_page, BalsamError: _explained, Exception: _unexpected},
        lifespan=lifespan,
    )
    return Guard(app, door, cookie)


async def _told(board: Board, job_id: str) -> AsyncIterator[str]:
    """The messages of the board, in the format of https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    with board.subscribed(job_id) as subscriber:
        while not board.closed:
            message = await subscriber.next(_KEEP_ALIVE_SECONDS)
            if message is None:
                yield ": still here\n\n"
            elif not board.closed:
                yield f"data: {json.dumps(message)}\n\n"


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent.

    Raises:
        ValidationError: it is none, or too long.
    """
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_BODY:
            raise ValidationError(f"the request is longer than {_MOST_BODY} bytes")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ValidationError("the request is no JSON object")
    return body


async def _explained(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BalsamError)
    status = next((status for cls, status in _STATUS if isinstance(error, cls)), 400)
    return JSONResponse({"error": str(error), "reason": error.reason}, status)


async def _unexpected(_request: Request, error: Exception) -> Response:
    text = f"unexpected error: {type(error).__name__}: {error} (BALSAM_DEBUG=1 shows where, in the terminal)"
    return JSONResponse({"error": text, "reason": "UNEXPECTED"}, 500)
