"""How a browser shows the token: once, in a form; from then on it sends a cookie that tells nothing of the token."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response

PATH = "/login"
MOST_BYTES = 4_000
_COOKIE = "cosim"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>cosim: token</title>
<meta name="viewport" content="width=device-width"><style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}
main {{ max-width: 24rem; margin: 15vh auto; padding: 0 1rem }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; margin: .25rem 0 }}
</style></head><body><main><h1>cosim</h1><form method="post" action="{path}">
<label for="token">Token of this server</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<p role="alert">{told}</p><button>Come in</button></form></main></body></html>"""


def page(told: str = "") -> Response:
    """Ask for the token."""
    return HTMLResponse(_PAGE.format(path=PATH, told=told), 401)


def answered(form: bytes, token: bytes, *, is_https: bool) -> Response:
    """Let in who gives the token; ask again otherwise."""
    given = parse_qs(form.decode("latin-1")).get("token", [""])[0].strip()
    if not same(given.encode("latin-1", "replace"), token):
        return page("That is not the token.")
    response = RedirectResponse("/", 303)
    response.set_cookie(_COOKIE, _value(token), httponly=True, samesite="strict", secure=is_https, path="/")
    return response


def has_cookie(cookies: str, token: bytes) -> bool:
    """Whether cookies hold the one of who has given the token."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(cookies)
    except CookieError:
        return False
    return _COOKIE in jar and same(jar[_COOKIE].value.encode("latin-1", "replace"), _value(token).encode())


def same(given: bytes, right: bytes) -> bool:
    """Compare secrets in a time that tells nothing of either, their lengths included."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(right).digest())


def _value(token: bytes) -> str:
    return hmac.new(token, b"cosim dashboard", hashlib.sha256).hexdigest()
