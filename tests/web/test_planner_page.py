"""The planner's page as its user has it: a real server's process and a real browser."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import Served, check

DEPOT = """Plate;Date;Time;Until;kWh
B-AB 1;18.03.2025;07:40;18.03.2025 12:10;21,5
B-AB 2;18.03.2025;08:05;18.03.2025 13:00;abc
B-AB 3;18.03.2025;08:30;18.03.2025 08:00;18,0
B-AB 4;18.03.2025;09:00;18.03.2025 17:30;35,25
B-AB 5;18.03.2025;10:15;18.03.2025 16:00;40
"""
COLUMNS = {"Vehicle or session": "Plate", "Arrival": "Date", "Arrival, time of day if apart": "Time",
           "Departure": "Until", "Energy [kWh]": "kWh"}  # fmt: skip
FEW = "vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime\na,22,26,52,47.5,67\nb,7,17.5,30,33,43.25\n"


def pages(browser: Browser, served: Served, **how: Any) -> Iterator[Page]:
    """A page that must not err, and must ask nobody but the server."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **how})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    ours = (served.url, "data:", "blob:")
    page.on("request", lambda asked: None if asked.url.startswith(ours) else wrong.append(asked.url))
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def page(browser: Browser, server: Served) -> Iterator[Page]:
    yield from pages(browser, server)


@pytest.fixture
def narrow(browser: Browser, server: Served) -> Iterator[Page]:
    yield from pages(browser, server, viewport={"width": 390, "height": 800}, color_scheme="dark")


def upload(page: Page, served: Served, path: Path) -> None:
    page.goto(f"{served.url}/planner")
    page.get_by_label("Choose a file of sessions").set_input_files(path)


def planned(served: Served, client: httpx.Client, capacity_kw: float = 10.0) -> str:
    """Address of a plan that is made over HTTP."""
    sent = client.post("/sessions", files={"file": ("few.csv", FEW.encode())}).json()["id"]
    asked = {"sessions": sent, "capacity_kw": capacity_kw}
    plan = client.post("/plans", json=asked).json()["id"]
    return f"{served.url}/planner?sessions={sent}&plan={plan}"


