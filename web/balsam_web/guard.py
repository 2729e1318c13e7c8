"""What stands before every answer: which host was asked, by which page, by whom; and headers that bind browsers."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from balsam_web.door import Door, is_loopback, is_same_origin

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""On every answer. Scripts, styles and calls come from and go to this server only, and nothing inline is run."""

LOGIN = "/api/login"
_READS = frozenset({"GET", "HEAD"})


class Guard:
    """Refuses what does not come from a page that was let in. The page itself holds no data, and is for everybody.

    Args:
        app: what answers.
        door: knows who was let in.
        cookie: name of the cookie.
    """

    def __init__(self, app: ASGIApp, door: Door, cookie: str) -> None:
        self._app = app
        self._door = door
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(HTTPConnection(scope))

        async def send_bound(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["cache-control"] = "no-store" if scope["path"].startswith("/api/") else "no-cache"
            await send(message)

        await (refusal or self._app)(scope, receive, send_bound)

    def _refusal(self, call: HTTPConnection) -> ASGIApp | None:
        """The answer to a call that must not get through; None: it may."""
        host = call.headers.get("host", "")
        path, method = call.scope["path"], call.scope["method"]
        if not is_loopback(host):
            return _refused(400, "BAD_HOST", "this page is at 127.0.0.1 or localhost, by no other name")
        if method not in _READS and not is_same_origin(call.headers.get("origin", ""), host):
            return _refused(403, "BAD_ORIGIN", "this was not asked for by the page itself")
        if not path.startswith("/api/") or path == LOGIN:
            return None
        # The browser's event stream can send no headers; it reads only.
        key = call.headers.get("x-balsam-key", "") or (call.query_params.get("key", "") if method in _READS else "")
        if self._door.knows(call.cookies.get(self._cookie, ""), key):
            return None
        return _refused(401, "NOT_LET_IN", "open the link that `balsam web` has printed last")


def _refused(status: int, reason: str, text: str) -> JSONResponse:
    return JSONResponse({"error": text, "reason": reason}, status)
