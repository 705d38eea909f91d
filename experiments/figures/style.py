"""How every figure looks: colours, sheets of panels measured in inches, time axes, limit lines, legends, files.

Figures are made without pyplot: no global state, nothing to close, and safe beside other plots of a caller.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from PIL import Image

from cosim.contract import Float
from cosim.folder import write_whole

DPI = 110
WIDTH_IN = 12.0
PHASE_COLOURS = ("#0072B2", "#E69F00", "#009E73")
RUN_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#7F7F7F")
"""Okabe and Ito's palette (told apart with every common colour blindness), its yellow replaced by grey."""
RUN_DASHES: tuple[Any, ...] = ("-", "-", "-", "-", "-", "--", "--", "--", "--", "--", ":", ":", ":", ":", ":")
BAD = "#B00020"
LIMIT = "#444444"
REFERENCE = "#9A9A9A"
USED, WITHHELD = "#0072B2", "#E69F00"
PLUGGED = "#E6E6E6"

CAPTIONS = tomllib.loads(Path(__file__).with_name("captions.toml").read_text(encoding="utf-8"))
"""By name of the figure, and of what is added for some runs."""

_EPOCH = datetime(1970, 1, 1)
_LEFT_IN, _RIGHT_IN, _BOTTOM_IN, _HEADER_IN = 0.75, 0.75, 0.5, 0.88
_KEY_IN, _LETTER_IN, _SMALL = 0.48, 0.07, 0.75  # a legend's entry without its text, a letter, both in small print
_TITLE_LETTERS = 105
_ROW_GAP_IN, _COLUMN_GAP_IN, _BLOCK_GAP_IN = 0.36, 0.75, 0.95
_RC: dict[Any, Any] = {
    "font.size": 9.0, "axes.titlesize": 9.0, "axes.labelsize": 9.0, "legend.fontsize": 9.0,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.1, "axes.titlepad": 4.0,
    "font.family": "DejaVu Sans", "axes.unicode_minus": True, "path.simplify": True,
    "axes.titley": 1.0,  # where a title belongs is known: not to look for it saves a sixth of the time
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure before it is written.

    Attributes
    ----------
    figure : Figure
        What is drawn.
    title : str
        What to see, also drawn on the figure.
    caption : str
        How to read it.
    """

    figure: Figure
    title: str
    caption: str


@dataclass(frozen=True)
class Block:
    """Panels of one kind on a sheet, filled row by row, sharing their axes.

    Attributes
    ----------
    count : int
        Number of panels.
    columns : int
        Panels side by side.
    height_in : float
        Height of a panel [in].
    share_y : bool or "row" or "column"
        All panels have one scale, or those of a row, or those of a column.
    """

    count: int
    columns: int
    height_in: float
    share_x: bool = True
    share_y: bool | str = True

    @property
    def rows(self) -> int:
        """Rows of panels."""
        return -(-self.count // self.columns)


@contextmanager
def house_style() -> Iterator[None]:
    """Apply the settings of this house to figures made inside."""
    with mpl.rc_context(_RC):
        yield


def columns_for(count: int) -> int:
    """One panel alone is as wide as the sheet; several stand in two columns."""
    return 1 if count == 1 else 2


def sheet(
    *blocks: Block,
    header_in: float = _HEADER_IN,
    left_in: float = _LEFT_IN,
    right_in: float = _RIGHT_IN,
    gap_in: float = _COLUMN_GAP_IN,
) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure of blocks one below the other.

    Parameters
    ----------
    *blocks : Block
        From top to bottom.
    header_in : float
        Room for title and legend [in].
    left_in, right_in : float
        Room for labels at the sides [in].
    gap_in : float
        Room between columns; panels with scales of their own get more [in].

    Returns
    -------
    Figure
        Tick labels only at the foot and at the left of each shared block.
    list of list of Axes
        Panels of each block.
    """
    inside_in = sum(b.rows * b.height_in + (b.rows - 1) * _row_gap_in(b) for b in blocks)
    height_in = header_in + inside_in + (len(blocks) - 1) * _BLOCK_GAP_IN + _BOTTOM_IN
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI)
    FigureCanvasAgg(figure)
    panels: list[list[Axes]] = []
    top_in = height_in - header_in
    for block in blocks:
        apart_in = gap_in if block.share_y in (True, "row") else gap_in + 0.4  # room for a scale
        width_in = (WIDTH_IN - left_in - right_in - (block.columns - 1) * apart_in) / block.columns
        made: list[Axes] = []
        for index in range(block.count):
            row, column = divmod(index, block.columns)
            beside_in = left_in + column * (width_in + apart_in)
            foot_in = top_in - (row + 1) * block.height_in - row * _row_gap_in(block)
            place = (beside_in / WIDTH_IN, foot_in / height_in, width_in / WIDTH_IN, block.height_in / height_in)
            partner = {True: 0, "row": row * block.columns, "column": column}.get(block.share_y, index)
            made.append(
                figure.add_axes(
                    place,
                    sharex=made[0] if made and block.share_x else None,
                    sharey=made[partner] if partner < index else None,
                )
            )
        for index, axes in enumerate(made):
            axes.tick_params(
                labelbottom=not block.share_x or index + block.columns >= block.count,
                labelleft=index % block.columns == 0 or block.share_y not in (True, "row"),
            )
        panels.append(made)
        top_in -= block.rows * block.height_in + (block.rows - 1) * _row_gap_in(block) + _BLOCK_GAP_IN
    return figure, panels


