"""Who may come in, and with how much: asked of a real server with whatever headers a page of others could send."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cosim.errors import InputError
from cosim.experiments.web.settings import read_settings, read_token
from tests.web.conftest import PROJECT, TOKEN, Served

BODY = b'{"vehicles": 2}'


def ask(served: Served, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Ask with exactly these headers; ``_`` stands for a hyphen."""
    name, port = served.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(name, int(port), timeout=30)
    try:
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, path, body, {"Content-Type": "application/json", **sent})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def port_of(served: Served) -> str:
    return served.url.rpartition(":")[2]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_its_own_names_are_answered(server: Served, name: str) -> None:
    assert ask(server, "GET", "/api/v1/plans", Host=f"{name}:{port_of(server)}")[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "localhost@evil.example", "", "[::1", "a b"]
)
def test_other_names_are_not(server: Served, host: str) -> None:
    """A page of others that lets its own name point here (DNS rebinding) reads nothing."""
    for path in ("/api/v1/plans", "/", "/_dash-layout"):
        assert ask(server, "GET", path, Host=host)[0] in (400, 421), path


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "file://", "http://localhost:{port}",
     "http://127.0.0.1:{port}.evil.example", "ftp://127.0.0.1:{port}", "127.0.0.1:{port}"],
)  # fmt: skip
def test_what_changes_something_needs_our_own_origin(server: Served, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin.format(port=port_of(server))}
    for path in ("/api/v1/demand", "/_dash-update-component", "/anything"):
        assert ask(server, "POST", path, BODY, **headers)[0] == 403, path
    assert ask(server, "POST", "/api/v1/demand", BODY, Origin=server.url)[0] == 201


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[]", b'{"output": "x", "inputs": 3}', b'{"output": {}}', b"\xff"])
def test_what_is_no_callback_of_our_pages_is_told_so(server: Served, body: bytes) -> None:
    status, answer = ask(server, "POST", "/_dash-update-component", body, Origin=server.url)
    assert (status, b"no callback of our pages" in answer) == (400, True)


def test_a_form_of_others_and_two_origins_are_refused(server: Served) -> None:
    name, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(name, int(port), timeout=30)
    connection.putrequest("POST", "/api/v1/demand")
    for key, value in (("Origin", server.url), ("Origin", "http://evil.example"), ("Content-Length", "0")):
        connection.putheader(key, value)
    connection.endheaders()
    assert connection.getresponse().status == 403
    connection.close()


