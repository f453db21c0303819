"""The servers of a run that several processes share: who starts them, and that they outlive each borrower.

The process that hands out the tests lends: it starts a server when a worker first asks for it, and ends them all
after the last worker. A worker that dies leaves no server behind and takes none from the others.
"""

from __future__ import annotations

import os
import secrets
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.context import AuthenticationError
from threading import Thread

from ops.services.process import LOOPBACK, ServiceError
from ops.services.rabbitmq import RabbitMQ
from ops.services.start import MANAGEMENT_VARIABLE, PROGRAMS, Services

#: Where the lender listens, and the key that opens its door.
Address = tuple[str, bytes]


class Lender:
    """Starts and lends the servers from a thread of its own, for they end with the thread that started them."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._listener = Listener(family="AF_UNIX", authkey=self._key)
        self._thread = Thread(target=self._lend, name="lender", daemon=True)
        self._thread.start()

    @property
    def address(self) -> Address:
        """What a worker needs to borrow."""
        return str(self._listener.address), self._key

    def close(self) -> None:
        """End every server; afterwards none can be borrowed."""
        with _connected(self.address) as lender:
            lender.send(None)
        self._thread.join()

    def _lend(self) -> None:
        with self._listener, Services() as services:
            while True:
                try:
                    with self._listener.accept() as borrower:
                        wanted = borrower.recv()
                        if wanted is None:
                            return
                        borrower.send(_started(services, wanted))
                except (OSError, EOFError, AuthenticationError):
                    continue  # the borrower died as it asked; the others live


class Borrowed:
    """The lender's servers, as a worker sees them: those of `Services` that fixtures want, under the same names."""

    def __init__(self, lender: Address) -> None:
        self._lender = lender
        self._services: dict[str, Services] = {}

    @property
    def postgres_admin_url(self) -> str:
        """SQLAlchemy URL of a database from which others may be created. Raises ServiceError."""
        return self._borrowed("postgres").postgres_admin_url

    @property
    def redis_url(self) -> str:
        """Redis's URL. Raises ServiceError."""
        return self._borrowed("redis").redis_url

    def amqp_url(self, vhost: str) -> str:
        """URL of the virtual host, which is made unless it exists. Raises ServiceError."""
        return self._borrowed("rabbitmq").amqp_url(vhost)

    def drop_vhost(self, vhost: str) -> None:
        """Drop a virtual host with everything in it. Raises ServiceError."""
        self._borrowed("rabbitmq").drop_vhost(vhost)

    def _borrowed(self, name: str) -> Services:
        if name not in self._services:
            self._services[name] = Services(environ=borrow(name, self._lender))
        return self._services[name]


def borrow(name: str, lender: Address) -> dict[str, str]:
    """The variables that name the running server, which is started if need be.

    Raises:
        ServiceError: it is not installed or did not start, in the lender's words.
    """
    if os.environ.get(PROGRAMS[name].variable):
        return dict(os.environ)  # a server that is nobody's of this run
    with _connected(lender) as connection:
        connection.send(name)
        answer = connection.recv()
    if isinstance(answer, str):
        raise ServiceError(answer)
    return dict(answer)


def _started(services: Services, name: str) -> dict[str, str] | str:
    """The variables that name the server, or why there is none."""
    try:
        server = services.server(name)
    except ServiceError as error:
        return str(error)
    variables = {PROGRAMS[name].variable: server.url}
    if isinstance(server, RabbitMQ):
        variables[MANAGEMENT_VARIABLE] = f"http://{LOOPBACK}:{server.management_port}"
    return variables


def _connected(lender: Address) -> Connection:
    address, key = lender
    return Client(address, authkey=key)
