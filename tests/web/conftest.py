"""Fixtures of the web tests."""

from outage import away, directory, outage, relay
from webserver import serve, web

__all__ = ["away", "directory", "outage", "relay", "serve", "web"]
