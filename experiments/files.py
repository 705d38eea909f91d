"""Results as JSON, and what made them: versions and hashes."""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cosim.folder import write_whole


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON (no NaN), whole or not at all."""
    text = json.dumps(content, indent=2, sort_keys=False, allow_nan=False) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def json_ready(value: Any) -> Any:
    """Return nested mappings and sequences as JSON holds them.

    Arrays become lists, numpy's numbers Python's, a path its name (where it lies is nobody's business), and nan and the
    infinities None: there is no such figure.
    """
    if isinstance(value, Mapping):
        return {str(key): json_ready(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(inner) for inner in value]
    if hasattr(value, "tolist"):  # of numpy, which commands that write nothing need not wait for
        return json_ready(value.tolist())
    if isinstance(value, Path):
        return value.name
    return None if isinstance(value, float) and not math.isfinite(value) else value


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each distribution."""
    return {name: _version(name) for name in packages}


def origin(packages: Iterable[str]) -> dict[str, Any]:
    """Return what made a result: the command, versions of Python and of each distribution, and the build.

    With the same versions, platform, processor and BLAS the same numbers come out bit by bit; another kernel rounds
    sums in another order.
    """
    from cosim.threads import blas  # brings numpy and scipy, which the command line does without until it writes

    return {
        "command": " ".join(["cosim", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **package_versions(packages)},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "blas": blas(),
    }


def _cpu() -> str:
    """Model of the processor, which decides the kernels of BLAS."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text("utf-8", errors="replace").splitlines() if told.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    return sha256(path.read_bytes()).hexdigest()


@lru_cache  # of a server that plans all day
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
