"""The runner: the smallest comparison from end to end, its file, and the exit codes scripts rely on."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, create_engine, func, select

from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.bench import crowd, run, sending
from ops.bench.children import running
from ops.bench.figures import Bar, BenchError, Figure
from ops.bench.ground import Ground, Sink
from ops.bench.pacing import overfull, used_of
from ops.bench.size import Size
from ops.services.process import ServiceError
from ops.services.start import Services

NOW = datetime(2026, 3, 4, 3, 20, tzinfo=UTC)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(run.main, arguments)


def a_figure(ours: float) -> Figure:
    return Figure("sends", "ours : theirs", "per second", ours, 10.0, 1.0, Bar.AT_LEAST, {})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a run comes to, without servers."""
    figures: list[Figure] = []
    monkeypatch.setattr(run.Services, "start", lambda *_names: None)
    monkeypatch.setattr(run, "COMPARISONS", {"understanding": lambda _ground: figures})
    return figures


def test_the_smallest_comparison_comes_to_figures_of_the_promised_form(services: Services, tmp_path: Path) -> None:
    figures, failures = run.run(["understanding"], Size.TINY, lambda _text: None, services)
    run.write(tmp_path / "build" / "bench.json", figures, quick=True)

    rows = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert failures == {}
    assert [row["name"] for row in rows] == ["replies understood", "rule checks"]
    for row in rows:
        assert {"name", "ours", "reference", "ratio", "bar", "holds"} <= set(row)
        assert row["ratio"] == pytest.approx(row["ours"] / row["reference"], rel=0.01)
        assert row["quick"] is True


def test_a_tick_and_a_scan_hand_out_the_same_among_many_and_few(
    services: Services, postgres_url: str, amqp_url: str, redis_url: str
) -> None:
    figures, failures = run.run(["schedule"], Size.TINY, lambda _text: None, services)

    assert failures == {}
    assert [each.name for each in figures] == ["dispatch tick", "inactivity scan"]
    assert all(each.ours > 0 and each.reference > 0 for each in figures)


@pytest.mark.parametrize(("ours", "code"), [(10.0, 0), (9.0, run.MISSED)])
def test_the_exit_code_says_whether_every_bar_holds(
    measured: list[Figure], tmp_path: Path, ours: float, code: int
) -> None:
    measured.append(a_figure(ours))

    result = invoke("--only", "understanding", "--out", str(tmp_path / "bench.json"))

    assert result.exit_code == code
    assert ("DOES NOT HOLD" in result.stdout) is bool(code)


def test_reduced_sizes_are_said_in_the_table_and_in_the_file(measured: list[Figure], tmp_path: Path) -> None:
    measured.append(a_figure(10.0))

    result = invoke("--quick", "--out", str(tmp_path / "bench.json"))

    assert "Reduced sizes (--quick)" in result.stdout
    assert [row["quick"] for row in json.loads((tmp_path / "bench.json").read_text())] == [True]


def test_what_could_not_be_measured_has_no_figure_and_a_code_of_its_own(
    measured: list[Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_ground: Ground) -> list[Figure]:
        raise BenchError("the sink took 3 of 4")

    measured.append(a_figure(10.0))
    monkeypatch.setitem(run.COMPARISONS, "sending", fail)

    result = invoke("--out", str(tmp_path / "bench.json"))

    assert result.exit_code == run.UNMEASURED
    assert "sending could not be measured: the sink took 3 of 4" in result.stderr
    assert len(json.loads((tmp_path / "bench.json").read_text())) == 1


def test_a_missing_server_is_told_in_the_sentence_of_the_tests(
    measured: list[Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_names: str) -> None:
        raise ServiceError("Redis is not installed here: install it")

    monkeypatch.setattr(run.Services, "start", missing)

    result = invoke("--out", str(tmp_path / "bench.json"))

    assert result.exit_code == run.UNMEASURED
    assert result.stderr == "bench: Redis is not installed here: install it\n"
    assert not (tmp_path / "bench.json").exists()


def test_ctrl_c_ends_a_run_without_a_file(
    measured: list[Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_ground: Ground) -> list[Figure]:
        raise KeyboardInterrupt

    monkeypatch.setitem(run.COMPARISONS, "understanding", stopped)

    result = invoke("--out", str(tmp_path / "bench.json"))

    assert result.exit_code == run.INTERRUPTED
    assert not (tmp_path / "bench.json").exists()


def test_children_end_with_their_block_also_when_it_is_interrupted(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import signal; signal.pause()"]

    pids: list[int] = []

    with suppress(KeyboardInterrupt), running({"one": argv, "two": argv}, {}, tmp_path) as started:
        pids += [process.pid for process in started.values()]
        raise KeyboardInterrupt

    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_sink_counts_what_the_bare_loop_posts(tmp_path: Path) -> None:
    ground = Ground(Services(), tmp_path, Size.TINY, lambda _text: None)
    with ground.sink() as sink:
        send_two(sink)

        per_second = sending.post(sink, 40)

        assert per_second > 0
        assert sink.count() == 42
        assert len(sink.times(2)) == 40


def test_a_crowd_may_be_written_to_at_whatever_hour_a_run_begins() -> None:
    for hour in range(24):
        now = NOW.replace(hour=hour)
        assert now.astimezone(ZoneInfo(crowd.local_zone(now))).hour == 14


def test_a_crowd_is_planned_for_by_number_and_site(postgres_url: str, vault: Vault) -> None:
    with closing_at_the_end(create_engine(postgres_url)) as engine:
        crowd.settle(engine, vault, NOW, sites=4, reached=20, people=50)

        everybody = crowd.plan(engine, 1, 8, NOW)
        of_site = crowd.plan(engine, 9, 20, NOW, site=1)
        crowd.schedule(engine, 5, 3, NOW + timedelta(days=30))

        with engine.connect() as conn:
            due = conn.scalar(select(func.count()).where(touch.c.due_at <= NOW))
            later = conn.scalar(select(func.count()).where(touch.c.due_at > NOW))
    assert (len(everybody), len(of_site)) == (8, 3)
    assert (due, later) == (11, 15)


def test_no_two_of_a_crowd_have_the_same_number() -> None:
    numbers = {crowd.number(nth) for nth in range(1, 80_001)}

    assert len(numbers) == 80_000
    assert all(len(each) == 12 and each[5:10] == "55501" for each in numbers)


def test_the_share_of_a_limit_is_counted_between_two_instants() -> None:
    times = [0.01 * nth for nth in range(1_000)]

    assert used_of(times, 1, 2.0, 5.0) == pytest.approx(100.0)
    assert used_of(times, 2, 2.0, 5.0) == pytest.approx(200.0)


def test_a_window_that_was_granted_too_much_is_found() -> None:
    steady = [0.01 * nth for nth in range(1_000)]
    burst = sorted([*steady, *[5.0] * 120])

    assert overfull(steady, 1, 1.0) < 1.0
    assert overfull(burst, 1, 1.0) > 1.0


@contextmanager
def closing_at_the_end(engine: Engine) -> Iterator[Engine]:
    """Its connections are closed though the test fails: a later test would be blamed for them."""
    try:
        yield engine
    finally:
        engine.dispose()


def send_two(sink: Sink) -> None:
    """The sink keeps the first bodies, which the bare loop posts again."""
    for body in (b"Body=one", b"Body=two"):
        with urllib.request.urlopen(f"{sink.url}/texts", body, timeout=10) as answer:  # noqa: S310 - our own loopback
            assert json.loads(answer.read())["sid"]
