"""RabbitMQ's management interface: virtual hosts made and dropped, and how much memory it uses."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any
from urllib.parse import quote, urlsplit

from ops.services.process import ServiceError

_TIMEOUT_SECONDS = 15


class Management:
    """The management HTTP API of one RabbitMQ at `url`."""

    def __init__(self, url: str, user: str, password: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ServiceError(f"the management interface of RabbitMQ must be an http:// URL, not {parts.scheme!r}")
        self._address = (parts.hostname, parts.port or 15672)
        self._user = user
        self._token = base64.b64encode(f"{user}:{password}".encode()).decode()

    def answers(self) -> bool:
        """Whether it answers a request that needs the broker."""
        try:
            return self._request("GET", "/api/overview")[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def make_vhost(self, name: str) -> None:
        """Make the virtual host, with every right for our user; an existing one stays as it is. Raises ServiceError."""
        vhost = quote(name, safe="")
        self._must("PUT", f"/api/vhosts/{vhost}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._must("PUT", f"/api/permissions/{vhost}/{quote(self._user, safe='')}", everything)

    def drop_vhost(self, name: str) -> None:
        """Drop the virtual host with everything in it. Raises ServiceError."""
        self._must("DELETE", f"/api/vhosts/{quote(name, safe='')}")

    def memory(self) -> int:
        """Bytes that its nodes use, as they measure it themselves every few seconds. Raises ServiceError."""
        nodes = json.loads(self._must("GET", "/api/nodes?columns=mem_used"))
        return sum(int(node["mem_used"]) for node in nodes)

    def _must(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        try:
            status, text = self._request(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            host, port = self._address
            raise ServiceError(f"RabbitMQ's management interface does not answer at {host}:{port}: {error}") from error
        if status >= 300 and not (method == "DELETE" and status == http.client.NOT_FOUND):
            raise ServiceError(f"RabbitMQ refused {method} {path}: {status} {text[:200]}")
        return text

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*self._address, timeout=_TIMEOUT_SECONDS)
        try:
            headers = {"Authorization": f"Basic {self._token}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body or {}), headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()
