"""The bare consumer: takes a queue with pika, writes one row for each message, acknowledges it; nothing else."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

import pika
import psycopg
from sqlalchemy import make_url

_PREFETCH = 500
_TABLE = "CREATE TABLE bench_event (id bigserial PRIMARY KEY, body bytea NOT NULL)"
_INSERT = "INSERT INTO bench_event (body) VALUES (%s)"


def consume(amqp_url: str, database_url: str, queue: str, count: int) -> float:
    """Take so many messages; seconds from the first to the last."""
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as database:
        # every row is a commit of its own, as in a handler called once a message; none waits for the disk
        database.execute("SET synchronous_commit = off")
        database.execute(_TABLE)
        connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        channel = connection.channel()
        channel.basic_qos(prefetch_count=_PREFETCH)
        began = 0.0
        for taken, (method, _, body) in enumerate(channel.consume(queue), 1):
            began = began or time.perf_counter()
            database.execute(_INSERT, (body,))
            channel.basic_ack(method.delivery_tag or 0)
            if taken == count:
                break
        elapsed = time.perf_counter() - began
        connection.close()
    return elapsed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--count", type=int, required=True)
    told = parser.parse_args()
    seconds = consume(os.environ["BENCH_AMQP_URL"], os.environ["BENCH_DATABASE_URL"], told.queue, told.count)
    sys.stdout.write(json.dumps({"seconds": seconds}))
