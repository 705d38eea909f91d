"""``cosim feeder convert``: a feeder as GeoJSON, or there and back in other formats, with what was lost on the way.

Others' formats are read and written by the package ``powerio`` alone. What it wrote it reads back, and that is solved
beside the original, because no converter carries a whole circuit over: all three have lost the source's impedance and
changed ratings, PMD and CIM coordinates, CIM neutral conductors.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from cosim.dss_files import files_of
from cosim.errors import CosimError, Fault, InputError
from cosim.experiments.files import json_ready, package_versions, write_json
from cosim.folder import claimed, new_file, write_whole

if TYPE_CHECKING:
    from rich.console import Console

    from cosim.contract import Feeder

Target = Literal["bmopf", "pmd", "cim", "geojson", "dss"]
_FORMATS = {"bmopf": "bmopf-json", "pmd": "pmd-json", "cim": "cim-dist"}
"""What ``powerio`` calls them."""
_SAME_PU = 1e-6
_COMMAND = "cosim feeder convert"


class TwoWords(TyperGroup):
    """Commands, of which some have a name of two words: ``feeder convert`` beside ``feeder NAME``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Take the first two words for one name where there is such a command."""
        two = " ".join(args[:2])
        return super().resolve_command(ctx, [two, *args[2:]] if two in self.commands else args)


def convert(
    name_or_path: Annotated[
        str, typer.Argument(metavar="PATH", help="Shipped name or OpenDSS file; with --to dss: a .json or .xml file.")
    ],
    to: Annotated[Target, typer.Option(help="Format. All but geojson are experimental and need extra 'convert'.")],
    out: Annotated[Path, typer.Option(help="File to write; with --to dss: folder for the circuit.")],
    source: Annotated[
        Literal["bmopf", "pmd", "cim"] | None, typer.Option("--from", help="With --to dss: what the file is.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="With --to geojson: folder of a run, shown on the map.")] = None,
    controller: Annotated[str | None, typer.Option(help="Which run of the results; needed of several.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a feeder as GeoJSON, or (experimental) as BMOPF, PMD or CIM, or read one; what was lost is told."""
    from rich.console import Console

    console = Console()
    for name, value, target in (("results", results, "geojson"), ("from", source, "dss")):
        if value is not None and to != target:
            raise InputError(Fault(_COMMAND, f"--{name}", f"goes with --to {target} only", "leave it out"))
    if controller is not None and results is None:
        raise InputError(Fault(_COMMAND, "--controller", "names a run of --results", "give --results FOLDER too"))
    if to == "geojson":
        _to_geojson(name_or_path, new_file(out, overwrite=overwrite), results, controller, console)
    elif to == "dss":
        _to_dss(Path(name_or_path), source, out, overwrite, console)
    else:
        _to_format(name_or_path, to, out, overwrite, console)


def _to_geojson(name_or_path: str, out: Path, results: Path | None, controller: str | None, console: Console) -> None:
    from cosim import feeders
    from cosim.feeders.geojson import feature_collection

    feeder = feeders.load(name_or_path)
    facts = {}
    if results is not None:
        from cosim.experiments.map_facts import facts_of

        facts = facts_of(results, controller, feeder)
    collection = feature_collection(feeder, facts)
    text = json.dumps(json_ready(collection), allow_nan=False) + "\n"
    write_whole(out, lambda path: path.write_text(text, encoding="utf-8"))
    kinds = Counter(feature["properties"]["kind"] for feature in collection["features"])
    nowhere = sum(feature["geometry"] is None for feature in collection["features"])
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    _say(console, f"Written to {out}: {counted}; {nowhere} without a position.")
    _say(console, f"Positions: {collection['cosim']['placement']}.")