def test_no_socket_is_opened(server: Served) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    key = {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    status, _ = ask(server, "GET", "/_dash-ws-callback", **headers, **key, Origin=server.url)
    assert status != 101


def test_with_a_token_nothing_is_answered_without_it(secret: Served) -> None:
    own = {"Origin": secret.url}
    for path in ("/", "/api/v1/plans", "/api/v1/openapi.json", "/_dash-layout", "/assets/shell.css"):
        assert ask(secret, "GET", path)[0] == 401, path
        assert ask(secret, "GET", path, Authorization=f"Bearer {TOKEN}x")[0] == 401, path
        assert ask(secret, "GET", path, Authorization=f"Basic {TOKEN}")[0] == 401, path
    assert ask(secret, "POST", "/api/v1/demand", BODY, **own)[0] == 401
    assert ask(secret, "GET", "/api/v1/plans", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(secret, "POST", "/api/v1/demand", BODY, Authorization=f"Bearer {TOKEN}")[0] == 201
    assert ask(secret, "GET", "/api/v1/plans", Authorization=f"Bearer {TOKEN}", Host="cosim.example")[0] == 200


def test_a_browser_gives_the_token_once_and_changes_things_from_our_pages_only(secret: Served) -> None:
    page = ask(secret, "GET", "/", Accept="text/html")
    assert page[0] == 401
    assert b'name="token"' in page[1]
    with secret.client(Accept="text/html") as client:
        address = f"{secret.url}/login"
        assert client.post(address, data={"token": "wrong"}).status_code == 401
        assert client.post(address, content=b"x" * 100_000).status_code == 401
        assert client.post(address, data={"token": TOKEN}, headers={"Origin": "http://evil.example"}).status_code == 403
        answer = client.post(address, data={"token": TOKEN})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/plans").status_code == 200
        assert client.post("/demand", json={"vehicles": 2}).status_code == 201
        assert client.post("/demand", json={}, headers={"Origin": "http://evil.example"}).status_code == 403


def test_a_body_is_refused_when_it_is_said_to_be_too_long_and_when_it_turns_out_to_be(secret: Served) -> None:
    bears = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(secret, "POST", "/api/v1/demand", b" " * 1_000_000, **bears)[0] == 422  # nothing in it, but not too long
    assert ask(secret, "POST", "/api/v1/demand", b" " * 1_000_001, **bears)[0] == 413
    with secret.client(**bears) as client:
        pieces = (b" " * 100_000 for _ in range(30))  # without a length
        answer = client.post("/demand", content=pieces, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        files = {"file": ("a.csv", b"a" * 2_000_000)}
        assert client.post("/sessions", files=files).status_code == 413


def resident_mb(served: Served) -> float:
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is read from /proc")
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_a_body_of_100_mb_takes_no_memory(secret: Served, kind: str) -> None:
    before_mb = resident_mb(secret)
    with secret.client(Authorization=f"Bearer {TOKEN}") as client:
        is_form = "form" in kind
        begin = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' if is_form else b" "
        pieces = (begin if k == 0 else b"x" * 1_000_000 for k in range(100))
        path = "/sessions" if is_form else "/demand"
        assert client.post(path, content=pieces, headers={"Content-Type": kind}).status_code == 413
    assert resident_mb(secret) - before_mb < 20


@pytest.mark.parametrize(
    ("token", "mode", "words"),
    [
        ("short", 0o600, "holds no token"),
        (TOKEN, 0o644, "can be read by other users"),
        (TOKEN, 0o640, "can be read by other users"),
        (f"{TOKEN} {TOKEN}", 0o600, "holds no token"),
        ("ü" * 20, 0o600, "not in ASCII"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_token_that_is_none_or_not_secret_is_refused(
    tmp_path: Path, token: str | None, mode: int, words: str
) -> None:
    file = tmp_path / "token"
    if token is not None:
        file.write_text(token, encoding="utf-8")
        file.chmod(mode)
    with pytest.raises(InputError) as caught:
        read_token(file)
    assert words in str(caught.value)
    assert caught.value.faults[0].remedy
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "cosim.example", ""])  # noqa: S104 - refused
def test_another_address_needs_a_token(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match="others reach it"):
        read_settings(None, data=tmp_path, host=host)
    assert read_settings(None, data=tmp_path, host=host, token=TOKEN).token == TOKEN


def test_settings_that_are_wrong_are_named_at_once(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text('bodymb = 3\ntoken = "secret"\n')
    with pytest.raises(InputError) as caught:
        read_settings(config, data=tmp_path)
    assert [fault.key for fault in caught.value.faults] == ["bodymb", "token"]
    assert "did you mean 'body_mb'?" in str(caught.value)
    config.write_text('rows = "many"\nhosts = [3]\n')
    with pytest.raises(InputError) as caught:
        read_settings(config, data=tmp_path)
    assert {fault.key for fault in caught.value.faults} == {"rows", "hosts.0"}
    config.write_text('hosts = ["cosim.example:8443", "http://cosim.example", "2001:db8::1"]\n')
    with pytest.raises(InputError, match="leave scheme and port out") as caught:
        read_settings(config, data=tmp_path)
    assert len(caught.value.faults) == 2


def told(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "cosim", "serve", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    return done.returncode, done.stderr


def test_the_command_refuses_an_open_door_and_a_folder_that_is_in_use(server: Served, tmp_path: Path) -> None:
    code, words = told("--host", "0.0.0.0", "--data", str(tmp_path / "d"))  # noqa: S104 - refused
    assert (code, "--token-file" in words, (tmp_path / "d").exists()) == (2, True, False)
    code, words = told("--port", "0", "--data", str(server.data))
    assert (code, "--data: is in use by another process" in words) == (2, True)


def test_a_server_at_every_address_says_one_that_it_answers_to(serve: Callable[..., Served], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    served = serve("--host", "0.0.0.0", "--token-file", str(token))  # noqa: S104 - with a token
    assert ask(served, "GET", "/api/v1/plans", Authorization=f"Bearer {TOKEN}")[0] == 200
