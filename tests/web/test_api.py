"""The interface as a client meets it: HTTP, to a server in a process of its own."""

from __future__ import annotations

import httpx
import pytest

ROWS = """vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime
1,22,26,52,47,67
2,7,17.6711,30,33,43
3,11,45.815,52,41,58
4,11,27.9156,88,59,69
5,6,20.305,88,32,46
"""


def uploaded(client: httpx.Client, text: str = ROWS, name: str = "five.csv") -> str:
    answer = client.post("/sessions", files={"file": (name, text.encode())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize(
    ("capacity_kw", "objective_eur"), [(100, 37.2029), (40, 37.2029), (20, 38.9883), (15, 49.1017)]
)
def test_reference_optima(client: httpx.Client, capacity_kw: float, objective_eur: float) -> None:
    asked = {"sessions": uploaded(client), "capacity_kw": capacity_kw, "objective": "weighted"}
    answer = client.post("/plans", json=asked)
    assert answer.status_code == 201
    assert answer.json()["metrics"]["objective_eur"] == pytest.approx(objective_eur, abs=5e-5)
