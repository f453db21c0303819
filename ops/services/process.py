"""One private server process: how it is started with few rights, watched until it serves, and ended by its id."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
#: Below the ports operating systems hand to outgoing connections, so that none of those takes ours meanwhile.
_PORTS = range(20_000, 32_000)
#: Handed out in this process already, each with the descriptor that holds it until the process ends.
_taken: dict[int, int] = {}
_POLL_SECONDS = 0.05
_PARENT_DIED = {signal.SIGTERM: "TERM", signal.SIGINT: "INT"}


class ServiceError(Exception):
    """A private server is not installed or did not start; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system user a server runs as; `name` None = whoever runs us."""

    name: str | None = None

    @classmethod
    def of(cls, service_user: str) -> Account:
        """The service's own user when we are root, else the current user.

        Raises:
            ServiceError: we are root and could not drop to the service's user.
        """
        if os.geteuid() != 0:
            return cls()
        try:
            pwd.getpwnam(service_user)
        except KeyError:
            raise ServiceError(
                f"there is no user {service_user!r} to run the server as, and it does not run as root; "
                "run as an ordinary user instead"
            ) from None
        if shutil.which("setpriv") is None:
            raise ServiceError("root needs `setpriv` to give up its rights; install util-linux, or do not run as root")
        return cls(service_user)

    def give(self, directory: Path) -> Path:
        """Make `directory` for the account alone to use.

        Raises:
            ServiceError: the account cannot reach a directory there.
        """
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        if self.name is None:
            return directory
        for parent in directory.resolve().parents:
            if not parent.stat().st_mode & 0o001:
                raise ServiceError(f"the user {self.name!r} cannot pass through {parent}; choose another directory")
        shutil.chown(directory, self.name, pwd.getpwnam(self.name).pw_gid)
        return directory

    def command(self, argv: Sequence[str], *, parent_died: signal.Signals | None = None) -> list[str]:
        """`argv` with the rights of this account; `parent_died` reaches it should we be killed (Linux)."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return list(argv)
        options = [f"--pdeathsig={_PARENT_DIED[parent_died]}"] if parent_died else []
        if self.name is not None:
            group = str(pwd.getpwnam(self.name).pw_gid)
            options += [f"--reuid={self.name}", f"--regid={group}", "--clear-groups"]
        return [setpriv, *options, "--", *argv] if options else list(argv)


class Process:
    """One long-running server process in a session of its own; its output goes to `<name>.log` in its directory.

    Start it on a thread that lives as long as the server: on Linux the server ends when that thread does.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        directory: Path,
        account: Account,
        environ: Mapping[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._stop_signal = stop_signal
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                account.command(argv, parent_died=stop_signal),
                cwd=directory,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._popen.pid

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    def wait_until(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `is_ready()`.

        Raises:
            ServiceError: it ended before, or `seconds` passed; the end of its log is in the message.
        """
        deadline = time.monotonic() + seconds
        while not is_ready():
            if not self.is_running():
                raise ServiceError(
                    f"{self.name} ended before it served (status {self._popen.returncode}){self._tail()}"
                )
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} did not serve within {seconds:.0f} s{self._tail()}")
            time.sleep(_POLL_SECONDS)

    def stop(self, seconds: float = 20) -> None:
        """End it in order; kill it when it has not ended after `seconds`."""
        if self.is_running():
            self._popen.send_signal(self._stop_signal)
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it and its children at once, as a power cut would."""
        if self.is_running():
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-8:]
        return "; its log ends with:\n  " + "\n  ".join(lines) if lines else " and wrote no log"


def free_port() -> int:
    """A loopback port nobody listens on, outside the range of outgoing connections, never handed out twice.

    Not by another process either: the UDP port of the same number, which no server of ours wants, is held as a sign
    between the moment a port is handed out and the moment its server listens.
    """
    for port in random.SystemRandom().sample(_PORTS, 200):
        sign = socket.socket(type=socket.SOCK_DGRAM)
        try:
            sign.bind((LOOPBACK, port))
            with socket.socket() as probe:
                probe.bind((LOOPBACK, port))
        except OSError:
            sign.close()
            continue
        _taken[port] = sign.detach()
        return port
    raise ServiceError(f"no free port between {_PORTS.start} and {_PORTS.stop} on {LOOPBACK}")


def accepts(port: int) -> bool:
    """Whether something accepts connections on the loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def clean_environ(**extra: str) -> dict[str, str]:
    """The little a server needs of an environment; nothing of ours leaks into it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **extra}
