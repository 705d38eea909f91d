"""Which files OpenDSS opens: read from their text, and compared with what the operating system saw it open."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cosim import dss_child, feeders
from cosim.dss_files import files_of, hashes_of, is_shipped
from cosim.errors import InputError
from cosim.experiments.compose import load
from cosim.experiments.files import sha256_of

IN_OPEN, IN_ISDIR = 0x20, 0x40000000
SHIPPED = Path(feeders.__file__).parent
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked which files were opened")

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files by path and text below a folder ``feeder``, with ``cwd`` beside it; return the master file."""

    def written(files: dict[str, str | bytes]) -> Path:
        (tmp_path / "cwd").mkdir()
        for name, text in files.items():
            path = tmp_path / "feeder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "feeder" / "Master.dss"

    return written


@contextmanager
def watched(root: Path) -> Iterator[set[Path]]:
    """Files below a folder that any process opens meanwhile, as inotify tells."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK)
    folders = {
        libc.inotify_add_watch(handle, os.fsencode(folder), IN_OPEN): folder
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir()))
    }
    assert min(folders) > 0
    opened: set[Path] = set()
    try:
        yield opened
        events, at = os.read(handle, 1 << 20), 0
        while at < len(events):
            watch, mask, _, length = struct.unpack_from("iIII", events, at)
            name = events[at + 16 : at + 16 + length].rstrip(b"\0")
            if mask & IN_OPEN and not mask & IN_ISDIR and name:
                opened.add(folders[watch] / os.fsdecode(name))
            at += 16 + length
    finally:
        os.close(handle)


def opened_by_opendss(master: Path, root: Path, cwd: Path) -> set[Path]:
    with watched(root) as opened:
        call = [sys.executable, "-P", dss_child.__file__, "60", f'compile "{master}"']
        done = subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stderr
    return opened


@linux_only
@pytest.mark.parametrize("name", ["two_bus", "european_lv"])
def test_the_files_of_a_shipped_feeder(name: str, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / name, tmp_path / name)
    master = tmp_path / name / "Master.dss"
    assert set(files_of(master)) == opened_by_opendss(master, tmp_path, tmp_path)


NUMBERS = "1\n2\n"
CIRCUIT = "New Circuit.c basekv=0.4 phases=3 ! Redirect commented.dss\n"
NESTED: dict[str, str | bytes] = {
    "Master.dss": "! Redirect commented.dss\n/* Redirect block.dss\nRedirect block.dss\n*/\n" + CIRCUIT
    + "var @shape=variable.csv\nRedirect sub\\Loads.dss\n"
    "New Line.l bus1=sourcebus bus2=b length=1 units=m // Redirect commented.dss\n"
    'red "with space/more loads.dss"\n'
    "New LoadShape.s1 npts=2 interval=1 mult=(file=shape1.csv)\n"
    'New LoadShape.s2 npts=2 interval=1 mult=[file="shape 2.csv", col=2, header=yes]\n'
    "New LoadShape.s3 npts=2 interval=1 csvfile=sub/shape3.csv\nNew LoadShape.s4 npts=2 interval=1 dblfile = four.dbl\n"
    "New LoadShape.s5 npts=2 interval=1\n~ sngfile={five.sng}\nNew LoadShape.s6 npts=2 interval=1 mult=(file=@shape)\n"
    'New XYCurve.x npts=2 csvfile="../outside.csv"\nNew LoadShape.s7 npts=2 interval=1 csvfile=../cwd/../here.csv\n'
    "Buscoords Xy.CSV\nSolve\nExport voltages written.csv\n"
    "c sub/deep/last.dss\nNew LoadShape.s8 npts=2 interval=1 csvfile=after.csv\n",
    "sub/Loads.dss": "New Load.a bus1=b.1 phases=1 kv=0.23 kw=1\r\nRedirect deep/one.dss\r\n"
    "New LoadShape.u1 npts=2 interval=1 csvfile=inner.csv\r\n",
    "sub/deep/one.dss": "New Load.d bus1=b.2 phases=1 kv=0.23 kw=1\n",
    "sub/deep/last.dss": "New LoadShape.u2 npts=2 interval=1 csvfile=after.csv\n",
    "with space/more loads.dss": "New Load.e bus1=b.3 phases=1 kv=0.23 kw=1\n".encode("utf-16"),
    "shape1.csv": NUMBERS, "sub/shape3.csv": NUMBERS, "variable.csv": NUMBERS, "sub/inner.csv": NUMBERS,
    "sub/deep/after.csv": NUMBERS, "shape 2.csv": "a,b\n1,2\n3,4\n", "../outside.csv": "1,2\n3,4\n",
    "four.dbl": struct.pack("2d", 1, 2), "five.sng": struct.pack("2f", 1, 2), "../here.csv": NUMBERS,
    "Xy.CSV": "b, 1, 2\n",
    # none of these is opened
    "xy.csv": "b, 1, 2\n", "inner.csv": NUMBERS, "after.csv": NUMBERS, "written.csv": "", "commented.dss": "Nonsense\n",
    "block.dss": "Nonsense\n",
}  # fmt: skip


@linux_only
def test_the_files_of_a_nested_feeder(tree: Tree, tmp_path: Path) -> None:
    master = tree(NESTED)
    found = files_of(master)
    assert set(found) == opened_by_opendss(master, tmp_path / "feeder", tmp_path / "cwd") | {
        tmp_path / "outside.csv", tmp_path / "here.csv",  # beside the folder that is watched
    }  # fmt: skip
    assert len(found) == len(set(found)) == 16
    names = hashes_of(master)
    assert {"Master.dss", "sub/deep/one.dss", "../outside.csv", "with space/more loads.dss"} < names.keys()
    assert names["four.dbl"] == sha256_of(master.with_name("four.dbl"))


@linux_only
@pytest.mark.parametrize("command", ["Set DataPath={}", "set datap={}", "CD {}"])
def test_a_folder_of_data_is_followed(tree: Tree, tmp_path: Path, command: str) -> None:
    data = tmp_path / "feeder" / "data"
    text = CIRCUIT + command.format(data) + "\nNew LoadShape.s npts=2 interval=1 csvfile=shape.csv\n"
    master = tree({"Master.dss": text, "data/shape.csv": NUMBERS, "shape.csv": "7\n8\n"})
    assert set(files_of(master)) == opened_by_opendss(master, tmp_path, tmp_path / "cwd") == {
        master, data / "shape.csv",
    }  # fmt: skip


@linux_only
def test_a_name_is_sought_where_the_process_runs_last(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = "".join(f"New LoadShape.s{k} npts=2 interval=1 csvfile=shape{k}.csv\n" for k in (1, 2))
    master = tree({"Master.dss": CIRCUIT + shapes, "shape1.csv": NUMBERS})
    for k in (1, 2):
        (tmp_path / "cwd" / f"shape{k}.csv").write_text("7\n8\n")
    monkeypatch.chdir(tmp_path / "cwd")
    there = {master, tmp_path / "feeder" / "shape1.csv", tmp_path / "cwd" / "shape2.csv"}
    assert set(files_of(master)) == opened_by_opendss(master, tmp_path, tmp_path / "cwd") == there


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"Master.dss": "Clear\nRedirect Master.dss\n"}, "Master.dss, line 2"),
        ({"Master.dss": "Clear\n\nCompile ./sub/../Master.dss\n", "sub/x": ""}, "Master.dss, line 3"),
        ({"Master.dss": "Redirect a.dss\n", "a.dss": "\nredir Master.dss\n"}, "a.dss, line 2"),
        ({"Master.dss": "Redirect sub/a.dss\n", "sub/a.dss": "c b.dss", "sub/b.dss": "red a.dss"}, "sub/b.dss, line 1"),
        ({"Master.dss": "var @m=Master.dss\nRedirect @m\n"}, "Master.dss, line 2"),
        ({"Master.dss": "Redirect Master.dss\n".encode("utf-16")}, "Master.dss, line 1"),
        ({f"{'Master' if k == 0 else k}.dss": f"Redirect {k + 1}.dss" for k in range(300)}, "99.dss, line 1"),
    ],
)
def test_redirects_without_end_are_named(tree: Tree, files: dict[str, str | bytes], where: str) -> None:
    master = tree(files)
    with pytest.raises(InputError) as refused:
        feeders.load(master)
    (fault,) = refused.value.faults
    assert fault.where == f"{master.parent}/{where}"
    assert "redirect" in fault.key
    assert fault.remedy


def test_many_paths_to_the_same_files_take_no_time(tree: Tree) -> None:
    chain: dict[str, str | bytes] = {f"{k}.dss": f"Redirect {k + 1}.dss\nRedirect {k + 1}.dss\n" for k in range(60)}
    assert len(files_of(tree(chain | {"Master.dss": "Redirect 0.dss\n", "60.dss": ""}))) == 62


def test_only_what_is_in_the_package_is_shipped(tmp_path: Path) -> None:
    assert is_shipped(feeders.load("two_bus").master)
    (tmp_path / "feeders").mkdir()
    assert not is_shipped(tmp_path / "feeders" / "Master.dss")


def test_the_manifest_hashes_what_a_run_rests_on(tree: Tree, tmp_path: Path) -> None:
    two_bus = (SHIPPED / "two_bus" / "Master.dss").read_text().replace("Buscoords Buscoords.csv", "")
    text = two_bus.replace("New Load.LOAD2", "Redirect sub/Loads.dss\n!")
    master = tree(
        {
            "Master.dss": text, "sub/Loads.dss": "New Load.LOAD2 phases=1 bus1=2.2 kv=0.23 kw=6\n", "notes.txt": "x",
            "feeder.toml": 'nominal_voltage_v = 230.0\ncoordinates = "where/xy.csv"\n', "where/xy.csv": "2,0,1\n",
            "../a/x.csv": "h1,h2,h3\n" + "1,1,1\n" * 1440,
            "../b/x.csv": "customer,arrival,departure,energy_kwh,charger_kw\n"
            "LOAD1,2026-05-15T18:00,2026-05-15T23:00,5,7.4\n",
        }
    )  # fmt: skip
    scenario = tmp_path / "s.toml"
    scenario.write_text(
        f'name = "s"\nfeeder = "{master.parent}"\nstart = 2026-05-15T12:00:00\nhorizon_h = 12\n'
        '[households]\nprofiles = "a/x.csv"\n[ev]\nsessions = "b/x.csv"\n[[runs]]\ncontroller = "none"\n'
    )
    before = load(scenario).inputs_sha256
    own = {"profiles/x.csv": tmp_path / "a" / "x.csv", "sessions/x.csv": tmp_path / "b" / "x.csv"}
    read = ("Master.dss", "sub/Loads.dss", "feeder.toml", "where/xy.csv")
    place = {f"feeder/{name}": master.parent / name for name in read}
    assert before == {name: sha256_of(path) for name, path in {"scenario/s.toml": scenario, **own, **place}.items()}
    (master.parent / "sub" / "Loads.dss").write_text("New Load.LOAD2 phases=1 bus1=2.2 kv=0.23 kw=7\n")
    after = load(scenario).inputs_sha256
    assert [name for name in before if before[name] != after[name]] == ["feeder/sub/Loads.dss"]
