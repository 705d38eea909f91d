"""A real ``cosim serve`` in a process of its own, on a free port, and a client that speaks HTTP to it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

TOKEN = "0123456789abcdef0123"  # noqa: S105 - of these tests
PROJECT = Path(__file__).resolve().parents[2]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


def check(page: Page) -> None:
    """No rule of WCAG A and AA is broken that axe knows, and nothing is wider than the window."""
    found = Axe().run(page, options=RULES).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def check_both(page: Page) -> None:
    """`check` on a wide screen in light colours and on a telephone in dark ones."""
    for width, theme in ((1280, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        check(page)


class Served:
    """A server's process; it may be ended as a user or as a catastrophe would, and begun again on the same data."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data, self.options = data, options
        self.begin()

    def begin(self) -> None:
        command = [sys.executable, "-m", "cosim", "serve", "--port", "0", "--data", str(self.data), *self.options]
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=self.data.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "OPENBLAS_NUM_THREADS": "1", "NO_COLOR": "1"},
        )  # fmt: skip
        told = []
        for line in self.process.stdout or ():
            told.append(line)
            if found := re.search(r"http://\S+", line):
                self.url = found[0].rstrip("/")
                return
        raise AssertionError(f"the server did not begin:\n{''.join(told)}")

    def client(self, **headers: str) -> httpx.Client:
        """As our own pages ask; other headers go before."""
        own = {"Origin": self.url, **headers}
        # without certificates, which take longer to load than most answers
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=own, timeout=60.0, verify=False)  # noqa: S501

    def stop(self) -> int:
        """Stop it as Ctrl-C does; its exit code."""
        return self._end(signal.SIGINT)

    def kill(self) -> int:
        """End it as a crash does: nothing is tidied."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that many tests share."""
    served = Served(tmp_path_factory.mktemp("served") / "data")
    yield served
    served.kill()


@pytest.fixture(scope="session")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One with a token (`TOKEN`), a further name, and narrow limits."""
    folder = tmp_path_factory.mktemp("secret")
    token, config = folder / "token", folder / "serve.toml"
    token.write_text(TOKEN)
    token.chmod(0o600)
    config.write_text('hosts = ["cosim.example"]\nbody_mb = 1.0\nrows = 3\nplan_time_limit_s = 0.5\n')
    served = Served(folder / "data", "--token-file", str(token), "--config", str(config))
    yield served
    served.kill()


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as asking:
        yield asking


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Begin servers of one's own, on ``tmp_path/data`` unless said otherwise."""
    begun: list[Served] = []

    def begin(*options: str, data: Path | None = None) -> Served:
        begun.append(Served(data or tmp_path / "data", *options))
        return begun[-1]

    yield begin
    for served in begun:
        served.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium; without it tests are skipped, and fail where CI is set, for there it must be."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        missing = "no chromium on the path: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    expect.set_options(timeout=60_000)  # on a busy machine
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # root has none
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        yield started
        started.close()
