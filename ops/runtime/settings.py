"""Settings: read once at the edge from the environment, typed and explained; every other module gets values."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ops.runtime.amqp import AmqpUrlError, read_url

#: Settings kept in a home, under the environment.
KEPT = "settings.env"

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_LAST_PORT = 65_535


class SettingsError(Exception):
    """A setting is missing or malformed; the message says which variable and what it should look like."""


@dataclass(frozen=True)
class Settings:
    """What every process of the fleet needs to know. Empty URLs mean the embedded parts."""

    home: Path
    """REACTIVATE_HOME: where embedded mode keeps its ledger and keys, and `web` its spool (default: .reactivate)."""
    database_url: str
    """REACTIVATE_DATABASE_URL: postgresql+psycopg://… or sqlite:///… (default: ledger.db in the home)."""
    amqp_url: str
    """REACTIVATE_AMQP_URL: amqp://… of RabbitMQ (default: empty = in-process broker)."""
    redis_url: str
    """REACTIVATE_REDIS_URL: redis://… for pacing and breakers (default: empty = in-process pacing)."""
    redis_prefix: str
    """REACTIVATE_REDIS_PREFIX: prepended to every Redis key (default: reactivate:)."""
    clock: str
    """REACTIVATE_CLOCK: `system`, or `shared:PATH` in a simulation (default: system)."""
    public_url: str
    """REACTIVATE_PUBLIC_URL: how the world reaches our web process; real channels' links need it (default: http://127.0.0.1:PORT)."""
    web_host: str
    """REACTIVATE_WEB_HOST: address the web process listens on (default: 127.0.0.1)."""
    web_port: int
    """REACTIVATE_WEB_PORT: port of the web process (default: 8080)."""
    metrics_port: int
    """REACTIVATE_METRICS_PORT: where a worker or the clock serves /metrics (default: 0 = not served)."""
    events_token: str = field(repr=False)
    """REACTIVATE_EVENTS_TOKEN: bearer token of POST /events (default: empty = the route refuses everything)."""
    vault_keys: Mapping[int, bytes] = field(repr=False)
    """REACTIVATE_VAULT_KEYS: `1:<base64 of 32 bytes>,2:…` (default: on SQLite made once and kept in the home)."""
    vault_current: int
    """REACTIVATE_VAULT_CURRENT: id of the key to seal with (default: the highest)."""
    index_key: bytes = field(repr=False)
    """REACTIVATE_INDEX_KEY: base64 of 32 bytes, for blind indexes and links; never changes (default: as above)."""
    rules: Path | None
    """REACTIVATE_RULES: file, or folder of *.yaml, in which organisations override rules (default: empty = none)."""
    tries: int
    """REACTIVATE_TRIES: tries of one touch that its provider judged, before it ends as failed (default: 5)."""
    log_level: str
    """REACTIVATE_LOG_LEVEL: DEBUG, INFO, WARNING or ERROR (default: INFO)."""
    environ: Mapping[str, str] = field(repr=False, default_factory=dict)
    """The environment as it was read; channels take their own settings from it."""

    @property
    def is_embedded(self) -> bool:
        """Whether broker and pacing live inside this process."""
        return not self.amqp_url


#: Every variable read here; a channel declares its own.
NAMES = frozenset(f"REACTIVATE_{each.name.upper()}" for each in fields(Settings) if each.name != "environ")


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read every setting from `environ` (default: the process environment).

    A file `settings.env` in the home (lines NAME=value) says what the environment does not; a story leaves one, so
    that its ledger can be asked afterwards. In embedded mode missing keys are made once and kept in the home (mode
    0600).

    Raises:
        SettingsError: names the variable and what it should be.
    """
    env = dict(os.environ if environ is None else environ)
    home = Path(env.get("REACTIVATE_HOME", ".reactivate"))
    env = {**_kept_settings(home / KEPT), **env}
    amqp_url = _amqp_url(env.get("REACTIVATE_AMQP_URL", ""))
    database_url = _database_url(env.get("REACTIVATE_DATABASE_URL") or f"sqlite:///{home / 'ledger.db'}")
    keys, index_key = _keys(env, home, database_url)
    web_port = _number(env, "REACTIVATE_WEB_PORT", 8080, _LAST_PORT)
    return Settings(
        home=home,
        database_url=database_url,
        amqp_url=amqp_url,
        redis_url=_redis_url(env.get("REACTIVATE_REDIS_URL", "")),
        redis_prefix=env.get("REACTIVATE_REDIS_PREFIX", "reactivate:"),
        clock=env.get("REACTIVATE_CLOCK", "system"),
        public_url=_public_url(env.get("REACTIVATE_PUBLIC_URL") or f"http://127.0.0.1:{web_port}"),
        web_host=env.get("REACTIVATE_WEB_HOST") or "127.0.0.1",
        web_port=web_port,
        metrics_port=_number(env, "REACTIVATE_METRICS_PORT", 0, _LAST_PORT),
        events_token=env.get("REACTIVATE_EVENTS_TOKEN", ""),
        vault_keys=keys,
        vault_current=_vault_current(env, keys),
        index_key=index_key,
        rules=rules_place(env),
        tries=_tries(env),
        log_level=_log_level(env.get("REACTIVATE_LOG_LEVEL") or "INFO"),
        environ=env,
    )


def rules_place(env: Mapping[str, str]) -> Path | None:
    """Where the organisations' own rules are; None = there are none."""
    text = env.get("REACTIVATE_RULES", "")
    return Path(text) if text else None


