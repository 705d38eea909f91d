"""What the server is told: where it listens and keeps its data, who may come in, and how much at once."""

from __future__ import annotations

import ipaddress
import os
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cosim.errors import Fault, InputError, meant, range_faults, refuse

COMMAND = "cosim serve"
LEAST_TOKEN = 16
_OF_COMMAND = ("data", "host", "port", "token")
"""Not in the file of limits: said on the command line, or secret."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one server.

    Attributes
    ----------
    data : Path
        Folder of everything that is kept.
    host, port : str, int
        Address to listen at; port 0: any that is free.
    token : str or None
        Secret that clients send as ``Authorization: Bearer``; needed at any address but this machine's own.
    hosts : tuple of str
        Names beside 127.0.0.1, ::1 and localhost under which the server may be asked for.
    controllers : tuple of str
        Plug-ins (``module:Class``) that requests may name beside the shipped controllers.
    body_mb : float
        Largest body of a request [MB].
    rows : int
        Most sessions of one table.
    plan_time_limit_s : float
        Most time for the solver of one plan [s].
    jobs_at_once, jobs_waiting : int
        Plans, and apart from them runs and studies, that are worked on at a time; and most that wait.
    run_time_limit_s : float
        After which a run or a study is stopped [s].
    worlds : int
        Most worlds of one study.

    Raises
    ------
    InputError
        With everything that is out of range, or an address that others reach without a token.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    hosts: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()
    body_mb: float = 20.0
    rows: int = 10_000
    plan_time_limit_s: float = 60.0
    jobs_at_once: int = 2
    jobs_waiting: int = 50
    run_time_limit_s: float = 3600.0
    worlds: int = 2_000

    def __post_init__(self) -> None:
        refuse(self._faults())

    @property
    def body_bytes(self) -> int:
        """Largest body of a request [byte]."""
        return int(1e6 * self.body_mb)

    @property
    def names(self) -> frozenset[str]:
        """Names under which the server may be asked for, in small letters."""
        own = (self.host,) if not _is_any(self.host) else ()
        return frozenset(name.lower() for name in ("127.0.0.1", "localhost", "::1", *own, *self.hosts))

    def _faults(self) -> Iterator[Fault]:
        ranges = (
            ("port", self.port, 0, 65_535, "a port"),
            ("body_mb", self.body_mb, 0.001, 200.0, "MB"),
            ("rows", self.rows, 1, 1_000_000, "a number of rows"),
            ("plan_time_limit_s", self.plan_time_limit_s, 0.1, 3600.0, "seconds"),
            ("jobs_at_once", self.jobs_at_once, 1, 256, "a number of jobs"),
            ("jobs_waiting", self.jobs_waiting, 0, 10_000, "a number of jobs"),
            ("run_time_limit_s", self.run_time_limit_s, 1.0, 1e7, "seconds"),
            ("worlds", self.worlds, 1, 1_000_000, "a number of worlds"),
        )
        yield from range_faults(COMMAND, ranges)
        for name in self.hosts:
            if "/" in name or name.count(":") == 1 or not name.strip():
                remedy = "leave scheme and port out, such as cosim.example"
                yield Fault(COMMAND, "hosts", f"{name!r} is no name that a browser sends as Host", remedy)
        if self.token is None and not is_own_machine(self.host):
            problem = f"is {self.host}: others reach it, and nothing says who may come in"
            remedy = "give a secret by --token-file FILE, or listen at 127.0.0.1"
            yield Fault(COMMAND, "--host", problem, remedy)


def is_own_machine(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def read_settings(config: Path | None, **said: Any) -> Settings:
    """Settings from a TOML file of limits and names, or defaults, and what the command line says.

    Raises
    ------
    InputError
        With every unknown key and wrong value.
    """
    table: dict[str, Any] = {}
    if config is not None:
        try:
            table = tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(Fault(str(config), "", f"cannot be read: {error}", "give a TOML file")) from None
    known = [one.name for one in fields(Settings) if one.name not in _OF_COMMAND]
    refuse(
        Fault(str(config), key, "unknown key", meant(key, known, f"use {', '.join(known)}"))
        for key in table
        if key not in known
    )
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    try:
        return TypeAdapter(Settings).validate_python({**lists, **said})
    except ValidationError as error:
        told = [(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False)]
        raise InputError(Fault(str(config), key, text.lower(), "see docs/serve.md") for key, text in told) from None


def read_token(path: Path) -> str:
    """Secret from a file that nobody else can read.

    Raises
    ------
    InputError
        Where it cannot be read, others can read it too, or it is no token.
    """
    where = str(path)
    try:
        mode = path.stat().st_mode
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not in ASCII"
        remedy = "give a file with one line: openssl rand -hex 32 > FILE; chmod 600 FILE"
        raise InputError(Fault(where, "--token-file", f"cannot be read: {reason}", remedy)) from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(
            Fault(where, "--token-file", "can be read by other users of the machine", f"chmod 600 {where}")
        )
    if len(token) < LEAST_TOKEN or not token.isprintable() or " " in token:
        problem = f"holds no token of {LEAST_TOKEN} or more characters without spaces"
        raise InputError(Fault(where, "--token-file", problem, "openssl rand -hex 32 > FILE"))
    return token