def heading(figure: Figure, title: str, handles: Sequence[Artist] = ()) -> None:
    """Write the title at the top left, and the legend in one or two lines below it, outside the data."""
    height_in = figure.get_figheight()
    left = _LEFT_IN / WIDTH_IN
    size = min(12.0, 12.0 * _TITLE_LETTERS / max(len(title), 1))  # a title of many names still ends on the sheet
    figure.text(left, 1 - 0.12 / height_in, title, ha="left", va="top", fontsize=size, fontweight="bold")
    if handles:
        figure.legend(
            handles=list(handles), loc="upper left", bbox_to_anchor=(left, 1 - 0.38 / height_in), ncols=len(handles),
            frameon=False, borderaxespad=0.0, borderpad=0.0, handlelength=1.8, columnspacing=1.6,
        )  # fmt: skip


def finish(figure: Figure, title: str, caption: str, handles: Sequence[Artist] = ()) -> Drawing:
    """Write the title and the legend, see `heading`, and hand the figure over."""
    heading(figure, title, handles)
    return Drawing(figure, title, caption)


def steps(axes: Axes, times: Float, values: Float, colour: str, **look: Any) -> None:
    """Draw means over steps, each held until its step ends; times are the borders of steps."""
    axes.step(times, hold(values), where="post", color=colour, **look)


def between(axes: Axes, times: Float, low: Float | float, high: Float, colour: str, **look: Any) -> None:
    """Fill the area between two quantities that are means over steps."""
    floor = hold(np.broadcast_to(low, high.shape))
    axes.fill_between(times, floor, hold(high), step="post", color=colour, linewidth=0, **look)


def broken_line(axes: Axes, segments: Sequence[Sequence[tuple[float, float]]], colour: str, **look: Any) -> None:
    """Draw many straight pieces as one line with gaps, which is quicker by far than as many lines."""
    if segments:
        gap = np.full((len(segments), 1, 2), np.nan)
        x, y = np.concatenate([np.array(segments), gap], axis=1).reshape(-1, 2).T
        axes.plot(x, y, color=colour, scalex=False, scaley=False, **look)


def above_rating(axes: Axes, times: Float, worst_percent: Float) -> None:
    """Draw the rating, and what of a loading is above it."""
    limit_line(axes, 100.0, "100 %")
    between(axes, times, 100.0, np.maximum(worst_percent, 100.0), BAD, alpha=0.25)


def charging(
    axes: Axes, extent: tuple[float, float, float, float], there: Float, power_kw: Float, top_kw: float
) -> AxesImage:
    """Draw powers as colours, and in grey where a car is there without charging; both of shape (step, row)."""
    look: dict[str, Any] = {"extent": extent, "aspect": "auto", "interpolation": "nearest"}
    axes.imshow(np.ma.masked_less_equal(there.T, 0.0), cmap=ListedColormap([PLUGGED]), **look)
    axes.grid(visible=False)
    shown, norm = np.ma.masked_less_equal(power_kw.T, 0.01), Normalize(0.0, top_kw)
    return axes.imshow(shown, cmap="viridis_r", norm=norm, **look)


