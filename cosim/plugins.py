"""Doors for code of others: targets such as ``my_file.py:MyClass``, and what installed packages offer."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import lru_cache, reduce
from hashlib import sha256
from importlib import import_module, invalidate_caches
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points, packages_distributions
from importlib.util import find_spec
from inspect import getsourcefile
from pathlib import Path
from types import ModuleType
from typing import Any

from cosim.errors import Fault, InputError, kind_and_text, meant

_folders: set[Path] = set()
"""Folders of files loaded so far, which stand at the end of ``sys.path`` for the helpers beside them."""
_hashes: dict[Path, Mapping[str, str]] = {}
"""Of every file loaded: the hashes of what was run, though the file may have changed since."""


def is_target(text: str) -> bool:
    """Whether a text is a target, not a name."""
    return ":" in text


def split_target(target: str) -> tuple[str, str]:
    r"""Split at the last colon into file or module, and attribute: ``C:\x.py:K`` is ``C:\x.py`` and ``K``."""
    place, _, attribute = target.rpartition(":")
    return place, attribute


def resolved(target: str, folder: Path) -> str:
    """Return a target with the path of its file made absolute, from a folder; names and modules stay."""
    place, attribute = split_target(target)
    return f"{(folder / Path(place).expanduser()).resolve()}:{attribute}" if _is_path(place) else target


def safe_label(name_or_target: str) -> str:
    """Return a name for folders and tables: of a target its attribute, with ``_`` for what a label may not hold."""
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", split_target(name_or_target)[1])


def target_for(group: str, name: str, key: str, known: Iterable[str] = ()) -> str:
    """Return the target of an installed plug-in, or a target as it is, without running it.

    Parameters
    ----------
    group : str
        Of entry points.
    name : str
        Name or target.
    key : str
        What it is wanted for, as for `load`.
    known : iterable of str
        Names to be told of; those of the group where there are none.

    Raises
    ------
    InputError
        Where there is no such name, file or package, or the target is none.
    """
    target = name if is_target(name) else target_of(group, name)
    if target is None:
        known = known or offered(group)
        listed = f" (known: {', '.join(known)})" if known else ""
        remedy = f"write its {key} too: {name}:MyName" if name.endswith(".py") else "write my_file.py:MyName" + listed
        raise InputError(Fault(group, key, f"there is no {key.removesuffix('s')} '{name}'", meant(name, known, remedy)))
    _refuse_missing(target, key)
    return target


def _refuse_missing(target: str, key: str) -> None:
    place, attribute = split_target(target)
    if not place or not all(part.isidentifier() for part in attribute.split(".")):
        remedy = "write path/to/file.py:Name or package.module:Name"
        raise InputError(Fault("target", key, f"{target!r} does not end in a colon and a Python name", remedy))
    package = place.partition(".")[0]
    if _is_path(place):
        if not os.path.isfile(place):
            raise InputError(Fault("target", key, f"cannot read '{place}': No such file", "write the path of a file"))
    elif package not in sys.modules and find_spec(package) is None:
        remedy = "install it, or name a file: path/to/file.py:Name"
        raise InputError(Fault("target", key, f"there is no module '{package}'", remedy))


def load(target: str, key: str) -> Any:
    """Import what a target names.

    A file is run under a module name of its own, so two files of one name do not collide, and again only when its
    text has changed. Helper modules beside it can be imported; installed packages win against them.

    Parameters
    ----------
    target : str
        ``path/to/file.py:Name`` or ``package.module:Name``.
    key : str
        What it is wanted for, for messages: ``controller``, ``feeder``, ``metrics``.

    Raises
    ------
    InputError
        Where there is no such file, module or name, and where importing it fails: with file and line.
    """
    _refuse_missing(target, key)
    place, attribute = split_target(target)
    module = _run_file(Path(place), key) if _is_path(place) else _import(place, key)
    try:
        return _attribute(module, attribute)
    except AttributeError:
        remedy = meant(attribute, vars(module), "define it there, or name another")
        raise InputError(Fault(module.__file__ or place, key, f"has no '{attribute}'", remedy)) from None


def shipped(target: str) -> Any:
    """Import what a table of our own names: an error in it is no fault of the input."""
    place, attribute = split_target(target)
    return _attribute(import_module(place), attribute)


def offered(group: str) -> dict[str, list[EntryPoint]]:
    """Entry points of installed distributions in a group, by name in alphabetical order."""
    return _offered(group, tuple(sys.path))


@lru_cache(maxsize=16)  # every day asks, and each time all distributions are read
def _offered(group: str, _where: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        found.setdefault(entry.name, []).append(entry)
    return found


def target_of(group: str, name: str) -> str | None:
    """Target of an installed plug-in; None where there is none of that name.

    Raises
    ------
    InputError
        Where two distributions offer the same name.
    """
    entries = offered(group).get(name, [])
    if len(entries) > 1:
        who = " and ".join(sorted(_distribution(entry)["distribution"] for entry in entries))
        remedy = f"uninstall one, or name a target: {' or '.join(sorted(entry.value for entry in entries))}"
        raise InputError(Fault(group, name, f"is offered by {who}", remedy))
    return f"{entries[0].module}:{entries[0].attr}" if entries else None


def origin(group: str, name_or_target: str) -> dict[str, Any]:
    """Say where a plug-in comes from: target, distribution and version where installed, hashes of its files.

    Parameters
    ----------
    group : str
        Of entry points, where a name may be one.
    name_or_target : str
        As it was asked for; it has been loaded before.
    """
    entries = [] if is_target(name_or_target) else offered(group)[name_or_target]
    target = f"{entries[0].module}:{entries[0].attr}" if entries else name_or_target
    place, _ = split_target(target)
    if _is_path(place):
        return {"target": target, "sha256": dict(_hashes[Path(place).resolve()])}
    file = Path(getattr(sys.modules[place], "__file__", None) or "")  # none of what was typed in
    hashes = {"sha256": {file.name: _sha256(file)}} if file.is_file() else {}
    return {"target": target, **(_distribution(entries[0]) if entries else _distribution_of(place)), **hashes}


def fault_inside(error: BaseException, file: str | None, key: str, doing: str) -> Fault:
    """Turn an error raised by code of others into a fault that names its line.

    Parameters
    ----------
    error : BaseException
        As it was raised.
    file : str or None
        Of the plug-in, whose deepest line on the way to the error is named.
    key : str
        What the plug-in is wanted for.
    doing : str
        What failed, such as ``cannot be imported``.
    """
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines.append(error.lineno)
    where = f"{file}, line {lines[-1]}" if lines else file or "plug-in"
    return Fault(where, key, f"{doing}: {kind_and_text(error)}", "mend it there")


def _attribute(module: ModuleType, dotted: str) -> Any:
    return reduce(getattr, dotted.split("."), module)


def source_of(kind: type) -> str | None:
    """File that a class is written in; None where it was typed in."""
    try:
        return getsourcefile(kind)
    except (TypeError, OSError):  # of a class without a module's file, which of the two depends on the version
        return None


def _is_path(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place


def _import(name: str, key: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            remedy = "install it, or name a file: path/to/file.py:Name"
            raise InputError(Fault("target", key, f"there is no module '{error.name}'", remedy)) from None
        spec = find_spec(name)
        file = None if spec is None else spec.origin
        raise InputError(fault_inside(error, file, key, f"'{name}' cannot be imported")) from error


def _run_file(path: Path, key: str) -> ModuleType:
    path = path.resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise InputError(Fault("target", key, f"cannot read '{path}': {error.strerror}", "name another file")) from None
    name = f"cosim_plugin_{sha256(str(path).encode() + source).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and annotations look their module up here
    if path.parent not in _folders:  # at the end: whatever is installed keeps its name
        _folders.add(path.parent)
        sys.path.append(str(path.parent))
    invalidate_caches()
    try:
        # the very bytes that are hashed
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - the code that was named
        helpers = _helpers(path, key)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, (InputError, KeyboardInterrupt)):
            raise
        raise InputError(fault_inside(error, str(path), key, "cannot be imported")) from error
    _hashes[path] = {path.name: sha256(source).hexdigest(), **helpers}
    return module


def _helpers(path: Path, key: str) -> dict[str, str]:
    """Hashes of the modules beside a file that are loaded, by path from its folder.

    Raises InputError where one that is loaded from the folder of another file has the name of a helper: Python hands
    over that one without a word.
    """
    hashes = {}
    for name, module in list(sys.modules.items()):
        if f"{name}.".startswith("cosim.") or not getattr(module, "__file__", None):
            continue
        file = Path(str(module.__file__)).resolve()
        beside = path.parent.joinpath(*name.split("."))
        candidates = (beside.with_name(f"{beside.name}.py"), beside / "__init__.py")
        if file in candidates:
            hashes[file.relative_to(path.parent).as_posix()] = _sha256(file)
        elif {file.parent, file.parent.parent} & _folders and any(one.is_file() for one in candidates):
            problem = f"its helper '{name}' has the name of one that is loaded from {file}"
            raise InputError(Fault(str(path), key, problem, "rename one of the two"))
    return hashes


def _distribution(entry: EntryPoint) -> dict[str, str]:
    assert entry.dist is not None  # noqa: S101 - entry points come from distributions
    return {"distribution": entry.dist.name, "version": entry.dist.version}


def _distribution_of(module: str) -> dict[str, str]:
    """Name and version of the distribution that installed a module; empty where none did."""
    for name in packages_distributions().get(module.partition(".")[0], ()):
        try:
            return {"distribution": name, "version": distribution(name).version}
        except PackageNotFoundError:
            continue
    return {}


def _sha256(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