def test_a_file_is_mapped_mended_planned_and_planned_again(page: Page, server: Served, tmp_path: Path) -> None:
    (tmp_path / "depot.csv").write_text(DEPOT, encoding="utf-8")
    upload(page, server, tmp_path / "depot.csv")
    expect(page.get_by_label("Arrival", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#planner-column-arrival-fault")).to_contain_text("choose it here")
    for label, column in COLUMNS.items():
        page.get_by_label(label, exact=True).select_option(column)
    page.get_by_label("The station's clock").fill("Europe/Berlin")
    page.get_by_role("button", name="Read it again").click()

    live = page.locator("#shell-live")
    expect(live).to_have_text("5 rows, 3 usable, 0 of them changed, 2 left out.")
    marked = page.locator(".planner-bad")
    expect(marked.filter(has_text="is not a number: 'abc'; left out → write a number")).to_have_count(1)
    check(page)
    page.get_by_role("link", name="3", exact=True).click()  # from the finding to its cell
    page.keyboard.press("Enter")
    page.keyboard.press("Control+A")
    page.keyboard.type("19.5")
    page.keyboard.press("Enter")
    expect(live).to_have_text("5 rows, 4 usable, 0 of them changed, 1 left out.")
    expect(marked).to_have_count(1)  # the departure before the arrival

    page.get_by_label("Capacity [kW]").fill("12,5")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(page.locator("#planner-capacity-fault")).to_contain_text("'12,5' is no number")
    expect(page.get_by_label("Capacity [kW]")).to_have_attribute("aria-describedby", re.compile("capacity-fault"))
    page.get_by_label("Capacity [kW]").fill("12")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(page.locator("#planner-words")).to_contain_text("Proven best. 93.9 % of the need is served")
    expect(page.locator("#planner-capacity-fault")).to_be_empty()
    expect(page.get_by_role("img", name=re.compile("The capacity binds in 32 of 96 steps"))).to_be_visible()
    assert page.locator("#planner-figures .js-plotly-plot").count() == 4

    old = page.url
    page.locator('#planner-live [row-id="B-AB 5"] [col-id="departure"]').dblclick()
    page.keyboard.type("2025-03-18 13:00")
    page.keyboard.press("Enter")
    page.get_by_label("Now").fill("2025-03-18 11:00")
    page.get_by_role("button", name="Plan the rest").click()
    expect(page.locator("#planner-changes-heading")).to_be_visible()
    expect(page.locator("#planner-changes")).to_contain_text("vehicles change")
    assert page.url != old
    check(page)

    with page.expect_download() as coming:
        page.locator("#planner-downloads").get_by_role("link", name="XLSX").first.click()
    with ZipFile(coming.value.path()) as workbook:
        assert "xl/worksheets/sheet1.xml" in workbook.namelist()
    link = page.locator("#planner-downloads").get_by_role("link", name="OCPP 2.0.1").get_attribute("href")
    assert httpx.get(f"{server.url}{link}").json()["messages"]
    there = page.url
    page.reload()
    expect(page.locator("#planner-changes")).to_be_visible()  # reload in the middle: nothing is lost
    assert page.url == there


def test_a_killed_server_loses_no_plan(browser: Browser, server: Served, client: httpx.Client) -> None:
    address, old = planned(server, client), server.url
    server.kill()
    server.begin()  # on another port
    for page in pages(browser, server):
        page.goto(address.replace(old, server.url))
        expect(page.locator("#planner-words")).to_contain_text("of the need is served")
        expect(page.locator('#planner-grid [row-id="2"]')).to_be_visible()
        page.goto(f"{server.url}/planner")
        page.locator("#planner-earlier a").first.click()
        expect(page.locator("#planner-words")).to_contain_text("of the need is served")


def test_a_narrow_dark_page_by_keyboard_alone(narrow: Page, server: Served, client: httpx.Client) -> None:
    page = narrow
    page.goto(planned(server, client))
    expect(page.locator("#planner-words")).to_be_visible()
    expect(page.locator("#planner-figures .js-plotly-plot .main-svg").first).to_be_visible()
    check(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose a file of sessions")).to_be_focused()
    for _ in range(90):  # to the field and its button, with nothing but Tab
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "planner-capacity":
            break
    page.keyboard.press("Control+A")
    page.keyboard.type("50")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "planner-go":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"  # to be seen where one is
    page.keyboard.press("Enter")
    expect(page.locator("#planner-kpis")).to_contain_text("peak 22.0 kW")
    expect(page.get_by_role("button", name="Plan", exact=True)).to_be_focused()  # and stays there
    page.locator("#shell-theme-switch").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_a_plan_waits_for_the_edit_that_is_under_way(page: Page, server: Served, client: httpx.Client) -> None:
    page.goto(planned(server, client))
    old = page.locator("#planner-words").inner_text()
    page.locator('#planner-grid [row-id="2"] [col-id="c2"]').dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("5")
    page.get_by_role("button", name="Plan", exact=True).click()  # no Enter: the cell is still open
    expect(page.locator("#planner-words")).not_to_have_text(old)
    plan = page.url.partition("plan=")[2]
    vehicles = httpx.get(f"{server.url}/api/v1/plans/{plan}/tables/vehicles.csv").text
    need_kwh = pd.read_csv(io.StringIO(vehicles)).set_index("vehicle")["energy_need_kwh"]
    assert need_kwh.to_dict() == {"a": 5.0, "b": 17.5}


def test_names_are_text_in_figures_and_leave_them_room(page: Page, server: Served, client: httpx.Client) -> None:
    link, long = '<a href="http://evil.example/">click</a>', "long-" * 30
    names = (link.replace('"', '""'), f"{long}b{long}", f"{long}{long}", "<b>c</b>")
    rows = [f'"{name}",7,5,30,30,40,x' for name in names]
    text = "\n".join([f"{FEW.splitlines()[0]},batery", *rows])
    sent = client.post("/sessions", files={"file": ("names.csv", text.encode())}).json()["id"]
    page.goto(f"{server.url}/planner?sessions={sent}")
    expect(page.locator("#planner-findings")).to_contain_text("batery: unknown column, not used")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(page.locator("#planner-heatmap .ytick text")).to_have_count(4)
    assert page.locator("svg a").count() == 0
    ticks = page.locator("#planner-heatmap .ytick text").all_text_contents()
    assert "<b>c</b>" in ticks
    assert '<a href="htt…">click</a>' in ticks
    assert len(set(ticks)) == 4
    for figure in ("heatmap", "departures"):
        plot = page.locator(f"#planner-{figure} .bglayer rect, #planner-{figure} .nsewdrag").first.bounding_box()
        assert plot is not None
        assert plot["width"] > 700, figure


def test_an_edit_after_a_plan_is_told_and_unplanned_sessions_are_found_again(
    page: Page, server: Served, client: httpx.Client
) -> None:
    page.goto(planned(server, client))
    expect(page.locator("#planner-words")).to_be_visible()
    expect(page.locator("#planner-stale")).to_be_empty()
    page.locator('#planner-grid [row-id="2"] [col-id="c2"]').dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("6")
    page.keyboard.press("Enter")
    expect(page.locator("#planner-stale")).to_contain_text("plan again")
    edited = page.url.partition("sessions=")[2].partition("&")[0]
    page.goto(f"{server.url}/planner")
    page.locator(f"#planner-tables a[href*='{edited}']").click()
    expect(page.locator('#planner-grid [row-id="2"] [col-id="c2"]')).to_have_text("6")


def test_a_car_that_was_not_planned_is_planned_with_the_rest(page: Page, server: Served, client: httpx.Client) -> None:
    page.goto(planned(server, client))
    page.get_by_label("Now").fill("40")
    page.get_by_label("Cars that were not planned").fill("walk-in, ten, 11, 60\n\nx, 1")
    page.get_by_role("button", name="Plan the rest").click()
    expect(page.locator("#planner-new-fault")).to_contain_text("'ten' is no number")
    expect(page.locator("#planner-new-fault")).to_contain_text("line 3 is not understood: 'x, 1'")
    page.get_by_label("Cars that were not planned").fill("walk-in, 10, 11, 60\nlater; 2; 7; 70; 50")
    page.get_by_role("button", name="Plan the rest").click()
    expect(page.locator("#planner-changes")).to_contain_text("walk-in")
    plan = page.url.partition("plan=")[2]
    vehicles = httpx.get(f"{server.url}/api/v1/plans/{plan}/tables/vehicles.csv").text
    found = pd.read_csv(io.StringIO(vehicles)).set_index("vehicle")
    assert found.loc[["walk-in", "later"], "energy_need_kwh"].tolist() == [10.0, 2.0]
    assert found.loc[["walk-in", "later"], "arrival_step"].tolist() == [40.0, 50.0]
    check(page)


def test_callbacks_of_other_pages_are_refused(server: Served) -> None:
    for origin in ({}, {"Origin": "http://elsewhere.example"}, {"Origin": "null"}):
        answer = httpx.post(f"{server.url}/_dash-update-component", json={}, headers=origin)
        assert answer.status_code == 403


def test_demand_is_drawn_and_its_heatmap_shows_who_is_there(page: Page, server: Served) -> None:
    page.goto(f"{server.url}/planner")
    page.get_by_label("Vehicles").fill("12")
    page.get_by_label("Seed").fill("7.5")
    page.get_by_role("button", name="Draw sessions").click()
    expect(page.locator("#planner-seed-fault")).to_contain_text("no whole number")
    page.get_by_label("Seed").fill("7")
    page.get_by_role("button", name="Draw sessions").click()
    expect(page.locator("#planner-counts")).to_contain_text("12 rows")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(page.locator("#planner-words")).to_be_visible()
    numbers = page.locator("#planner-figures figure", has=page.locator("#planner-heatmap")).locator("details")
    expect(numbers.locator("table")).to_have_count(0)  # of many vehicles it is large: drawn when it is opened
    numbers.locator("summary").click()
    expect(numbers.locator("tbody tr")).to_have_count(96)
    drawn = page.locator("#planner-heatmap .js-plotly-plot").evaluate("plot => plot.data[0]")
    plan = page.locator("#planner-downloads").get_by_role("link", name="CSV").first.get_attribute("href")
    table = pd.read_csv(io.BytesIO(httpx.get(f"{server.url}{plan}").content), dtype={"vehicle": str})
    there = sum(cell is not None for row in drawn["z"] for cell in row)
    assert (len(drawn["y"]), there) == (12, len(table))
    assert sum(cell or 0.0 for row in drawn["z"] for cell in row) == pytest.approx(table["power_kw"].sum(), abs=0.1)
