"""What is on disk survives its process and a power cut, belongs to one process at a time, and is never thrown away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from household import NOW
from outage import sid
from spools import keep, open_spool, stop, take_all

from domain.ledger.receipts import ReceiptNews
from domain.ledger.vault import Vault, VaultError
from producers.webhooks.arrivals import (
    Arrival,
    ArrivalError,
    ReceiptsArrival,
    ReplyArrival,
    UnsubscribeArrival,
    pack,
    unpack,
)
from producers.webhooks.spool import Spool, SpoolError
from producers.webhooks.spool_file import SpoolFile

OPEN = Callable[[], Spool]


@pytest.fixture
def opened(directory: Path, vault: Vault) -> Iterator[OPEN]:
    """Opens spools, each as a process of its own would, and closes them."""
    running: list[Spool] = []

    def start() -> Spool:
        running.append(open_spool(directory, vault))
        return running[-1]

    yield start
    for spool in running:
        spool.close()


def _only_file(directory: Path) -> Path:
    (path,) = directory.glob("*.spool")
    return path


@pytest.mark.parametrize(
    "arrival",
    [
        ReplyArrival("sms", "phone", "SM1", "+13035550101", "¿mañana? 👍 \ud83d\x00", NOW),
        ReplyArrival(
            "sms", "phone", "SM2", "+13035550101", "STOP", NOW, answered_by_network=True, provider="sms_second"
        ),
        ReceiptsArrival((ReceiptNews("sms", "SM1", "sent"), ReceiptNews("sms", "SM2", "undelivered", "r", "1")), NOW),
        UnsubscribeArrival(7, NOW + timedelta(microseconds=1)),
    ],
    ids=lambda each: each.kind,
)
def test_an_arrival_is_read_back_as_it_was(arrival: Arrival) -> None:
    assert unpack(pack(arrival)) == arrival


@pytest.mark.parametrize(
    "packed", [b"", b"[]", b"{}", b'{"kind": "pigeon", "at": "2026-01-01T00:00:00+00:00"}', b"\xff"]
)
def test_what_is_no_arrival_is_said_to_be_none_without_its_content(packed: bytes) -> None:
    with pytest.raises(ArrivalError, match=r"^What was kept on disk is no arrival this version knows\.$"):
        unpack(packed)


def test_an_arrival_tells_nobody_who_wrote_what() -> None:
    assert "0101" not in repr(stop(1))
    assert "STOP" not in repr(stop(1))


def test_records_are_taken_in_the_order_they_were_kept_and_the_file_goes_with_the_last(
    opened: OPEN, directory: Path
) -> None:
    spool = opened()

    keep(spool, stop(1), stop(2), stop(3))

    assert spool.waiting == 3
    assert take_all(spool) == [sid(1), sid(2), sid(3)]
    assert (spool.waiting, list(directory.glob("*.spool"))) == (0, [])


def test_many_that_come_together_are_kept_together_in_order(opened: OPEN) -> None:
    spool = opened()

    kept = [spool.append([stop(number)]) for number in range(500)]

    for each in kept:
        each.result(timeout=30)
    assert take_all(spool) == [sid(number) for number in range(500)]


def test_the_next_process_takes_what_is_left_where_the_last_one_stopped_before_its_own(opened: OPEN) -> None:
    first = opened()
    keep(first, stop(1), stop(2), stop(3))
    first.advance(first.peek(1))
    first.close()

    second = opened()
    keep(second, stop(4))

    assert second.waiting == 3
    assert take_all(second) == [sid(2), sid(3), sid(4)]


def test_a_file_belongs_to_one_process_and_to_the_next_when_that_is_gone(opened: OPEN) -> None:
    first, second = opened(), opened()
    keep(first, stop(1))
    keep(second, stop(2))

    assert (first.adopt(), second.adopt()) == (0, 0)

    first.close()
    assert second.adopt() == 1
    assert sorted(take_all(second)) == [sid(1), sid(2)]


@pytest.mark.parametrize("cut", [1, 5, 11, 40])
def test_a_record_that_a_power_cut_tore_is_dropped_and_all_before_it_are_taken(
    opened: OPEN, directory: Path, cut: int, capfd: pytest.CaptureFixture[str]
) -> None:
    first = opened()
    keep(first, stop(1), stop(2), stop(3))
    first.close()
    path = _only_file(directory)
    os.truncate(path, path.stat().st_size - cut)

    second = opened()

    assert take_all(second) == [sid(1), sid(2)]
    said = capfd.readouterr()
    assert "spool_torn_record_dropped" in said.out + said.err


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xff" * 20, b"x"])
def test_what_stands_behind_the_last_record_is_no_record(opened: OPEN, directory: Path, tail: bytes) -> None:
    first = opened()
    keep(first, stop(1))
    first.close()
    with _only_file(directory).open("ab") as file:
        file.write(tail)

    second = opened()
    keep(second, stop(2))

    assert take_all(second) == [sid(1), sid(2)]


def test_a_last_record_whose_bytes_never_reached_the_disk_is_left_to_be_set_aside(
    opened: OPEN, directory: Path
) -> None:
    first = opened()
    keep(first, stop(1), stop(2))
    first.close()
    with _only_file(directory).open("r+b") as file:
        file.seek(-30, os.SEEK_END)
        file.write(b"\0" * 30)

    second = opened()

    first_one, broken = second.peek(9)
    assert second.open(first_one)
    with pytest.raises(VaultError):
        second.open(broken)
    assert second.waiting == 2


def test_a_mark_that_was_torn_costs_nothing_but_taking_everything_again(opened: OPEN, directory: Path) -> None:
    first = opened()
    keep(first, stop(1), stop(2))
    first.close()
    with _only_file(directory).open("r+b") as file:
        file.seek(8)
        file.write(b"\0\0\0\0\0\0\0\x21")

    assert take_all(opened()) == [sid(1), sid(2)]


def test_a_file_whose_process_died_while_it_made_it_is_removed(opened: OPEN, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "1.spool").write_bytes(b"RSPO")

    spool = opened()

    assert spool.waiting == 0
    assert list(directory.iterdir()) == []


def test_an_empty_file_is_let_go_at_once_for_a_neighbour_may_be_making_it(opened: OPEN, directory: Path) -> None:
    first = opened()
    keep(first, stop(1))
    first.close()
    second = opened()
    (directory / "99999999999999999999.spool").write_bytes(b"")

    second.adopt()

    assert second.waiting == 1
    assert len(list(directory.glob("*.spool"))) == 1


def test_a_file_that_cannot_be_read_keeps_nobody_from_serving(opened: OPEN, directory: Path) -> None:
    (directory / "1.spool").mkdir(parents=True)

    spool = opened()
    keep(spool, stop(1))

    assert take_all(spool) == [sid(1)]


def test_a_file_of_another_kind_is_set_aside_as_it_is(opened: OPEN, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "1.spool").write_bytes(b"what somebody else keeps here")

    spool = opened()

    assert (spool.waiting, spool.aside) == (0, 1)
    assert (directory / "failed" / "1.spool").read_bytes() == b"what somebody else keeps here"


def test_what_a_missing_key_sealed_is_no_torn_record(opened: OPEN, directory: Path, vault: Vault) -> None:
    older = Vault({**vault.keys, 2: b"another-key-of-the-tests-32bytes"}, 2, vault.index_key)
    first = open_spool(directory, older)
    keep(first, stop(1))
    first.close()

    second = opened()

    (record,) = second.peek(9)
    second.set_aside(record)
    assert (second.waiting, second.aside) == (0, 1)
    (kept,) = (directory / "failed").glob("*.spool")
    kept.rename(directory / kept.name)
    third = open_spool(directory, older)
    assert take_all(third) == [sid(1)]
    third.close()


def test_a_record_cannot_be_opened_without_the_key(opened: OPEN, directory: Path) -> None:
    keep(opened(), stop(1))

    assert sid(1).encode() not in _only_file(directory).read_bytes()


def test_a_disk_that_takes_nothing_is_told_at_once_and_the_next_try_may_work(opened: OPEN, directory: Path) -> None:
    directory.parent.mkdir()
    directory.write_text("no directory")
    spool = opened()

    with pytest.raises(SpoolError):
        keep(spool, stop(1))
    assert spool.waiting == 0
    assert spool.trouble() is not None

    directory.unlink()
    assert spool.trouble() is None
    keep(spool, stop(2))
    assert take_all(spool) == [sid(2)]


def test_a_full_disk_leaves_the_file_as_it_was(opened: OPEN, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened()
    keep(spool, stop(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(SpoolError):
            keep(spool, stop(2))
    keep(spool, stop(3))

    assert take_all(spool) == [sid(1), sid(3)]


def test_a_long_outage_fills_several_files_and_gives_them_back_one_by_one(
    opened: OPEN, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.webhooks.spool._FULL", 600)
    spool = opened()
    keep(spool, *map(stop, range(12)))
    files = len(list(directory.glob("*.spool")))

    for _ in range(4):
        spool.advance(spool.peek(1))

    assert files > 2
    assert len(list(directory.glob("*.spool"))) < files
    assert take_all(spool) == [sid(number) for number in range(4, 12)]


def test_a_new_file_that_a_neighbour_took_for_a_left_one_is_made_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    lock = fcntl.flock

    def steal(descriptor: int, how: int) -> None:
        for path in directory.glob("*.spool"):
            path.unlink()
        monkeypatch.setattr(fcntl, "flock", lock)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", steal)

    file = SpoolFile.create(directory)

    assert file.path.exists()
    file.remove()


@pytest.mark.parametrize(
    "arrival",
    [
        ReplyArrival("sms", "phone", "SM1", "+13035550101", "STOP", NOW, provider="sms_second"),
        ReceiptsArrival((ReceiptNews("sms", "SM1", "delivered"),), NOW),
    ],
    ids=["reply", "receipts"],
)
def test_what_a_newer_process_kept_is_taken_by_an_older_one(arrival: Arrival) -> None:
    kept = json.loads(pack(arrival))
    kept["of_tomorrow"] = 1
    for each in kept.get("news", ()):
        each["of_tomorrow"] = 1

    assert unpack(json.dumps(kept).encode()) == arrival


def test_a_reply_that_an_older_process_kept_is_taken() -> None:
    kept = json.loads(pack(ReplyArrival("sms", "phone", "SM1", "+13035550101", "STOP", NOW, provider="sms_second")))
    del kept["provider"]

    assert unpack(json.dumps(kept).encode()) == ReplyArrival("sms", "phone", "SM1", "+13035550101", "STOP", NOW)
