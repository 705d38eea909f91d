"""The shape of a study: a config whose fields are the command's options, a run, a result, and one way to write it."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, get_type_hints

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from threadpoolctl import threadpool_limits

from cosim.errors import Fault, InputError, range_faults
from cosim.experiments.figures import style
from cosim.experiments.files import json_ready, origin, sha256_of, writable_folder, write_json
from cosim.experiments.tables import markdown, write_table
from cosim.record import write_whole

Cases = dict[str, dict[str, Any]]
"""Metrics by name, by case."""

Progress = Callable[[str], object]
"""Called with what is being done."""


def option_of(name: str) -> str:
    """Return a field's name as it is written on the command line."""
    return name if name.startswith("-") or name.isupper() else f"--{name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What is asked of a study.

    Every field of a subclass becomes an option of the study's command (an argument where it is annotated as one):
    name, type, default and ``Annotated[type, typer.Option(help=...)]`` are written there and nowhere else.
    """

    def __post_init__(self) -> None:
        """Refuse, with every fault at once: what the options' own ``min`` and ``max`` forbid, nan, and `faults`."""
        outside = list(range_faults("options", self._ranges()))
        found = [*outside, *(fault for fault in self.faults() if fault.key not in {one.key for one in outside})]
        if found:
            raise InputError(found)

    def faults(self) -> Iterator[Fault]:
        """Tell what is unknown or does not go together."""
        yield from ()

    def _ranges(self) -> Iterator[tuple[str, float, float, float, str]]:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            value, (option, *_) = getattr(self, name, None), getattr(hint, "__metadata__", (None,))
            if isinstance(value, int | float):
                low, high = (getattr(option, end, None) for end in ("min", "max"))
                whole = (-math.inf if low is None else low, math.inf if high is None else high)
                yield option_of(name), value, *whole, "a whole number" if isinstance(value, int) else "a number"


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyResult:
    """What a study found; a subclass adds what its figures and its report need (the config too, if they do).

    Attributes
    ----------
    cases : dict of str to dict
        Metrics by case: ``metrics.json``.
    lines, warnings : sequence of str
        For the screen.
    tables : mapping of str to DataFrame
        CSV files by name.
    documents : mapping of str to mapping
        JSON files by name.
    metrics : mapping
        What ``metrics.json`` holds beside the cases.
    timing : mapping
        Durations: ``timing.json``, apart from all that two runs have in common.
    facts : mapping
        What the manifest says beside its usual entries.
    inputs : sequence of Path
        Files that were read, beside those that the config names; hashed in the manifest.
    reproducible : bool
        Whether the same config gives the same numbers.
    """

    cases: Cases
    lines: Sequence[str]
    warnings: Sequence[str] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Path] = ()
    reproducible: bool = True


Config = TypeVar("Config", bound=StudyConfig)
Result = TypeVar("Result", bound=StudyResult)


class Study(ABC, Generic[Config, Result]):
    """A study: say what it is called and rests on, and how it is run and reported.

    Attributes
    ----------
    name : str
        Of the command and in the manifest.
    config : type
        Dataclass of its options.
    packages : tuple of str
        Distributions whose versions matter.
    source : str
        Where model and data come from.
    """

    name: ClassVar[str]
    config: type[Config]
    packages: ClassVar[tuple[str, ...]]
    source: ClassVar[str]

    @abstractmethod
    def run(self, config: Config, progress: Progress) -> Result:
        """Compute, and write nothing.

        Raises
        ------
        InputError
            Where data are unfit.
        SolverError
            Where a programme ends without an answer that can be trusted.
        """

    def figures(self, result: Result) -> Mapping[str, style.Drawing]:  # noqa: ARG002 - for subclasses
        """Draw; file names inside the study's folder. Called in the style of this house."""
        return {}

    def write(self, result: Result, folder: Path) -> None:
        """Write what is neither a table, a document nor a figure."""

    @abstractmethod
    def report(self, result: Result, captions: Mapping[str, str]) -> str:
        """Tell the study in Markdown; captions of the figures by file name."""

    def folder_name(self, config: Config) -> str:  # noqa: ARG002 - for subclasses
        """Return what the default folder is called, before its time."""
        return self.name

    def conduct(self, config: Config, folder: Path, progress: Progress = lambda _: None) -> Result:
        """Run the study and write its folder.

        Parameters
        ----------
        config : StudyConfig
            What is asked.
        folder : Path
            Receives ``metrics.json``, ``manifest.json``, ``report.md``, where there are durations ``timing.json``, and
            the study's own tables and figures. Made where it is missing; left behind empty by no wrong input.
        progress : callable
            Called with what is being done.

        Returns
        -------
        StudyResult

        Raises
        ------
        InputError
            Where the folder cannot be written to, or data are unfit.
        SolverError
            Where a programme ends without an answer that can be trusted.
        """
        missing = not folder.exists()
        writable_folder(folder)
        try:
            with threadpool_limits(limits=1):  # these matrices are small: threads cost up to ten times what they bring
                result = self.run(config, progress)
        except InputError:
            if missing:
                folder.rmdir()
            raise
        progress("Drawing and writing")
        for name, table in result.tables.items():
            write_table(table, folder / name)
        for name, document in result.documents.items():
            write_json(folder / name, json_ready(document))
        self.write(result, folder)
        captions = {}
        with style.house_style():
            for name, drawing in self.figures(result).items():
                style.save(drawing.figure, folder / name)
                captions[name] = f"{drawing.title}. {drawing.caption}"
        write_json(folder / "metrics.json", json_ready({"cases": result.cases, **result.metrics}))
        if result.timing:
            write_json(folder / "timing.json", result.timing)
        write_json(folder / "manifest.json", json_ready(self._manifest(config, result)))
        text = self.report(result, captions)
        write_whole(folder / "report.md", lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return result

    def _manifest(self, config: Config, result: Result) -> dict[str, Any]:
        named = (getattr(config, one.name) for one in fields(config))
        inputs = [*(path for path in named if isinstance(path, Path) and path.is_file()), *result.inputs]
        return {
            "study": self.name,
            "seed": getattr(config, "seed", None),
            "options": asdict(config),
            "reproducible": result.reproducible,
            **result.facts,
            **origin(self.packages),
            "inputs_sha256": {path.name: sha256_of(path) for path in inputs},
            "source": self.source,
        }


@contextmanager
def timed(timing: dict[str, Any], name: str) -> Iterator[None]:
    """Take down the processor time of what is done inside [s]."""
    began = time.process_time()
    yield
    timing[name] = time.process_time() - began


def from_template(study: str, **values: Any) -> str:
    """Return a report from ``report.md.j2`` in a study's folder.

    A value that the template misses is an error; a table becomes text by the filter ``markdown``.
    """
    environment = Environment(  # noqa: S701 - plain text, not HTML
        loader=PackageLoader("cosim.experiments.studies", study), trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["markdown"] = markdown
    return environment.get_template("report.md.j2").render(**values).lstrip()
