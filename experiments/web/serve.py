"""The command ``cosim serve``; what it does is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cosim.errors import Fault, InputError
from cosim.folder import claimed, write_whole

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
    try:
        import uvicorn

        from cosim.experiments.web.app import create_app
        from cosim.experiments.web.settings import read_settings, read_token
    except ImportError as error:
        remedy = "install the extra: pip install 'lv-feeder-cosim[web]'"
        raise InputError(Fault("cosim serve", "", f"needs the package {error.name}", remedy)) from None
    from cosim.threads import ONE_THREAD

    token = None if token_file is None else read_token(token_file)
    settings = read_settings(config, data=data.absolute(), host=host, port=port, token=token)
    with claimed(settings.data, overwrite=True) as owned, ONE_THREAD:
        write_whole(owned.path / "README.txt", lambda path: path.write_text(_READ_ME, encoding="utf-8"))
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings), host=settings.host, port=settings.port, log_level="warning", access_log=False,
                server_header=False, timeout_graceful_shutdown=GRACE_S,
            )
        )  # fmt: skip
        listening = server.config.bind_socket()
        _out.print(f"Serving {_address(settings.host, listening.getsockname()[1])}", highlight=False, soft_wrap=True)
        if token is not None:
            _out.print("Whoever comes in must bring the token.", highlight=False)
        server.run([listening])
        if not server.started:
            raise InputError(Fault("cosim serve", "--port", "cannot be served", "the lines above say why"))


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
