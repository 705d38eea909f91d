"""Tasks of a study: each is done once, whatever ends a process, and finished when it is in a part of the dataset."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import pandas as pd
import pytest

from cosim.errors import InputError, WriteError
from cosim.experiments.study import dataset
from cosim.experiments.study.code import code_version
from cosim.experiments.study.dataset import Dataset, column, parts, query, read
from cosim.experiments.study.runner import Task, run_tasks
from cosim.folder import claimed


def task(number: int, **payload: object) -> Task:
    return Task(f"h{number:03d}", "oracles.study_tasks:square", {"number": number, **payload}, ({"number": number},))


def rows(number: int) -> list[dict[str, object]]:
    return [{"hash": f"h{number:03d}", "power": power, "value": number**power} for power in (1, 2)]


def test_what_goes_wrong_with_a_task_is_its_result_and_stops_no_other(tmp_path: Path) -> None:
    log, told = tmp_path / "log", []
    tasks = [
        task(1, log=log), task(2, log=log, what="raises"), task(3, log=log, what="kills"), task(4, log=log),
        task(5, log=log, what="nothing"), task(4, log=log),
    ]  # fmt: skip
    counts = run_tasks(tasks, tmp_path / "out", progress=lambda now: told.append((now.done, now.failed)))
    assert (counts.total, counts.before, counts.done, counts.failed) == (6, 0, 5, 3)
    assert told[0] == (0, 0)
    assert told[-1] == (5, 3)
    assert sorted(map(int, log.read_text().split())) == [1, 2, 3, 3, 4, 5]  # one that killed its process: again
    found = read(tmp_path / "out")
    assert list(found.hash) == ["h001", "h001", "h002", "h003", "h004", "h004", "h005"]
    reasons = found[found.status == "failed"].set_index("number").reason
    assert reasons[2].startswith("ValueError: seven is no number (")
    assert reasons[3].startswith("twice: its process ended without a result (exit code -9")
    assert reasons[5] == "oracles.study_tasks:square returned no row"
    assert set(found.version) == {code_version()}
    assert found.odd.isna().all()  # there is no such figure in any row
    again = run_tasks(tasks, tmp_path / "out")
    assert (again.before, again.done) == (6, 0)
    assert len(log.read_text().split()) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what a process takes")
def test_a_process_that_has_grown_is_replaced_and_no_task_is_lost_or_done_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tasks = [task(1, log=log), task(2, log=log, what="grows"), task(3, log=log), task(4, log=log)]
    counts = run_tasks(tasks, tmp_path / "out")
    assert (counts.done, counts.failed) == (4, 0)
    assert sorted(map(int, log.read_text().split())) == [1, 2, 3, 4]
    process = read(tmp_path / "out").drop_duplicates("hash").set_index("number").process
    assert process[1] == process[2]
    assert process[3] == process[4] != process[2]


def test_what_is_no_scheduler_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    from cosim.experiments.study import cluster

    monkeypatch.setattr(cluster, "_PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for address in ("foo", f"tcp://127.0.0.1:{silent.getsockname()[1]}"):
            began_s, before = time.monotonic(), set(threading.enumerate())
            with pytest.raises(InputError, match=f"no scheduler answers at {address} →"):
                run_tasks([task(1)], tmp_path / "out", scheduler=address)
            assert time.monotonic() - began_s < 8.0
            assert [one for one in threading.enumerate() if one not in before and "loop" in one.name.lower()] == []
    assert not (tmp_path / "out").exists()


def test_a_full_disk_of_a_worker_stops_it_all_and_keeps_what_is_finished(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="No space left"):
        run_tasks([task(1), task(2, what="full"), task(3)], tmp_path)
    assert set(column(tmp_path, "hash")) == {"h001"}
    assert active_children() == []  # or the program would wait for them at its end


def test_a_full_disk_under_the_dataset_keeps_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claimed(tmp_path):
        data = Dataset(tmp_path)
        data.add(rows(1))
        data.commit()
        data.add(rows(2))

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(dataset.pq, "write_table", full)
            with pytest.raises(WriteError, match="No space left"):
                data.commit()
        assert set(column(tmp_path, "hash")) == data.committed == {"h001"}
        data.commit()  # there is space again
    assert set(column(tmp_path, "hash")) == {"h001", "h002"}
    assert sorted((tmp_path / "results.parquet").iterdir()) == parts(tmp_path)


def test_rows_wait_ten_seconds_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(dataset.time, "monotonic", lambda: clock[0])
    data = Dataset(tmp_path)
    assert data.due_s is None
    data.add(rows(1))
    clock[0] += 4.0
    data.add(rows(2))
    assert data.due_s == 6.0
    clock[0] += 7.0
    assert data.due_s == 0.0
    data.commit()
    assert data.due_s is None


def test_many_small_parts_become_one_and_an_end_in_between_shows_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_MERGED", 3)
    data = Dataset(tmp_path)
    for number in range(4):
        data.add(rows(number) if number % 2 else [{**row, "own": "text"} for row in rows(number)])
        data.commit()
    assert [path.name for path in parts(tmp_path)] == ["part-000001-000003.parquet", "part-000004-000004.parquet"]
    whole = read(tmp_path)
    assert len(whole) == 8
    # the program ends after the merged part is there, before the small ones are gone
    left = data.path / "part-000002-000002.parquet"
    left.write_bytes((data.path / "part-000004-000004.parquet").read_bytes())
    pd.testing.assert_frame_equal(read(tmp_path), whole)
    assert query("select count(*) as n from results", tmp_path).n[0] == 8
    again = Dataset(tmp_path)
    assert not left.exists()
    assert again.committed == {"h000", "h001", "h002", "h003"}
    again.add(rows(9))
    again.commit()
    assert parts(tmp_path)[-1].name == "part-000005-000005.parquet"


def test_duckdb_reads_it_in_place(tmp_path: Path) -> None:
    data = Dataset(tmp_path)
    for number, more in ((1, {}), (2, {"only_here_kw": 3.0})):
        data.add([{**row, **more} for row in rows(number)])
        data.commit()
    found = query(
        "select hash, sum(value) as total, max(only_here_kw) as kw from results group by hash order by 1", tmp_path
    )
    assert list(found.total) == [2.0, 6.0]
    assert list(found.kw.isna()) == [True, False]
    with pytest.raises(InputError, match="nonsense"):
        query("select nonsense from results", tmp_path)
    with pytest.raises(InputError, match="holds no results"):
        query("select 1", tmp_path / "elsewhere")


def test_a_column_without_a_value_is_there_and_takes_values_later(tmp_path: Path) -> None:
    data, columns = Dataset(tmp_path), ["season", "ev_share", "never_kw"]
    for number, told in ((1, (None, None, float("nan"))), (2, ("winter", 0.4, 2))):
        data.add([{**row, **dict(zip(columns, told, strict=True))} for row in rows(number)])
        data.commit()
        asked = query(f"select {', '.join(columns)} from results order by hash, power", tmp_path)  # noqa: S608
        assert asked[:2].isna().all(axis=None)
        pd.testing.assert_frame_equal(asked[2:], read(tmp_path)[columns][2:], check_dtype=False)
    assert asked[2:].drop_duplicates().to_numpy().tolist() == [["winter", 0.4, 2.0]]


def test_a_part_that_is_none_is_named_with_the_remedy(tmp_path: Path) -> None:
    data = Dataset(tmp_path)
    data.add(rows(1))
    data.commit()
    parts(tmp_path)[0].write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match=r"part-000001-000001.parquet: is no whole Parquet file.*--resume"):
        Dataset(tmp_path)
