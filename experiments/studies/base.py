"""The shape of a study: a config whose fields are the command's options, a run, a result, and one way to write it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from cosim.experiments.figures import style
from cosim.experiments.files import json_ready, origin, sha256_of, write_json
from cosim.experiments.studies.config import StudyConfig
from cosim.experiments.tables import markdown, write_table
from cosim.folder import claimed, write_whole
from cosim.threads import ONE_THREAD

Cases = dict[str, dict[str, Any]]
"""Metrics by name, by case."""

Progress = Callable[[str], object]
"""Called with what is being done."""


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
        Whether the same config gives the same numbers: bit by bit on the build of the manifest, elsewhere within the
        gaps of what was solved.
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
    packages : tuple of str
        Distributions whose versions matter.
    source : str
        Where model and data come from.
    """

    name: ClassVar[str]
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

    def conduct(
        self, config: Config, folder: Path, progress: Progress = lambda _: None, *, overwrite: bool = False
    ) -> Result:
        """Run the study and write its folder.

        Parameters
        ----------
        config : StudyConfig
            What is asked.
        folder : Path
            Receives ``metrics.json``, ``manifest.json``, ``report.md``, where there are durations ``timing.json``, and
            the study's own tables and figures. New, empty, or written by an earlier run; made where it is missing, and
            left behind empty by nothing that goes wrong.
        progress : callable
            Called with what is being done.
        overwrite : bool
            Whether what an earlier run wrote there may be replaced; it is when the study has ended.

        Returns
        -------
        StudyResult

        Raises
        ------
        InputError
            Where the folder cannot be written to, is in use or holds something, or data are unfit.
        SolverError
            Where a programme ends without an answer that can be trusted.
        WriteError
            Where a file cannot be written.
        """
        with claimed(folder, overwrite=overwrite) as owned:
            with ONE_THREAD:  # these matrices are small: threads cost up to ten times what they bring
                result = self.run(config, progress)
            progress("Drawing and writing")
            owned.clear()
            self._write(config, result, owned.path)
        return result

    def _write(self, config: Config, result: Result, folder: Path) -> None:
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


def from_template(study: str, name: str = "report.md.j2", **values: Any) -> str:
    """Return text from a template in a study's folder, such as its report.

    A value that the template misses is an error; a table becomes text by the filter ``markdown``.
    """
    environment = Environment(  # noqa: S701 - plain text, not HTML
        loader=PackageLoader("cosim.experiments.studies", study), trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["markdown"] = markdown
    return environment.get_template(name).render(**values).lstrip()


def lines_of(study: str, **values: Any) -> list[str]:
    """Return what is said on the screen, from ``lines.txt.j2`` in a study's folder."""
    return from_template(study, "lines.txt.j2", **values).splitlines()