def _kept_settings(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = [line.strip() for line in path.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _database_url(url: str) -> str:
    # what every PostgreSQL tool prints, accepted as it is; we speak psycopg 3
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            url = "postgresql+psycopg://" + url.removeprefix(plain)
            break
    try:
        port = make_url(url).port
        is_known = url.startswith(("postgresql+psycopg://", "sqlite:///")) and (port is None or 0 < port <= _LAST_PORT)
    except (ArgumentError, ValueError):
        # its message would repeat the offending part, which may be the password
        is_known = False
    if not is_known:
        raise SettingsError("REACTIVATE_DATABASE_URL: expected postgresql://USER@HOST:PORT/NAME or sqlite:///PATH")
    return url


def _amqp_url(url: str) -> str:
    try:
        if url:
            read_url(url)
    except AmqpUrlError:
        raise SettingsError("REACTIVATE_AMQP_URL: expected amqp://USER:PASSWORD@HOST:PORT/VHOST") from None
    return url


def _redis_url(url: str) -> str:
    try:
        if url:
            Redis.from_url(url).close()
    except ValueError:
        raise SettingsError("REACTIVATE_REDIS_URL: expected redis://HOST:PORT/DB") from None
    return url


def _public_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
        is_known = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_known = is_known and not (parts.query or parts.fragment or parts.username or set(url) & set(' \\<>"'))
    except ValueError:
        is_known = False
    if not is_known:
        raise SettingsError("REACTIVATE_PUBLIC_URL: expected https://HOST[:PORT][/PATH]")
    return url.rstrip("/")


def _tries(env: Mapping[str, str]) -> int:
    tries = _number(env, "REACTIVATE_TRIES", 5, 100)
    if tries < 1:
        raise SettingsError("REACTIVATE_TRIES: expected a whole number from 1 to 100")
    return tries


def _log_level(text: str) -> str:
    if text.upper() not in _LEVELS:
        raise SettingsError(f"REACTIVATE_LOG_LEVEL: expected one of {', '.join(_LEVELS)}")
    return text.upper()


def _number(env: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not _is_whole(text) or int(text) > most:
        raise SettingsError(f"{name}: expected a whole number, at most {most}")
    return int(text)


def _is_whole(text: str) -> bool:
    # superscripts are digits, too; and nothing here needs more than a few
    return text.isascii() and text.isdigit() and len(text) < 10


def _vault_current(env: Mapping[str, str], keys: Mapping[int, bytes]) -> int:
    current = _number(env, "REACTIVATE_VAULT_CURRENT", max(keys), 255)
    if current not in keys:
        raise SettingsError(f"REACTIVATE_VAULT_CURRENT: no key {current} is in REACTIVATE_VAULT_KEYS")
    return current


def _keys(env: Mapping[str, str], home: Path, database_url: str) -> tuple[dict[int, bytes], bytes]:
    keys_text, index_text = env.get("REACTIVATE_VAULT_KEYS", ""), env.get("REACTIVATE_INDEX_KEY", "")
    if not keys_text and not index_text:
        if not database_url.startswith("sqlite"):
            raise SettingsError(
                "REACTIVATE_VAULT_KEYS and REACTIVATE_INDEX_KEY are required with PostgreSQL; "
                "make them with `reactivate keys`"
            )
        keys_text, index_text = _kept_keys(home / "keys.env", Path(make_url(database_url).database or ""))
    if not keys_text or not index_text:
        raise SettingsError("REACTIVATE_VAULT_KEYS and REACTIVATE_INDEX_KEY must be given together")
    keys = {}
    for part in keys_text.split(","):
        number, _, encoded = part.partition(":")
        if not _is_whole(number.strip()) or not 0 < int(number) < 256:
            raise SettingsError("REACTIVATE_VAULT_KEYS: expected ID:BASE64[,ID:BASE64…] with ids 1 to 255")
        keys[int(number)] = _key("REACTIVATE_VAULT_KEYS", encoded)
    return keys, _key("REACTIVATE_INDEX_KEY", index_text)


def _key(name: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError(f"{name}: not base64") from None
    if len(key) != 32:
        raise SettingsError(f"{name}: a key is 32 bytes, this one has {len(key)}")
    return key


def new_keys() -> tuple[str, str]:
    """A fresh vault key ring (one key, id 1) and index key, as their variables expect them."""
    return "1:" + base64.b64encode(os.urandom(32)).decode(), base64.b64encode(os.urandom(32)).decode()


def _kept_keys(path: Path, ledger: Path) -> tuple[str, str]:
    if not path.exists():
        if ledger.is_file() and ledger.stat().st_size:
            # with fresh keys nobody in it could be read or found again, and the next import would double everybody
            raise SettingsError(
                f"REACTIVATE_VAULT_KEYS and REACTIVATE_INDEX_KEY: there is a ledger at {ledger}, but no {path}: put "
                "that file back, or set the keys the ledger was filled with; only one that holds nobody may be removed"
            )
        keys, index = new_keys()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"REACTIVATE_VAULT_KEYS={keys}\nREACTIVATE_INDEX_KEY={index}\n")
        except OSError as error:
            raise SettingsError(f"REACTIVATE_HOME: no keys can be kept in {path.parent}: {error.strerror}") from None
    values = _kept_settings(path)
    return values.get("REACTIVATE_VAULT_KEYS", ""), values.get("REACTIVATE_INDEX_KEY", "")