def charging_scale(figure: Figure, image: AxesImage, beside: Axes) -> None:
    """Put the scale of `charging` to the right of a panel."""
    place = beside.get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((place.x1 + 0.012, place.y0, 0.009, place.height)))
    bar.set_label("charging [kW]")
    bar.outline.set_visible(False)


def line_key(colour: str, label: str, **style: Any) -> Line2D:
    """Return a legend entry of a line."""
    return Line2D([], [], color=colour, label=label, **style)


def area_key(colour: str, label: str, **style: Any) -> Patch:
    """Return a legend entry of an area."""
    return Patch(facecolor=colour, label=label, **style)


def limit_line(axes: Axes, value: float, text: str, *, colour: str = LIMIT) -> None:
    """Draw a limit across a panel and name it to the right of the data."""
    axes.axhline(value, color=colour, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1.5)
    axes.annotate(
        text, (1.0, value), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
        va="center", ha="left", fontsize=8, color=colour, annotation_clip=True,
    )  # fmt: skip


def legend_above(axes: Axes, title: str = "", columns: int = 8) -> None:
    """Put a panel's own legend above it, outside the data, after a bold title; many or long names take two rows."""
    names = axes.get_legend_handles_labels()[1]
    longest, room_in = max(map(len, names), default=1), axes.get_position().width * WIDTH_IN
    small = len(names) > min(columns, int(room_in / (_KEY_IN + _LETTER_IN * longest)))
    if small:
        columns = max(int(room_in / (_SMALL * (_KEY_IN + _LETTER_IN * longest))), 1)
    rows = -(-len(names) // columns) if names else 1
    if title:
        axes.set_title(title, loc="left", fontweight="bold", pad=20.0 + 8.0 * (rows - 1))
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, frameon=False, borderaxespad=0.2, borderpad=0.0,
        handlelength=2.2, columnspacing=1.0 if small else 1.4, labelspacing=0.15 if small else None,
        fontsize=7.2 if small else None,
    )  # fmt: skip


def panel_title(axes: Axes, label: str, summary: str = "", stopped: str = "", pad: float | None = None) -> None:
    """Name a panel at its left, sum it up at its right; a run that stopped early says so in red."""
    name = f"{label} – STOPPED {stopped}" if stopped else label
    axes.set_title(name, loc="left", fontweight="bold", color=BAD if stopped else "black", pad=pad)
    if summary:
        axes.set_title(summary, loc="right", color="#333333", fontsize=8.5, pad=pad)


def edges(start: datetime, step_min: float, steps: int) -> Float:
    """Borders of steps on the time axis, in days since 1970, shape (steps + 1,)."""
    first = (start - _EPOCH).total_seconds() / 86400.0
    return np.asarray(first + np.arange(steps + 1) * step_min / 1440.0)


def hold(values: Float) -> Float:
    """Repeat the last row, so that a mean over a step is drawn until the step's end."""
    return np.concatenate([values, values[-1:]])


def clock_axis(axes: Axes, span: tuple[float, float], most: int = 9) -> None:
    """Label a time axis, and all that share it, with at most so many clock times, and with the date at midnight."""
    axes.set_xlim(*span)
    hours = (span[1] - span[0]) * 24
    apart_h = next((h for h in (0.25, 0.5, 1, 3, 6, 12) if hours / h <= most), 24 * int(np.ceil(hours / 24 / most)))
    first = np.ceil(np.round(span[0] * 24 / apart_h, 6)) * apart_h / 24
    axes.set_xticks(np.arange(first, span[1] + 1e-6, apart_h / 24))
    axes.xaxis.set_major_formatter(FuncFormatter(_clock))


def _clock(value: float, _position: int | None = None) -> str:
    moment = _EPOCH + timedelta(days=value, seconds=30)
    hour = moment.strftime("%H:%M")
    return f"{hour}\n{moment.day} {moment:%b}" if hour == "00:00" else hour


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    content = png(figure)
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def png(figure: Figure) -> bytes:
    """Return a PNG of 256 colours, a third of the size of one of all colours."""
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib leaves its methods untyped
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    few = drawn.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    content = BytesIO()
    few.save(content, format="PNG")
    return content.getvalue()


def _row_gap_in(block: Block) -> float:
    return _ROW_GAP_IN if block.share_x else _ROW_GAP_IN + 0.42
