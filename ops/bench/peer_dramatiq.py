"""An empty Dramatiq actor, served by Dramatiq's own command with the broker it comes with; marks tell begin and end.

Dramatiq's command imports this module by name: it is the one way to tell it where RabbitMQ is.
"""

from __future__ import annotations

import os
import time

import dramatiq
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker

QUEUE = "bench"
broker = RabbitmqBroker(url=os.environ["BENCH_AMQP_URL"])
_redis = redis.Redis.from_url(os.environ["BENCH_REDIS_URL"])
_MARKS = os.environ["BENCH_MARKS"]


def _nothing(_number: int) -> None:
    """Do nothing."""


def _mark() -> None:
    _redis.rpush(_MARKS, time.time())


nothing = dramatiq.actor(actor_name="nothing", queue_name=QUEUE, broker=broker)(_nothing)
mark = dramatiq.actor(actor_name="mark", queue_name=QUEUE, broker=broker)(_mark)
