"""The page of studies: rows by factor, controllers compared, hosting curves, and all of it in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, expect

from cosim.errors import InputError
from cosim.experiments.hosting.config import read as read_config
from cosim.experiments.hosting.summary import capacities
from cosim.experiments.study.dataset import Dataset
from cosim.experiments.web.dashboard.studies_data import ROWS, read_hosting, read_study
from cosim.experiments.web.dashboard.studies_figures import hosting, means
from cosim.folder import claimed

from .conftest import check_both

STUDY = {
    "name": "short", "scenario": "two_bus_evening", "change": {"horizon_h": 2},
    "factors": {"ev_share": [0.4, 1.0], "placement": 7},
    "runs": [{"controller": "none"}, {"controller": "equal_share"}],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty worlds under two controllers, of which one collapsed in one world; in two parts."""
    rng = np.random.default_rng(1)
    with claimed(tmp_path / "study") as owned:
        dataset = Dataset(owned.path)
        for placement in range(1, 21):
            for share in (0.5, 1.0):
                for controller, less in (("none", 0.0), ("equal_share", 30.0)):
                    failed = (placement, share, controller) == (3, 1.0, "none")
                    dataset.add([{
                        "hash": f"{placement:02d}-{share}", "controller": controller, "placement": placement,
                        "ev_share": share, "weight": 1.0, "status": "collapsed" if failed else "ok",
                        "transformer_peak_percent": 100.0 * share + float(rng.uniform(0, 10)) - less,
                    }])  # fmt: skip
            if placement == 10:
                dataset.commit()
        dataset.commit()
    return tmp_path / "study"


def test_rows_are_chosen_sorted_and_paged(folder: Path) -> None:
    found = read_study(folder)
    assert found.factors == {
        "controller": ["equal_share", "none"], "ev_share": ["0.5", "1"], "placement": [str(k) for k in range(1, 21)],
        "status": ["collapsed", "ok"],
    }  # fmt: skip
    whole = pd.read_parquet(folder / "results.parquet")
    own = whole[(whole["controller"] == "none") & (whole["ev_share"] == 1.0)]
    expected = own["transformer_peak_percent"].sort_values(ascending=False).tolist()
    shown, count = found.page(
        {"controller": "none", "ev_share": "1"}, "transformer_peak_percent", descending=True, number=0
    )
    assert (count, shown["transformer_peak_percent"].tolist()) == (20, expected)
    every = [found.page({}, "placement", descending=False, number=number)[0] for number in range(4)]
    assert [len(page) for page in every] == [ROWS, ROWS, ROWS, 80 - 3 * ROWS]
    assert pd.concat(every)["placement"].tolist() == sorted(whole["placement"])
    assert found.page({"status": "collapsed"}, "controller", descending=False, number=0)[1] == 1


def test_means_are_those_of_the_comparison(folder: Path) -> None:
    comparison = read_study(folder).comparison
    assert comparison is not None
    assert comparison.compared == 39
    made = means(comparison, "transformer_peak_percent", "ev_share", "light")
    for trace in made.figure["data"]:
        own = comparison.of("transformer_peak_percent", "ev_share")
        own = own[own["controller"] == trace["name"]]
        assert trace["y"] == pytest.approx(own["mean"].tolist(), abs=1e-4)
        assert trace["error_y"]["array"] == pytest.approx((own["high"] - own["mean"]).tolist(), abs=1e-4)
    shapes = {trace["marker"]["symbol"] for trace in made.figure["data"]}
    assert len(shapes) == 2  # controllers differ in more than colour
    assert "equal_share −" in made.title
    assert [shape["y0"] for shape in made.figure["layout"]["shapes"]] == [100.0]


def test_a_study_that_has_no_rows_yet_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no results"):
        read_study(tmp_path)
    with pytest.raises(InputError, match="let it end"):
        read_hosting(tmp_path)


def test_hosting_curves_are_those_of_the_placements(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(2), []
    for controller, least in (("none", 20.0), ("equal_share", 60.0)):
        for placement in range(1, 31):
            percent = least + float(rng.integers(0, 40))
            rows.append({
                "feeder": "two_bus", "technology": "ev", "network": "as_built", "controller": controller,
                "placement": placement, "hash": str(placement), "capacity_homes": 1, "capacity_percent": percent,
                "installed_kw": percent, "limit_binding": "cable_peak", "where": "LINE1", "monotone": True, "worlds": 3,
            })  # fmt: skip
    placements = pd.DataFrame(rows)
    none = pd.DataFrame(columns=[*placements, "hosted"])
    table = capacities(placements, none, none, read_config(None), {})
    table.to_csv(tmp_path / "hosting.csv", index=False)
    placements.to_csv(tmp_path / "placements.csv", index=False)
    found, again = read_hosting(tmp_path)
    made = hosting(found, again, 95.0, "two_bus", "dark")
    for trace in made.figure["data"]:
        own = placements.loc[placements["controller"] == trace["name"], "capacity_percent"].to_numpy()
        for x, y in zip(trace["x"][1:-1], trace["y"][1:-1], strict=True):
            assert 100.0 * np.mean(own >= x) >= y - 1e-4  # so many placements host at least x
        assert (trace["x"][-1], trace["y"][-1]) == (own.max(), 0.0)
    told = dict(zip(table["controller"], table["capacity_percent"], strict=True))
    assert f"none {told['none']:.0f} % (cable peak)" in made.title


def test_a_study_is_watched_and_its_rows_are_turned(server: Any, browser: Browser) -> None:
    with server.client() as client:
        job = client.post("/studies", json={"study": STUDY}).json()["id"]
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page, failed = context.new_page(), list[str]()
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(f"{server.url}/studies?study={job}")
    row = page.locator("#studies-jobs tr", has_text=job)
    expect(row).to_contain_text("done", timeout=60_000)
    expect(row).to_contain_text("14 of 14")
    expect(page.locator("#studies-extent")).to_have_text("Rows 1 to 25 of 28.")
    page.get_by_role("button", name="Next rows").click()
    expect(page.locator("#studies-extent")).to_have_text("Rows 26 to 28 of 28.")
    page.get_by_label("controller", exact=True).select_option("none")
    expect(page.locator("#studies-extent")).to_have_text("Rows 1 to 14 of 14.")
    expect(page.locator("#studies-rows tbody tr")).to_have_count(14)
    page.select_option("#studies-factor-choice", "ev_share")
    expect(page.locator("#studies-means .main-svg").first).to_be_visible()
    check_both(page)
    assert failed == []
    context.close()