def _to_format(name_or_path: str, to: str, out: Path, overwrite: bool, console: Console) -> None:
    powerio = _powerio()
    from cosim import feeders

    report = out.with_name(f"{out.name}.differences.json")
    for file in (out, report):
        new_file(file, overwrite=overwrite)
    before = feeders.load(name_or_path)
    with TemporaryDirectory() as kept:
        content, after, lost = _there_and_back(powerio, before.master, to, Path(kept))
        write_whole(out, lambda path: path.write_bytes(content))
        _report(report, to, before, after, lost, console)


def _to_dss(path: Path, source: str | None, out: Path, overwrite: bool, console: Console) -> None:
    powerio = _powerio()
    if not path.is_file():
        raise InputError(Fault(str(path), "", "no such file", "give a BMOPF or PMD .json file, or a CIM .xml file"))
    known = source or _kind_of(path)
    with claimed(out, overwrite=overwrite) as owned, TemporaryDirectory() as kept:
        lost: list[dict[str, Any]] = []
        files = _circuit_files(powerio, path, _FORMATS[known], lost)
        try:
            before = _loaded(files, Path(kept) / out.absolute().name)
        except CosimError as error:
            problem = f"what powerio makes of it is no feeder: {_shortly(error)}"
            remedy = "mend the file, or name what it is: --from bmopf, pmd or cim"
            raise InputError(Fault(str(path), "", problem, remedy)) from None
        owned.clear()
        for name, content in files.items():
            write_whole(owned.path / name, lambda file, content=content: file.write_bytes(content))  # type: ignore[misc]
        _, after, again = _there_and_back(powerio, before.master, known, Path(kept))
        told = "what was made of it is compared with what comes back of that"
        _say(console, f"Nothing here solves {_FORMATS[known]} itself: {told}.")
        _report(owned.path / "differences.json", known, before, after, [*lost, *again], console)


def _kind_of(path: Path) -> str:
    """Tell CIM by its markup, and BMOPF and PMD apart by PMD's own mark."""
    text = path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff \n\r\t")
    if text.startswith("<"):
        return "cim"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        remedy = "give a BMOPF, PMD or CIM file"
        raise InputError(Fault(str(path), "", f"is neither JSON nor XML: {error}", remedy)) from None
    if isinstance(content, dict) and {"data_model", "bus"} & content.keys():
        return "pmd" if "data_model" in content else "bmopf"
    raise InputError(Fault(str(path), "", "is neither BMOPF nor PMD", "name the format: --from bmopf, pmd or cim"))


def _powerio() -> Any:
    try:
        import powerio
    except ImportError:
        remedy = "install it: pip install 'lv-feeder-cosim[convert]'"
        raise InputError(Fault(_COMMAND, "--to", "needs the package powerio, extra 'convert'", remedy)) from None
    return powerio


def _there_and_back(
    powerio: Any, master: Path, to: str, folder: Path
) -> tuple[bytes, Feeder | CosimError, list[dict[str, Any]]]:
    """A circuit in another format, the feeder that comes back from there (or why none does), and what was lost."""
    lost: list[dict[str, Any]] = []
    emitted = _emitted(powerio, master, "dss", _FORMATS[to], lost)
    content: bytes = emitted[0].data
    file = folder / "converted"
    file.write_bytes(content)
    try:
        return content, _loaded(_circuit_files(powerio, file, _FORMATS[to], lost), folder / "back"), lost
    except CosimError as error:
        return content, error, lost


def _circuit_files(powerio: Any, path: Path, format_: str, lost: list[dict[str, Any]]) -> dict[str, bytes]:
    """OpenDSS files of a circuit in another format, the first of them the master file."""
    files = {}
    for artifact in _emitted(powerio, path, format_, "dss", lost):
        name, content = Path(artifact.name).name, artifact.data
        if name.lower().endswith(".dss"):
            # powerio 0.11.6 asks for coordinates before there is a circuit, which OpenDSS refuses
            lines = content.decode().splitlines(keepends=True)
            lines.sort(key=lambda line: line.lower().startswith("buscoords"))
            name, content = "Master.dss", "".join(lines).encode()
        files[name] = content
    return files


