"""What was answered for is never destroyed: not by a wrong key, damage in the middle, a full disk or a hang."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path

import pytest
from household import NOW, rows, settle_in
from outage import sid
from spools import keep, opened, replaying, stop, take_all
from sqlalchemy import Engine
from waiting import wait_until

from domain.ledger.choice_history import suppression
from domain.ledger.inbound import reply
from domain.ledger.vault import Vault
from ops.runtime import metrics
from producers.webhooks import spool_directory
from producers.webhooks.arrivals import UnsubscribeArrival, unpack
from producers.webhooks.spool_file import Record, keep_aside

_START, _HEAD = 16, 12


def _left_by_a_dead_process(directory: Path, vault: Vault, count: int) -> Path:
    with opened(directory, vault) as spool:
        keep(spool, *map(stop, range(count)))
    (path,) = directory.glob("*.spool")
    return path


def _position(path: Path, number: int) -> int:
    """Where a record begins."""
    data, position = path.read_bytes(), _START
    for _ in range(number):
        position += _HEAD + struct.unpack_from(">I", data, position)[0]
    return position


def _overwrite(path: Path, position: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(data)


@pytest.mark.parametrize("count", [1, 3])
def test_another_key_under_the_same_id_costs_nothing_once_the_right_one_is_back(
    ledger: Engine, vault: Vault, directory: Path, count: int
) -> None:
    settle_in(ledger, vault)
    _left_by_a_dead_process(directory, vault, count)
    wrong = Vault({1: b"another-key-of-somebody-32-bytes"}, 1, vault.index_key)

    with opened(directory, wrong) as spool, replaying(spool, ledger, wrong):
        wait_until(lambda: not spool.waiting)
        assert spool.aside == count
        wait_until(lambda: metrics.spool_failed.labels("choices")._value.get() == count)
    # a process with the right key tries them again by itself
    with opened(directory, vault) as spool, replaying(spool, ledger, vault):
        wait_until(lambda: len(rows(ledger, reply)) == count)
        wait_until(lambda: not spool.waiting)

    assert [each["provider_id"] for each in rows(ledger, reply)] == [sid(each) for each in range(count)]
    assert list(directory.rglob("*.spool")) == []


@pytest.mark.parametrize("length", [0, 1, 500, 1 << 20, 0xFFFFFFFF])
@pytest.mark.parametrize("number", [0, 3, 19], ids=["first", "middle", "last"])
def test_a_damaged_length_costs_its_own_record_a_detour_and_the_others_nothing(
    directory: Path, vault: Vault, length: int, number: int
) -> None:
    path = _left_by_a_dead_process(directory, vault, 20)
    _overwrite(path, _position(path, number), struct.pack(">I", length))
    damaged = path.read_bytes()

    with opened(directory, vault) as spool:
        assert spool.aside == 1
        assert take_all(spool) == [sid(each) for each in range(20) if each != number]
        assert spool.aside == 1

    (kept,) = (directory / "failed").glob("*.spool")
    assert kept.read_bytes() == damaged
    assert list(directory.glob("*.spool")) == []


def test_what_stands_behind_damage_is_taken_again_if_the_process_dies_before_the_end(
    directory: Path, vault: Vault
) -> None:
    path = _left_by_a_dead_process(directory, vault, 6)
    _overwrite(path, _position(path, 2), b"\xff" * 40)
    with opened(directory, vault) as spool:
        spool.advance(spool.peek(4))

    with opened(directory, vault) as spool:
        assert take_all(spool) == [sid(each) for each in (0, 1, 3, 4, 5)]


def test_a_damaged_file_whose_length_is_mended_and_moved_back_is_taken_whole(directory: Path, vault: Vault) -> None:
    path = _left_by_a_dead_process(directory, vault, 5)
    position = _position(path, 2)
    right = path.read_bytes()[position : position + 4]
    _overwrite(path, position, b"\0\0\0\0")
    with opened(directory, vault) as spool:
        take_all(spool)
    (kept,) = (directory / "failed").glob("*.spool")
    _overwrite(kept, position, right)

    with opened(directory, vault) as spool:
        assert spool.take_back() == 1
        spool.adopt()
        assert take_all(spool) == [sid(each) for each in range(5)]
        assert spool.aside == 0


def test_a_file_that_is_moved_never_replaces_one_of_the_same_name(directory: Path, vault: Vault) -> None:
    (directory / "failed").mkdir(parents=True)
    (directory / "failed" / "1.spool").write_bytes(b"what was there before")
    (directory / "1.spool").write_bytes(b"what came later and is no spool file")

    with opened(directory, vault):
        pass

    kept = {path.read_bytes() for path in (directory / "failed").iterdir()}
    assert kept == {b"what was there before", b"what came later and is no spool file"}


def test_on_a_full_disk_an_arrival_that_is_refused_keeps_nobody_behind_it_waiting(
    ledger: Engine, vault: Vault, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_in(ledger, vault)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    nobody = UnsubscribeArrival(999_999, NOW)
    with opened(directory, vault) as spool:
        keep(spool, nobody, stop(1))
        with monkeypatch.context() as broken:
            broken.setattr(spool_directory, "keep_aside", full)
            with replaying(spool, ledger, vault):
                wait_until(lambda: rows(ledger, suppression, lifted_at=None))
                wait_until(lambda: not spool.waiting)
        # its whole file, for a move needs no room
        assert spool.aside == 1

    with opened(directory, vault) as spool:
        spool.take_back()
        spool.adopt()
        assert unpack(spool.open(spool.peek(1)[0])) == nobody


def test_a_refused_arrival_that_found_no_room_is_still_there_after_a_kill(
    directory: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with opened(directory, vault) as spool:
        keep(spool, *map(stop, range(3)))
        with monkeypatch.context() as broken:
            broken.setattr(spool_directory, "keep_aside", full)
            spool.set_aside(spool.peek(1)[0])
        spool.advance(spool.peek(1))
        assert spool.aside == 1

    with opened(directory, vault) as spool:
        assert take_all(spool) == [sid(each) for each in range(3)]


def test_a_file_is_not_closed_under_the_hands_of_the_thread_that_writes_it(
    directory: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, is_writing, may_go_on = os.fsync, threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        if threading.current_thread().name == "spool":
            is_writing.set()
            assert may_go_on.wait(30)
        sync(descriptor)

    with opened(directory, vault) as spool:
        keep(spool, stop(1))
        (path,) = directory.glob("*.spool")
        _overwrite(path, _START, b"\0\0\0\0")
        monkeypatch.setattr(os, "fsync", slow)
        kept = spool.append([stop(2)])
        assert is_writing.wait(30)

        gives_up = threading.Thread(target=spool.peek, args=(1,))
        gives_up.start()
        # it must wait for the writer; one that did not would be done by now
        gives_up.join(0.5)
        may_go_on.set()
        gives_up.join(30)

        kept.result(timeout=30)
        keep(spool, stop(3))
        assert take_all(spool) == [sid(3)]
    (aside,) = (directory / "failed").glob("*.spool")
    aside.rename(directory / aside.name)
    with opened(directory, vault) as spool:
        assert take_all(spool) == [sid(2)]


def test_the_same_arrival_set_aside_twice_is_there_once(directory: Path, vault: Vault) -> None:
    record = Record(1_800_000_000_000_000, b"\x01 sealed")

    for _ in range(2):
        keep_aside(directory, record)

    assert len(list(directory.iterdir())) == 1
