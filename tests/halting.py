"""A person's word about the campaign of a practice or of Lakeside: pause, resume, stop."""

from __future__ import annotations

from datetime import datetime

from household import NOW
from sqlalchemy import Engine

from domain.ledger import halts
from domain.ledger.halts import Halt

KEY = "welcome-back"


def pause(ledger: Engine, owner: int, now: datetime = NOW) -> Halt:
    with ledger.begin() as conn:
        return halts.pause(conn, owner, KEY, who="Maya Ortiz", why="phones are down", now=now)


def resume(ledger: Engine, owner: int, now: datetime = NOW) -> Halt:
    with ledger.begin() as conn:
        return halts.resume(conn, owner, KEY, who="Maya Ortiz", now=now)


def stop(ledger: Engine, owner: int, now: datetime = NOW) -> Halt:
    with ledger.begin() as conn:
        return halts.stop(conn, owner, KEY, who="Sam Reed", why="a new one follows", now=now)
