"""Who may come in, and with how much: names, origins, the token and the size of bodies, before anything else looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cosim.experiments.web import login
from cosim.experiments.web.problems import problem
from cosim.experiments.web.settings import Settings

SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
}
"""Of every answer: nothing is loaded from, sent to or framed by another host. Dash writes scripts into its page."""
_CALLBACKS = "/_dash-"
_DRAIN_BYTES, _DRAIN_S = 256_000_000, 30.0


class Guard:
    """Middleware of every request.

    The ``Host`` must be one of the server's names, or a page of others could reach it by a name that it points here.
    What changes state must come from our own pages (``Origin``) or bring the token. With a token, nothing is answered
    without it. A body is counted as it comes, and refused when it is too long. Sockets are refused: nothing uses them.

    Parameters
    ----------
    app : ASGI application
        What is guarded.
    settings : Settings
        Names, token and limit.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._names, self._most = app, settings.names, settings.body_bytes
        self._token = None if settings.token is None else settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def sealing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refused(scope)
        if refused is None and self._token is not None and scope["path"] == login.PATH:
            await self._log_in(scope, receive, sealing)
        elif refused is None:
            await self._counted(scope, receive, sealing)
        elif refused[0] == 401 and scope["method"] in SAFE and "text/html" in (_only(scope, b"accept") or ""):
            await login.page()(scope, receive, sealing)
        else:
            await _answer(scope, receive, sealing, *refused)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason where a request may not come in."""
        if scope["type"] == "websocket":
            return 403, "nothing here speaks over sockets"
        host = _only(scope, b"host")
        if host is None or _name_of(host) not in self._names:
            return 421, "this server is not known by that name (Host); the setting `hosts` lists further ones"
        bears = self._bears_token(scope)
        is_known = self._token is None or bears or login.has_cookie("; ".join(_all(scope, b"cookie")), self._token)
        if not is_known and scope["path"] != login.PATH:
            return 401, "give the token: Authorization: Bearer ..."
        if scope["method"] not in SAFE and not bears and not _is_own(_only(scope, b"origin"), host):
            return 403, f"what changes something must come from our own pages (Origin: http://{host}) or bring a token"
        return None

    def _bears_token(self, scope: Scope) -> bool:
        if self._token is None:
            return False
        kind, _, given = (_only(scope, b"authorization") or "").partition(" ")
        told = given.strip().encode("latin-1", "replace")
        return login.same(told, self._token) and kind.lower() == "bearer"

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        form, is_more = b"", scope["method"] == "POST"
        while is_more and len(form) <= login.MOST_BYTES:
            message = await receive()
            form, is_more = form + message.get("body", b""), message.get("more_body", False)
        is_form = form and not is_more and self._token is not None
        token = self._token or b""
        answer = login.answered(form, token, is_https=scope["scheme"] == "https") if is_form else login.page()
        await answer(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        too_long = f"a body may have {self._most} bytes"
        said = _only(scope, b"content-length")
        if said is not None and (not said.isdecimal() or int(said[:20]) > self._most):
            await _answer(scope, receive, send, *((413, too_long) if said.isdecimal() else (400, "Content-Length")))
            return
        came, is_over, is_begun, is_odd = 0, False, False, False

        async def counting() -> Message:
            nonlocal came, is_over
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                is_over = True
                raise HTTPException(413, too_long)  # passes through whatever reads the body
            return message

        async def watching(message: Message) -> None:
            nonlocal is_begun, is_odd
            is_odd |= message.get("status") == 500 and scope["path"].startswith(_CALLBACKS)
            if (is_over and not is_begun) or is_odd:
                return  # whatever is made of it: it is answered below
            is_begun = True
            await send(message)

        try:
            await self._app(scope, counting, watching)
        except HTTPException:
            if not is_over:
                raise
        if is_over and not is_begun:
            await _answer(scope, receive, send, 413, too_long)
        elif is_odd:  # what fails inside a callback is caught there, so Dash did not understand what came
            logging.getLogger(__name__).warning("a callback of the dashboard was not understood")
            await problem(400, "this is no callback of our pages")(scope, receive, send)


async def _answer(scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
    """Answer with a problem, after a body that is still coming has been thrown away: or its sender hears nothing."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": detail[:100]})
        return
    if _only(scope, b"expect") is None:
        await _drained(receive)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    headers |= {"Connection": "close"} if status == 413 else {}
    await problem(status, detail, headers=headers)(scope, receive, send)


async def _drained(receive: Receive) -> None:
    came = 0
    try:
        async with asyncio.timeout(_DRAIN_S):
            while came < _DRAIN_BYTES:
                message = await receive()
                came += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _all(scope: Scope, name: bytes) -> list[str]:
    headers: Iterable[Any] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key == name]


def _only(scope: Scope, name: bytes) -> str | None:
    """Value of a header that is there once."""
    found = _all(scope, name)
    return found[0] if len(found) == 1 else None


def _name_of(host: str) -> str:
    """Name without the port, in small letters; empty where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "") if "@" not in host and "/" not in host else ""
    except ValueError:
        return ""


def _is_own(origin: str | None, host: str) -> bool:
    scheme, mark, place = (origin or "").partition("://")
    return bool(mark) and scheme in ("http", "https") and place.lower() == host.lower()
