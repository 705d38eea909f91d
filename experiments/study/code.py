"""Which code it is: two that differ in a line may give other results."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

import cosim
from cosim import __version__, controllers, experiments, feeders


@cache
def code_version() -> str:
    """Return the version, and the beginning of a hash of all files of the product, such as ``0.4.0+5f2a91c0d3e8``.

    Sources, shipped feeders and profiles; the same in a clone, where the rooms lie beside each other, and where it is
    installed.
    """
    found: dict[str, Path] = {}
    for room in (cosim, controllers, experiments, feeders):
        folder, inside = Path(str(room.__file__)).parent, room.__name__.replace(".", "/")
        found |= {f"{inside}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*")}
    digest = sha256()
    for name, path in sorted(found.items()):
        if "__pycache__" not in name and "/." not in name and path.is_file():
            digest.update(name.encode() + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
