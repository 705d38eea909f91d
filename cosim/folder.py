"""Folders of results: a folder is ours where its journal says so, and only files that the journal names are replaced.

The journal is written ahead: a file's name is in it before the file is begun. So what it names is never anybody else's,
and whatever ends the program, no file of ours is missing in it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cosim.errors import Fault, InputError, WriteError

JOURNAL = ".cosim-files"
_HEADER = b"# Files that lv-feeder-cosim wrote here, and may replace; all others are yours.\n"
_APPEND = os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_LOCKED_BYTE = 2**30
"""On Windows a locked byte cannot be read, so it lies far behind the content."""

_open: dict[Path, ResultsFolder] = {}
"""Folders that this process writes into, by absolute path."""


class ResultsFolder:
    """A folder that this process may write results into; made by `claimed` and `joined`.

    Attributes
    ----------
    path : Path
        Absolute, so that no change of the working directory leads elsewhere.
    """

    def __init__(self, path: Path, journal: int) -> None:
        self.path = path
        self._journal = journal
        self._names = self._read()

    def clear(self) -> None:
        """Take away what was written there before, so that nothing stale stands beside the new results."""
        for path in self.left():
            for file in (path, _temporary(path)):
                with suppress(OSError):  # what cannot be removed is still ours, and told when it is to be replaced
                    file.unlink(missing_ok=True)
        for parent in sorted({parent for path in self._paths() for parent in path.parents}, reverse=True):
            if self.path in parent.parents and self._is_inside(parent / JOURNAL):
                with suppress(OSError):  # something of the user's is in it
                    parent.rmdir()
        self._names = {path.relative_to(self.path).as_posix() for path in self.left()}
        self._rewrite()

    def enter(self, path: Path) -> None:
        """Take a file into the journal before it is begun.

        Raises
        ------
        OSError
            Where the file is there and not ours, a link leads out of the folder, or the journal cannot be written.
        """
        if not self._is_inside(path):
            raise OSError(errno.ELOOP, "a link on the way leads out of the folder of results")
        name = path.relative_to(self.path).as_posix()
        if name in self._names:
            return
        if os.path.lexists(path) or os.path.lexists(_temporary(path)):
            raise FileExistsError(errno.EEXIST, "a file that cosim did not write is there")
        line = f"\n{name}\n".encode()  # the first end of line sets it apart from one that was cut short
        if os.write(self._journal, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._names.add(name)

    def left(self) -> list[Path]:
        """Return the files of ours that are there."""
        return [
            path
            for path in self._paths()
            if self._is_inside(path) and (os.path.lexists(path) or os.path.lexists(_temporary(path)))
        ]

    def led_outside(self) -> list[Path]:
        """Return the files of ours at which a link on the way now leads out of the folder."""
        return [path for path in self._paths() if not self._is_inside(path)]

    def close(self) -> None:
        """Put the journal in order, so that runs at once leave the same one as runs in turn; none where it is empty."""
        with suppress(OSError):  # of a folder that is gone
            self._names = self._read()  # with those of other processes
            if self.left() or self.led_outside():
                self._rewrite()
            else:
                (self.path / JOURNAL).unlink()
        os.close(self._journal)

    def _paths(self) -> list[Path]:
        return [self.path / name for name in sorted(self._names)]

    def _is_inside(self, path: Path) -> bool:
        """Whether no folder on the way is a link; the folder of results itself may be one."""
        return not any(parent.is_symlink() for parent in path.parents if self.path in parent.parents)

    def _read(self) -> set[str]:
        content = (self.path / JOURNAL).read_bytes()
        lines = content[: content.rfind(b"\n") + 1].decode(errors="replace").splitlines()
        names = (line for line in lines if line and not line.startswith("#"))
        paths = {name: Path(name) for name in names}  # perhaps edited by hand: none leads outside, or to the journal
        return {
            name
            for name, path in paths.items()
            if not path.is_absolute() and ".." not in path.parts and path.parts[:1] != (JOURNAL,) and path.name
        }

    def _rewrite(self) -> None:
        text = _HEADER + b"".join(f"{name}\n".encode() for name in sorted(self._names))
        with (self.path / JOURNAL).open("r+b") as file:
            file.write(text)  # over the old text, which is no shorter: a full disk does not matter
            file.truncate()


@contextmanager
def claimed(
    folder: Path, *, overwrite: bool = False, remedy: str = "give another folder, or --overwrite to replace them"
) -> Iterator[ResultsFolder]:
    """Take a folder for results, and lock it for as long as they are written.

    Parameters
    ----------
    folder : Path
        New, empty or ours; made where it is missing, and gone again where nothing was written.
    overwrite : bool
        Whether files of an earlier run may be replaced. Nothing is, before `ResultsFolder.clear`.
    remedy : str
        Where they are there and may not.

    Raises
    ------
    InputError
        Where it cannot be made or written to, holds what is not ours, holds an earlier run that must not be replaced,
        or another process writes into it.
    """
    path = Path(os.path.abspath(folder))
    missing = [place for place in (path, *path.parents) if not os.path.exists(place)]
    try:
        owned = ResultsFolder(path, _locked(path, str(folder)))
        try:
            _refuse_what_is_there(owned, str(folder), overwrite, remedy)
            _open[path] = owned
            yield owned
        finally:
            _open.pop(path, None)
            owned.close()
    finally:
        for place in missing:
            with suppress(OSError):  # something was written
                place.rmdir()


@contextmanager
def joined(path: Path) -> Iterator[ResultsFolder]:
    """Write into a folder that this process has claimed, or the one that started it."""
    if path in _open:
        yield _open[path]
        return
    owned = _open[path] = ResultsFolder(path, os.open(path / JOURNAL, _APPEND))
    try:
        yield owned
    finally:
        del _open[path]
        os.close(owned._journal)


def written(folder: Path) -> list[Path]:
    """Return the files in a folder that its journal names and that are there whole: nothing that a link leads to."""
    path = Path(os.path.abspath(folder))
    if not (path / JOURNAL).is_file():
        return []
    owned = ResultsFolder(path, -1)
    return [file for file in owned.left() if file.is_file() and not file.is_symlink()]


def default_folder(name: str) -> Path:
    """Return a folder for results that nobody has named; two that begin in one second do not meet."""
    return Path("runs", f"{name}-{datetime.now():%Y%m%d-%H%M%S.%f}"[:-3])


def new_file(path: Path, *, overwrite: bool = False) -> Path:
    """Return the path of a file that may be written; InputError where one is there, or none can be, before the work."""
    problem, remedy = "", "give another file"
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # such as a name that is too long
        raise InputError(Fault(str(path), "--out", f"cannot be written: {error.strerror}", remedy)) from None
    above = next(place for place in Path(os.path.abspath(path)).parents if os.path.lexists(place))
    if path.is_dir():
        problem = "is a folder"
    elif os.path.lexists(path) and not overwrite:
        problem, remedy = "is there already", "give another file, or --overwrite to replace it"
    elif not above.is_dir() or not os.access(above, os.W_OK):
        problem = f"cannot be written: {above} is {'not writable' if above.is_dir() else 'no folder'}"
    if problem:
        raise InputError(Fault(str(path), "--out", problem, remedy))
    return path


def write_whole(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """Write a file under a temporary name and move it into place, so that no reader ever meets half of it.

    Parameters
    ----------
    path : Path
        Where it belongs; folders are made. In a folder of results, what the user put there is not replaced.
    write : callable
        Called with the temporary path.
    durable : bool
        Whether it must outlast a machine that loses power as soon as this returns.

    Raises
    ------
    WriteError
        Where the system refuses: no space, no right, no such place.
    """
    path = Path(os.path.abspath(path))
    owned = next((_open[place] for place in path.parents if place in _open), None)
    try:
        if owned is not None:
            owned.enter(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(_temporary(path))
            if durable:
                _onto_disk(_temporary(path))
            os.replace(_temporary(path), path)
            if durable:
                _onto_disk(path.parent)
        finally:
            with suppress(OSError):
                _temporary(path).unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error


def _onto_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk itself."""
    if path.is_dir() and sys.platform == "win32":
        return  # which has no such wait, and journals names by itself
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _locked(path: Path, told: str) -> int:
    """Open the journal of a folder that is empty or ours, and lock it until the process ends, however it does."""
    journal = path / JOURNAL
    try:
        path.mkdir(parents=True, exist_ok=True)
        there = sorted(set(os.listdir(path)) - {JOURNAL})
        is_file = journal.is_file() and not journal.is_symlink()
        is_ours = is_file and _HEADER.startswith(journal.read_bytes()[: len(_HEADER)])
        if (there or os.path.lexists(journal)) and not is_ours:
            named = ", ".join(there[:4]) + (", ..." if len(there) > 4 else "")
            problem = f"holds what cosim did not write ({named or JOURNAL})"
            raise InputError(Fault(told, "--out", problem, "give a new or an empty folder"))
        opened = os.open(journal, _APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        told_why = "it is no folder" if isinstance(error, FileExistsError) else error.strerror or error
        problem = f"cannot be written to ({told_why})"
        raise InputError(Fault(told, "--out", problem, "give another folder")) from None
    try:
        if not _lock(opened) or not os.path.samestat(os.fstat(opened), os.stat(journal)):
            raise FileNotFoundError
        if os.fstat(opened).st_size < len(_HEADER):
            os.ftruncate(opened, 0)
            os.write(opened, _HEADER)
    except FileNotFoundError:  # where another process has just ended without a result
        os.close(opened)
        remedy = "wait until it ends, or give another folder"
        raise InputError(Fault(told, "--out", "is in use by another process", remedy)) from None
    except OSError as error:
        os.close(opened)
        if not there:  # begun by this very call
            journal.unlink()
        raise WriteError(f"{journal}: cannot be written: {error.strerror}") from error
    return opened


def _lock(journal: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(journal, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(journal, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # a file system without locks is no reason to stop
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def _refuse_what_is_there(owned: ResultsFolder, told: str, overwrite: bool, remedy: str) -> None:
    linked, left = owned.led_outside(), owned.left()
    if linked:
        problem = f"a link leads out of it on the way to {linked[0].relative_to(owned.path)}"
        raise InputError(Fault(told, "--out", problem, "remove the link, or give another folder"))
    if left and not overwrite:
        problem = f"holds the results of an earlier run ({len(left)} files)"
        raise InputError(Fault(told, "--out", problem, remedy))
