"""Who may come in, and with how much: names, origins, the token and the size of bodies, before anything else looks."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cosim.experiments.web.problems import problem
from cosim.experiments.web.settings import Settings

SAFE = ("GET", "HEAD", "OPTIONS")
COOKIE = "cosim"
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
        refused = self._refused(scope)
        if refused is None:
            await self._counted(scope, receive, send)
        else:
            await _answer(scope, receive, send, *refused)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason where a request may not come in."""
        if scope["type"] == "websocket":
            return 403, "nothing here speaks over sockets"
        host = _only(scope, b"host")
        if host is None or _name_of(host) not in self._names:
            return 421, "this server is not known by that name (Host); the setting `hosts` lists further ones"
        bears = self._bears_token(scope)
        if self._token is not None and not bears and not self._has_cookie(scope):
            return 401, "give the token: Authorization: Bearer ..."
        if scope["method"] not in SAFE and not bears and not _is_own(_only(scope, b"origin"), host):
            return 403, f"what changes something must come from our own pages (Origin: http://{host}) or bring a token"
        return None

    def _bears_token(self, scope: Scope) -> bool:
        if self._token is None:
            return False
        kind, _, given = (_only(scope, b"authorization") or "").partition(" ")
        told = given.strip().encode("latin-1", "replace")
        return hmac.compare_digest(told, self._token) and kind.lower() == "bearer"

    def _has_cookie(self, scope: Scope) -> bool:
        if self._token is None:
            return False
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load("; ".join(_all(scope, b"cookie")))
        except CookieError:
            return False
        given = jar[COOKIE].value if COOKIE in jar else ""
        return hmac.compare_digest(given.encode("latin-1", "replace"), cookie_of(self._token).encode())

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        too_long = f"a body may have {self._most} bytes"
        said = _only(scope, b"content-length")
        if said is not None and (not said.isdecimal() or int(said[:20]) > self._most):
            await _answer(scope, receive, send, *((413, too_long) if said.isdecimal() else (400, "Content-Length")))
            return
        came, is_over, is_begun = 0, False, False

        async def counting() -> Message:
            nonlocal came, is_over
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                is_over = True
                raise HTTPException(413, too_long)  # passes through whatever reads the body
            return message

        async def watching(message: Message) -> None:
            nonlocal is_begun
            if is_over and not is_begun:
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


def cookie_of(token: bytes) -> str:
    """Value of the cookie of who has given the token: it tells nothing of the token itself."""
    return hmac.new(token, b"cosim dashboard", hashlib.sha256).hexdigest()


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
