"""Which files OpenDSS opens when it compiles a circuit, found by reading them as it does instead of running them."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cosim.errors import Fault, InputError

_DEEPEST = 100
"""Redirects inside redirects. Files by people go four deep; Python's own stack would end at some hundred."""

_NUMBERS = re.compile(r"[-+.,|\d\s]*")
"""Most of what stands in brackets; no file is sought in it."""

# As OpenDSS cuts a line: quotes of five kinds count at the beginning of a token only, ! and // begin a comment
_TOKEN = re.compile(
    r"""(!|//)|(?:\(([^)]*)\)?|"([^"]*)"?|'([^']*)'?|\[([^\]]*)\]?|\{([^}]*)\}?"""
    r"""|([^ \t,=!/]+(?:/(?!/)[^ \t,=!/]*)*|/(?!/)[^ \t,=!/]*(?:/(?!/)[^ \t,=!/]*)*))[ \t]*(=?)"""
)
_WRITES = ("save", "show", "export", "plot", "dump", "visualize")
"""Commands whose names of files are of files to write."""


@cache
def _shipped_folder() -> Path:
    beside = Path(__file__).resolve().parent / "feeders"
    return (beside if beside.is_dir() else Path(__file__).resolve().parent.parent / "feeders").resolve()


def is_shipped(master: Path) -> bool:
    """Whether a circuit belongs to the package itself."""
    return master.resolve().is_relative_to(_shipped_folder())


def hashes_of(master: Path, files: Sequence[Path] = ()) -> dict[str, str]:
    """SHA-256 of every file that OpenDSS opens when it compiles a circuit.

    Parameters
    ----------
    master : Path
        File that defines the circuit.
    files : sequence of Path, optional
        As `files_of` lists them, where that has been asked.

    Returns
    -------
    dict of str to str
        By path from the master file's folder, with ``/``: ``sub/Loads.dss``, ``../shapes.csv``.

    Raises
    ------
    InputError
        As `files_of`, and where a file cannot be read.
    """
    home = os.path.realpath(master.parent)
    found = {}
    for file in files or files_of(master):
        try:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(file, error) from None
        try:
            found[Path(os.path.relpath(file, home)).as_posix()] = digest
        except ValueError:  # on another drive
            found[file.as_posix()] = digest
    return found


def files_of(master: Path) -> tuple[Path, ...]:
    """List every file that OpenDSS opens when it compiles a circuit.

    The text is cut into tokens as OpenDSS does, and every token that is the name of a file, where OpenDSS would look
    for it, counts: that holds for ``Redirect``, ``Buscoords``, ``csvfile=``, ``mult=(file=...)`` and all that is not
    thought of here. What a file writes is left out.

    Parameters
    ----------
    master : Path
        File that defines the circuit.

    Returns
    -------
    tuple of Path
        Real paths, the master file first, in the order in which they are met.

    Raises
    ------
    InputError
        Where a redirect leads back into a file that is being read, which OpenDSS would follow until it crashes.
    """
    reader = _Reader()
    reader.read(Path(os.path.realpath(master)), ())
    return tuple(reader.files)


def misspelt(master: Path) -> dict[str, str]:
    """Names of files in a circuit that only a file whose name has other capital letters answers to.

    Parameters
    ----------
    master : Path
        File that defines the circuit.

    Returns
    -------
    dict of str to str
        By the path that OpenDSS looks for, the path that is there.

    Raises
    ------
    InputError
        As `files_of`.
    """
    reader = _Reader(any_case=True)
    reader.read(Path(os.path.realpath(master)), ())
    return reader.misspelt


@contextmanager
def repaired_case(master: Path, beside: Sequence[str] = ()) -> Iterator[Path]:
    """Copy a circuit to a temporary folder, every file under the name by which it is asked for.

    Parameters
    ----------
    master : Path
        File that defines the circuit; neither it nor its folder is changed.
    beside : sequence of str
        Files in its folder to copy as well, where they are there.

    Yields
    ------
    Path
        The copy of ``master``, until the context ends.

    Raises
    ------
    InputError
        As `files_of`, and where a file cannot be read.
    """
    reader = _Reader(any_case=True)
    home = Path(os.path.realpath(master))
    reader.read(home, ())
    wanted = reader.spelt | {str(path): str(path) for path in (home, *(home.with_name(name) for name in beside))}
    top = Path(os.path.commonpath([home.parent, *map(os.path.dirname, wanted)]))
    with TemporaryDirectory(prefix="cosim-") as folder:
        for name, file in wanted.items():
            copy = Path(folder, top.name, os.path.relpath(name, top))
            copy.parent.mkdir(parents=True, exist_ok=True)
            if os.path.isfile(file):
                shutil.copyfile(file, copy)
        yield Path(folder, top.name, home.relative_to(top))


