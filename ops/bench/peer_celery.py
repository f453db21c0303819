"""An empty Celery task, served by Celery's own command, acknowledged late as ours are; marks tell begin and end.

Celery's command imports this module by name: it is the one way to tell it where RabbitMQ is.
"""

from __future__ import annotations

import os
import time

import redis
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_AMQP_URL"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue="bench-celery",
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
)
_redis = redis.Redis.from_url(os.environ["BENCH_REDIS_URL"])
_MARKS = os.environ["BENCH_MARKS"]


def _nothing(_number: int) -> None:
    """Do nothing."""


def _mark() -> None:
    _redis.rpush(_MARKS, time.time())


nothing = app.task(name="bench.nothing")(_nothing)
mark = app.task(name="bench.mark")(_mark)
