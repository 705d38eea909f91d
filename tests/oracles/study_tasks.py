"""Tasks that worker processes of tests can import: they tell what they did in a file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosim.errors import WriteError

_KEPT: list[bytes] = []


def square(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two rows of a number, and what the payload says goes wrong."""
    number, what = payload["number"], payload.get("what")
    if "log" in payload:
        with Path(payload["log"]).open("a", encoding="utf-8") as file:
            file.write(f"{number}\n")
    time.sleep(payload.get("sleep_s", 0.0))
    if what == "raises":
        raise ValueError("seven is no number")
    if what == "full":
        raise WriteError("disk: cannot be written: No space left on device")
    if what == "kills" or (what == "kills once" and not Path(payload["mark"]).exists()):
        if "mark" in payload:
            Path(payload["mark"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "grows":
        _KEPT.append(bytes([1]) * (600 * 2**20))  # filled, so that the system has to give it
    if what == "nothing":
        return []
    told = {"number": number, "process": os.getpid()}
    rows = [{**told, "power": power, "value": float(number**power)} for power in (1, 2)]
    return [{**row, "odd": float("nan")} for row in rows] if number % 2 else rows