def _emitted(powerio: Any, path: Path, source: str, target: str, lost: list[dict[str, Any]]) -> Any:
    try:
        # it opens no file above this folder
        root = os.path.commonpath([file.parent for file in files_of(path)]) if source == "dss" else None
        module = powerio.parse(str(path.resolve()), format=source, acquisition_root=root)
        emitted = powerio.emit(module, target)
    except powerio.PowerIOError as error:
        problem = f"powerio does not convert it to {target}: {' '.join(str(error).split())}"
        raise InputError(Fault(str(path), "", problem, "convert another file, or by another program")) from None
    for step, findings in ((f"reading {source}", module.diagnostics), (f"writing {target}", emitted.diagnostics)):
        # "bus X: the location is not written": one line for all buses
        kinds = [found.message.split(" ")[0] + found.message[found.message.find(": ") :] for found in findings]
        alike = [(found.code, found.severity, kind) for found, kind in zip(findings, kinds, strict=True)]
        example = {key: found.message for key, found in reversed(list(zip(alike, findings, strict=True)))}
        lost += [
            {"step": step, "code": key[0], "severity": key[1], "count": count, "example": example[key]}
            for key, count in Counter(alike).most_common()
        ]
    return emitted.artifacts


def _loaded(files: Mapping[str, bytes], folder: Path) -> Feeder:
    from cosim import feeders

    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return feeders.load(folder)


def _report(
    path: Path, to: str, before: Feeder, after: Feeder | CosimError, lost: Iterable[Mapping[str, Any]], console: Console
) -> None:
    """Solve both sides, write what differs and print it; a way back that fails is an error after all is written."""
    from rich.markup import escape
    from rich.table import Table

    from cosim.experiments.differences import differences

    try:
        if isinstance(after, CosimError):
            raise after
        found = differences(before, after)
    except CosimError as error:
        found = {"error": _shortly(error)}
    head = {
        "feeder": before.name,
        "format": _FORMATS[to],
        "experimental": True,
        "converter": package_versions(["powerio"]),
        "compared": f"the circuit, and what comes back of it from {_FORMATS[to]}; both solved with the loads of the "
        "file as constant power",
    }
    write_json(path, json_ready({**head, **found, "lost": list(lost)}))
    title = f"Experimental: {escape(before.name)} there and back through {_FORMATS[to]}"
    table = Table(title=title, title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    for name, (one, other) in found.get("facts", {}).items():
        style = "" if one == other else "red"
        table.add_row(name, f"{one:.10g}", f"{other:.10g}", style=style)
    if "error" not in found:
        console.print(table)
    for item in lost:
        _say(console, f"{item['step']}: {item['count']} × {item['code']}, e.g. {item['example']}")
    if "error" in found:
        raise CosimError(f"{path}: written, but what was converted cannot be checked: {found['error']}")
    for kind in [key for key in found if key.startswith(("missing_", "added_")) and found[key]]:
        names = found[kind]
        _say(console, f"{kind.replace('_', ' ')}: {len(names)} ({', '.join(names[:5])}{', …' * (len(names) > 5)})")
    worst, size = found["largest"], found["largest_magnitude"]
    same = worst["difference_pu"] <= _SAME_PU and not any(found[key] for key in found if key.startswith("missing_"))
    verdict = f"the same to {_SAME_PU:g} pu" if same else "not the same"
    told = f"largest difference {worst['difference_pu']:.2e} pu at node {worst['node']}"
    of_size = f"of magnitudes {abs(size['magnitude_difference_pu']):.2e} pu at {size['node']}"
    _say(console, f"{verdict}: {told}, {of_size}. All: {path}")


def _shortly(error: CosimError) -> str:
    """The first of the faults of a circuit that stands in no file, and how many more there are."""
    if not isinstance(error, InputError):
        return str(error)
    first, *more = error.faults
    return f"{first.key}{': ' * bool(first.key)}{first.problem}{f' (and {len(more)} more)' * bool(more)}"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
