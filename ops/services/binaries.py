"""Where the installed server programs are, and how missing ones get onto a Debian or Ubuntu machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.services.process import ServiceError


@dataclass(frozen=True, slots=True)
class Program:
    """One server: its programs, which sit in one directory, and how a person gets them."""

    title: str
    package: str
    """The package on Debian and Ubuntu."""
    variable: str
    """The environment variable that names a running server instead."""
    needs: tuple[str, ...]
    """Programs that must be in the directory found."""
    places: tuple[str, ...]
    """Patterns of directories, looked through before PATH; of several versions the newest wins."""


POSTGRES = Program(
    title="PostgreSQL",
    package="postgresql",
    variable="REACTIVATE_TEST_DATABASE_URL",
    needs=("postgres", "initdb"),
    places=(
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql*/bin",
        "/usr/local/opt/postgresql*/bin",
    ),
)
#: The programs of the library directory: the wrapper on PATH wants to be root or its own user.
RABBITMQ = Program(
    title="RabbitMQ",
    package="rabbitmq-server",
    variable="REACTIVATE_TEST_AMQP_URL",
    needs=("rabbitmq-server", "rabbitmq-env"),
    places=(
        "/usr/lib/rabbitmq/bin",
        "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
        "/opt/homebrew/opt/rabbitmq/sbin",
        "/usr/local/opt/rabbitmq/sbin",
    ),
)
REDIS = Program(
    title="Redis",
    package="redis-server",
    variable="REACTIVATE_TEST_REDIS_URL",
    needs=("redis-server",),
    places=("/usr/bin", "/opt/homebrew/bin", "/usr/local/bin"),
)


def find(program: Program) -> Path:
    """The directory of the program's executables.

    Raises:
        ServiceError: it is not installed; the message names the package and the variable.
    """
    found = look_for(program)
    if found is None:
        raise ServiceError(
            f"{program.title} is not installed here: install it (Debian, Ubuntu: `apt-get install {program.package}`) "
            f"or set {program.variable} to a running server"
        )
    return found


def look_for(program: Program) -> Path | None:
    """The directory of the program's executables, or None."""
    for pattern in program.places:
        found = sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
        for directory in found:
            if _holds(directory, program.needs):
                return directory
    on_path = shutil.which(program.needs[0])
    if on_path is not None:
        # a link on PATH leads to the directory where the other programs are
        directory = Path(on_path).resolve().parent
        if _holds(directory, program.needs):
            return directory
    return None


def install_missing(programs: Sequence[Program]) -> None:
    """Install what is missing with apt-get, when we are root on Debian or Ubuntu; otherwise do nothing.

    Raises:
        ServiceError: apt-get failed.
    """
    packages = [program.package for program in programs if look_for(program) is None]
    apt_get = shutil.which("apt-get")
    if not packages or apt_get is None or os.geteuid() != 0:
        return
    # runlevel 1 keeps the packages from starting system-wide servers of their own
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    waiting = ["-q", "-o", "DPkg::Lock::Timeout=300"]
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            [apt_get, *waiting, *command],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            ending = "\n  ".join(done.stdout.splitlines()[-5:])
            raise ServiceError(f"apt-get could not install {' '.join(packages)}:\n  {ending}")


def _version(directory: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(directory)))


def _holds(directory: Path, names: Sequence[str]) -> bool:
    return all((directory / name).exists() for name in names)