class _Reader:
    """OpenDSS's way through the files: its folder and its variables; with ``any_case``, as on Windows."""

    def __init__(self, *, any_case: bool = False) -> None:
        self.files: dict[Path, None] = {}
        self.misspelt: dict[str, str] = {}
        self.spelt: dict[str, str] = {}
        self._any_case = any_case
        self._asked_in: dict[Path, str] = {}
        self._folder = ""
        self._variables: dict[str, str] = {}
        self._been: set[tuple[Path, tuple[tuple[str, str], ...]]] = set()
        self._known: dict[tuple[str, str], Path | None] = {}
        self._lists: dict[str, set[str]] = {}

    def read(self, script: Path, above: tuple[Path, ...]) -> None:
        """Read a file of commands, and those that it redirects to."""
        self.files[script] = None
        self._folder = f"{self._asked_in.get(script, script.parent)}{os.sep}"
        visit = script, tuple(self._variables.items())
        if visit in self._been:  # nothing new; files that redirect twice to the next would take for ever
            return
        self._been.add(visit)
        try:
            content = script.read_bytes()
        except OSError as error:
            raise _unreadable(script, error) from None
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # OpenDSS reads that too
        text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace" if wide else "surrogateescape")
        commented = False
        for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
            commented |= line.startswith("/*")
            if not commented:
                self._obey(line, f"{script}, line {number}", (*above, script))
            elif "*/" in line:
                commented = False

    def _obey(self, line: str, where: str, stack: tuple[Path, ...]) -> None:
        tokens = _tokens(line)
        kind = _kind(tokens[0][1].lower()) if tokens and not tokens[0][0] else "other"
        if kind in ("compile", "redirect"):
            self._redirect(tokens[1][1] if len(tokens) > 1 else "", where, stack, back=kind == "redirect")
        elif kind == "var":
            self._variables |= {key.lower(): value for key, value in tokens[1:] if key}
        elif kind in ("cd", "set"):
            for key, value in tokens[1:]:
                if kind == "cd" or (len(key) > 1 and "datapath".startswith(key.lower())):
                    self._folder = os.path.join(value, "") if os.path.isdir(value) else self._folder
        if kind in ("other", "set"):
            for _, value in tokens:
                self._note(value)

    def _note(self, value: str) -> None:
        key = self._folder, value
        if key in self._known and not value.startswith("@"):  # most names come more than once
            return
        file = self._known[key] = self._file(value)
        if file is not None:
            self.files[file] = None
        elif any(cut in value for cut in " \t,=") and not _NUMBERS.fullmatch(value):  # (file=shape.csv col=2)
            for _, inner in _tokens(value):
                self._note(inner)

    def _redirect(self, name: str, where: str, stack: tuple[Path, ...], *, back: bool) -> None:
        target = self._file(name)
        if target is None and "." not in os.path.abspath(self._folder + name):
            target = self._file(f"{name}.dss")
        if target is None:
            return  # OpenDSS says so in its own words
        if target in stack:
            told = f"leads back to {target.name}, which is still being read: OpenDSS would never end"
            raise InputError(Fault(where, f"redirect {name}", told, "remove the line, or name another file"))
        if len(stack) >= _DEEPEST:
            told = f"is the {len(stack)}th redirect inside another"
            raise InputError(Fault(where, f"redirect {name}", told, f"nest at most {_DEEPEST}"))
        folder = self._folder
        self.read(target, stack)
        self._folder = folder if back else f"{self._asked_in.get(target, target.parent)}{os.sep}"

    def _file(self, name: str) -> Path | None:
        """Where OpenDSS finds a file: from its own folder, else from where the process runs."""
        if name.startswith("@"):
            variable = re.split("[.^]", name, maxsplit=1)[0]
            name = self._variables.get(variable.lower(), variable) + name[len(variable) :]
        path = name.replace("\\", "/")
        first = path.partition("/")[0]
        for folder in (self._folder, "") if path and "\0" not in path else ():
            # a look at the list of the folder spares a question to the system for nearly every word of the file
            listed = first in ("", ".", "..") or first.lower() in self._names_in(folder)
            if listed and os.path.isfile(folder + path):
                return self._found(folder, path, folder + path)
            other = _in_any_case(folder + path) if listed and self._any_case else None
            if other is not None:
                self.misspelt[os.path.normpath(folder + path)] = other
                return self._found(folder, path, other)
        return None

    def _found(self, folder: str, path: str, file: str) -> Path:
        real = Path(os.path.realpath(file))
        if self._any_case and folder:
            asked = os.path.normpath(folder + path)
            self.spelt[asked] = file
            self._asked_in[real] = os.path.dirname(asked)
        return real

    def _names_in(self, folder: str) -> set[str]:
        if folder not in self._lists:
            there = (_in_any_case(folder, os.path.isdir) if self._any_case else None) or folder or "."
            with suppress(OSError):
                self._lists[folder] = {name.lower() for name in os.listdir(there)}
        return self._lists.get(folder, set())


def _in_any_case(path: str, is_there: Callable[[str], bool] = os.path.isfile) -> str | None:
    """Return the path that is there and differs at most in capital letters; None where there is not exactly one."""
    found = [os.sep if os.path.isabs(path) else ""]
    for part in os.path.normpath(path).split(os.sep):
        exact = [os.path.join(folder, part) for folder in found]
        there = [one for one in exact if os.path.exists(one)] if part else found
        if not there:
            with suppress(OSError):
                there = [
                    os.path.join(folder, name)
                    for folder in found
                    for name in os.listdir(folder or ".")
                    if name.lower() == part.lower()
                ]
        found = there
    return found[0] if len(found) == 1 and is_there(found[0]) else None


def _tokens(line: str) -> list[tuple[str, str]]:
    """Names (empty where there is none) and values of a line."""
    tokens, name = [], ""
    for comment, *values, equals in _TOKEN.findall(line):
        if comment:
            break
        value = "".join(values)
        if equals:
            name = value
        else:
            tokens.append((name, value))
            name = ""
    return tokens


@lru_cache(maxsize=1000)
def _kind(verb: str) -> str:
    """What a command does with the names in it; OpenDSS takes abbreviations, of several commands the first."""
    if len(verb) > 1 and any(known.startswith(verb) for known in _WRITES):
        return "writes"
    if verb and "compile".startswith(verb):
        return "compile"
    if len(verb) > 2 and "redirect".startswith(verb):
        return "redirect"
    return verb if verb in ("cd", "set", "var") else "other"


def _unreadable(file: Path, error: OSError) -> InputError:
    return InputError(Fault(str(file), "", f"cannot be read ({error.strerror})", "give a file that you may read"))
