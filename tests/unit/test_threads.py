"""One thread of linear algebra, inside every door and only there."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from cosim import Feeder
from cosim.measures import scoreboard
from cosim.reduced import ReducedNetwork
from cosim.threads import ONE_THREAD, blas


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info()}


def test_whoever_is_inside_has_one_thread_and_the_last_to_leave_gives_back() -> None:
    with threadpool_limits(limits=2):
        assert threads() == {2}
        with ONE_THREAD:
            with ONE_THREAD:
                assert threads() == {1}
            assert threads() == {1}
        assert threads() == {2}
        with pytest.raises(ZeroDivisionError), ONE_THREAD:
            1 / 0  # noqa: B018 - an error gives back too
        assert threads() == {2}


def test_the_reduced_network_holds_the_limit_for_whoever_calls_it(
    two_bus: Feeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ReducedNetwork(two_bus)
    inside: list[set[int]] = []
    solve = network._solve

    def watched(*given: Any) -> Any:
        inside.append(threads())
        return solve(*given)

    monkeypatch.setattr(network, "_solve", watched)
    with threadpool_limits(limits=2):
        network.predict(np.ones((5, 3)), np.zeros((5, 3)))
        network.sensitivity(np.ones((5, 3)), np.zeros((5, 3)))
        assert threads() == {2}
    assert inside == [{1}, {1}]


def test_making_a_network_and_measuring_a_run_hold_it_too(two_bus: Feeder, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[set[int]] = []

    def watched(*_: Any) -> Any:
        inside.append(threads())
        raise ZeroDivisionError

    monkeypatch.setattr("cosim.reduced.Transfer", watched)
    monkeypatch.setattr(sys.modules["cosim.measures.scoreboard"], "_voltage_metrics", watched)
    with threadpool_limits(limits=2):
        for door in (ReducedNetwork, scoreboard):
            with pytest.raises(ZeroDivisionError):
                door(two_bus)  # type: ignore[operator]
    assert inside == [{1}, {1}]


def test_the_kernel_of_blas_is_named() -> None:
    assert all(len(one.split()) >= 2 for one in blas())
    assert any(name in " ".join(blas()) for name in ("openblas", "mkl", "blis", "accelerate"))
