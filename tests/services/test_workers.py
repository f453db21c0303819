"""A run that several processes share: one server of each kind, nothing on it in common, and none left behind."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).parents[2]

#: What every worker runs at the same time as the others: it shows what it was given, and what it finds there.
_SHOW = """
import json, os
from pathlib import Path
import redis
from sqlalchemy import create_engine, make_url, text
from waiting import wait_until

def test_show(postgres_url, redis_url, redis_prefix, amqp_url):
    engine = create_engine(postgres_url)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE mine (worker text)"))
        conn.execute(text("INSERT INTO mine VALUES (:it)"), {"it": os.environ["PYTEST_XDIST_WORKER"]})
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{redis_prefix}mine", os.environ["PYTEST_XDIST_WORKER"])
        stored = client.get(f"{redis_prefix}mine").decode()
    with engine.begin() as conn:
        rows = conn.scalars(text("SELECT worker FROM mine")).all()
    engine.dispose()
    here = Path(__file__).parent
    database = make_url(postgres_url)
    told = here / f"told-{os.environ['PYTEST_XDIST_WORKER']}"
    told.write_text(json.dumps({
        "servers": [database.port, redis_url],
        "own": [database.database, redis_prefix, amqp_url],
        "found": [*rows, stored],
        "loopback": amqp_url,
    }))
    wait_until(lambda: len(list(here.glob("told-*"))) == 2)
"""

#: Wants a server, then tells that it runs and waits for its end.
_WAIT = """
import os, threading
from pathlib import Path

def test_wait(redis_url):
    (Path(__file__).parent / f"told-{os.getpid()}").write_text(os.environ["PYTEST_XDIST_WORKER"])
    threading.Event().wait(120)
"""
