"""The ground of a run: private servers, ledgers cloned from templates, and the fleet's processes on them."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, make_url, text

from domain.ledger.vault import Vault
from ops import assembly
from ops.assembly import Parts
from ops.bench.children import python, running, start_one, wait_for
from ops.bench.size import Size
from ops.migrations import run as migrations
from ops.runtime.settings import new_keys, read_settings
from ops.services.process import Process, free_port
from ops.services.start import Services

TOKEN = "bench-token"  # noqa: S105 - of a provider that is a process of ours
ACCOUNT = "ACbench"

#: Seconds for a process to come up on a busy machine.
START = 60.0

#: Files that a fleet reads: the crowd is reached on any day, holidays included.
_RULES = """\
organisation: bench
override:
  - row: hours.holidays
    limit: {quiet_days: {"A day long gone": 2000-01-03}, observed: false}
    reason: the benchmark may run on any day
"""

_names = count(1)


@dataclass
class Ground:
    """What every comparison stands on. `say` is told of progress."""

    services: Services
    directory: Path
    size: Size
    say: Callable[[str], None]
    keys: tuple[str, str] = field(default_factory=new_keys)
    _templates: dict[str, str] = field(default_factory=dict)
    _databases: list[str] = field(default_factory=list)
    _vhosts: list[str] = field(default_factory=list)

    def ledger(self, key: str = "empty", fill: Callable[[Engine], None] | None = None) -> str:
        """URL of a migrated ledger of the caller's own: a clone of the template `key`, first made by `fill`.

        Raises:
            ServiceError: PostgreSQL is missing.
        """
        if key not in self._templates:
            url = self._database(self._template_of_empty() if fill is not None else None)
            engine = create_engine(url, hide_parameters=True)
            if fill is None:
                migrations.upgrade(url)
            else:
                fill(engine)
            engine.dispose()
            self._templates[key] = url
        return self._database(self._templates[key])

    def environ(self, database_url: str, sink: Sink, rate: float = 1_000_000, burst: int = 1_000_000) -> dict[str, str]:
        """Settings of a fleet on that ledger, with a virtual host, Redis keys and a home of its own."""
        name = f"bench-{next(_names)}"
        home = self.directory / name
        home.mkdir()
        rules = home / "rules.yaml"
        rules.write_text(_RULES)
        port = free_port()
        return {
            "REACTIVATE_HOME": str(home),
            "REACTIVATE_DATABASE_URL": database_url,
            "REACTIVATE_AMQP_URL": self.vhost(name),
            "REACTIVATE_REDIS_URL": self.services.redis_url,
            "REACTIVATE_REDIS_PREFIX": f"{name}:",
            "REACTIVATE_VAULT_KEYS": self.keys[0],
            "REACTIVATE_INDEX_KEY": self.keys[1],
            "REACTIVATE_RULES": str(rules),
            "REACTIVATE_WEB_PORT": str(port),
            "REACTIVATE_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "REACTIVATE_SMS_URL": sink.url,
            "REACTIVATE_SMS_ACCOUNT_SID": ACCOUNT,
            "REACTIVATE_SMS_AUTH_TOKEN": TOKEN,
            "REACTIVATE_SMS_FROM": "+12125550100",
            "REACTIVATE_SMS_RATE_PER_SECOND": str(rate),
            "REACTIVATE_SMS_BURST": str(burst),
        }

    def vault(self) -> Vault:
        """The vault of every fleet here."""
        number, _, key = self.keys[0].partition(":")
        return Vault({int(number): base64.b64decode(key)}, int(number), base64.b64decode(self.keys[1]))

    @contextmanager
    def parts(self, environ: Mapping[str, str]) -> Iterator[Parts]:
        """Our own end of that fleet: its ledger, its broker, its keys."""
        with assembly.assemble(read_settings(environ)) as parts:
            yield parts

    @contextmanager
    def fleet(self, environ: Mapping[str, str], commands: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Process]]:
        """Processes of ours, as `reactivate` starts them, each with its metrics served, until the block is left."""
        with running({}, environ, self.directory) as started:
            for name, command in commands.items():
                metrics_port = free_port()
                own = {**environ, "REACTIVATE_METRICS_PORT": str(metrics_port)}
                started[name] = start_one(name, python("ops.cli.main", *command), own, self.directory)
            yield started

    @contextmanager
    def sink(self) -> Iterator[Sink]:
        """A provider that takes everything at once, in a process of its own."""
        port = free_port()
        with running({"sink": python("ops.bench.sink", "--port", str(port))}, {}, self.directory) as started:
            sink = Sink(f"http://127.0.0.1:{port}")
            wait_for("the sink", sink.answers, START, started)
            yield sink

    def clear(self) -> None:
        """Drop every ledger and virtual host of this ground: the next comparison finds the servers as this one did."""
        if not self._databases and not self._vhosts:
            return
        engine = create_engine(self.services.postgres_admin_url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as conn:
                for name in self._databases:
                    conn.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        finally:
            engine.dispose()
        for name in self._vhosts:
            self.services.drop_vhost(name)
        self._databases.clear()
        self._vhosts.clear()
        self._templates.clear()

    def vhost(self, name: str) -> str:
        """URL of a virtual host of that name."""
        self._vhosts.append(name)
        return self.services.amqp_url(name)

    def _template_of_empty(self) -> str:
        self.ledger()
        return self._templates["empty"]

    def _database(self, template: str | None) -> str:
        admin = self.services.postgres_admin_url
        name = f"bench_{next(_names)}"
        engine = create_engine(admin, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as conn:
                of = f' TEMPLATE "{make_url(template).database}"' if template else ""
                conn.execute(text(f'CREATE DATABASE "{name}"{of}'))
                self._databases.append(name)
        finally:
            engine.dispose()
        return make_url(admin).set(database=name).render_as_string(hide_password=False)


@dataclass(frozen=True, slots=True)
class Sink:
    """The provider's side: what it saw."""

    url: str

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            self.count()
        except OSError:
            return False
        return True

    def count(self) -> int:
        """How many texts it took."""
        return int(self._get("/count"))

    def times(self, since: int = 0) -> list[float]:
        """When it took them (Unix seconds), from the one of that number on."""
        return [float(each) for each in self._get(f"/times/{since}")]

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310 - our own loopback
            return json.loads(answer.read())
