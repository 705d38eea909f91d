"""Which code it is: two that differ in a line may give other results."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

import cosim
from cosim import __version__, controllers, experiments, feeders

_KINDS = (".py", ".toml")


@cache
def code_version() -> str:
    """Return the version, and the beginning of a hash of all sources of the product, such as ``0.4.0+5f2a91c0d3e8``.

    The same in a clone, where the rooms lie beside each other, and where it is installed. Data files are not in it:
    what a world reads of them is in the world's own hash.
    """
    found: dict[str, Path] = {}
    for room in (cosim, controllers, experiments, feeders):
        folder, inside = Path(str(room.__file__)).parent, room.__name__.replace(".", "/")
        found |= {f"{inside}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*")}
    digest = sha256()
    for name, path in sorted(found.items()):
        if path.suffix in _KINDS and path.is_file():
            digest.update(name.encode() + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
