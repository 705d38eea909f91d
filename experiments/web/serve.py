"""The command ``cosim serve``; what it does is imported when it is asked for."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, socket
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cosim.errors import Fault, InputError
from cosim.folder import claimed, write_whole

if TYPE_CHECKING:
    from cosim.experiments.web.settings import Settings

_out = Console()
GRACE_S = 3
"""For requests that are under way when the server is stopped."""
_READ_ME = """Data of `cosim serve`: sessions, plans, runs and studies; catalogue.sqlite3 says what there is.
One server uses a folder at a time. To move it, stop the server and take the folder as a whole.
"""


def serve(
    host: Annotated[str, typer.Option(help="Address; any but this machine's own needs --token-file.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 8000,
    data: Annotated[Path, typer.Option(help="Folder of everything that is kept.")] = Path("cosim-data"),
    token_file: Annotated[Path | None, typer.Option(help="File with the secret that clients must bring.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of limits, names and plug-ins: docs/serve.md.")] = None,
) -> None:
    """Serve the HTTP interface and the dashboard."""
    from cosim.experiments.web.settings import read_settings, read_token

    token = None if token_file is None else read_token(token_file)
    settings = read_settings(config, data=data.absolute(), host=host, port=port, token=token)
    with ExitStack() as held:
        try:
            owned = held.enter_context(claimed(settings.data, overwrite=True))
        except InputError as error:
            raise InputError([replace(fault, key="--data") for fault in error.faults]) from None
        write_whole(owned.path / "README.txt", lambda path: path.write_text(_READ_ME, encoding="utf-8"))
        _run(settings)  # now: it brings everything, and the above may have been refused


def _run(settings: Settings) -> None:
    try:
        import uvicorn

        from cosim.experiments.web.app import create_app
    except ImportError as error:
        remedy = "install the extra: pip install 'lv-feeder-cosim[web]'"
        raise InputError(Fault("cosim serve", "", f"needs the package {error.name}", remedy)) from None
    from cosim.threads import ONE_THREAD

    sys.argv = ["cosim", "serve"]  # what manifests tell, which clients may read: where the data lie is ours

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            """Say where it is once somebody can come."""
            await super().startup(sockets)
            if self.started and sockets:
                name = settings.host if settings.host.lower() in settings.names else "localhost"  # of 0.0.0.0
                name = f"[{name}]" if ":" in name else name
                address = f"http://{name}:{sockets[0].getsockname()[1]}/"
                _out.print(f"Serving {address}", highlight=False, soft_wrap=True)

    with ONE_THREAD:
        server = Server(
            uvicorn.Config(
                create_app(settings), host=settings.host, port=settings.port, log_level="warning", access_log=False,
                server_header=False, timeout_graceful_shutdown=GRACE_S,
            )
        )  # fmt: skip
        if settings.token is not None:
            _out.print(f"Only who brings the token comes in; it answers to {', '.join(sorted(settings.names))}.")
        with suppress(KeyboardInterrupt):  # how a server ends
            server.run([_listening(settings)])
    _out.print("Stopped.")


def _listening(settings: Settings) -> socket:
    """Socket at the address; InputError where it is not to be had."""
    family = AF_INET6 if ":" in settings.host else AF_INET
    listening = socket(family)
    try:
        if os.name == "posix":
            listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        listening.close()
        problem = f"{settings.host}:{settings.port} cannot be listened at: {getattr(error, 'strerror', None) or error}"
        raise InputError(Fault("cosim serve", "--port", problem, "give another, or 0 for any that is free")) from None
    return listening
