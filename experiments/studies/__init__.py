"""Studies: config -> run -> result -> figures, report, metrics, manifest; each a folder here, see `base.Study`.

A new study is a folder whose ``study.py`` holds a subclass of `base.Study`, with its options in ``config.py``, data,
model, figures and a template of its report beside it, and a table in ``studies.toml``. Nothing of it is imported before
its command is called, and of what is called only its options until they are found to be right.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """A study and its config, as ``module:class``, what it is about, and whether ``cosim reproduce`` runs it."""

    target: str
    config: str
    about: str
    reproduce: bool = True


def _entries() -> dict[str, Entry]:
    told = tomllib.loads(Path(__file__).with_name("studies.toml").read_text(encoding="utf-8"))
    entries = {}
    for name, one in told.items():
        place = f"cosim.experiments.{one.get('folder', f'studies.{name}')}"
        config, target = f"{place}.config:{one['config']}", f"{place}.study:{one['study']}"
        entries[name] = Entry(target, config, one["about"], one.get("reproduce", True))
    return entries


STUDIES = _entries()
"""By the name of their command."""
