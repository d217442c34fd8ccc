"""A TCP connection that carries one JSON object per line and detects that the other side has disconnected."""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.1


class Line:
    """One end of the connection.

    Args:
        connection: an open socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.connection.settimeout(WAIT_SECONDS)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A machine that lost power sends nothing: half a minute without an answer ends the connection.
        for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                self.connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self.buffer = b""
        self.ahead: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        """Send an object; it is dropped if the other side has disconnected, which the next read reports."""
        try:
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return

    def received(self) -> list[dict[str, Any]]:
        """Return the objects that have arrived.

        Raises:
            ConnectionError: the other side has disconnected, and everything it sent was already returned.
        """
        self._read()
        messages, self.ahead = self.ahead, []
        return messages

    def look(self) -> None:
        """Look whether the other side is still there.

        Raises:
            ConnectionError: it is not.
        """
        self._read()

    def next(self, seconds: float | None) -> dict[str, Any] | None:
        """Return the next object; None if none arrives in time or the other side has disconnected."""
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            try:
                self._read()
            except ConnectionError:
                return None
            if self.ahead:
                return self.ahead.pop(0)
            time.sleep(_POLL_SECONDS)
        return None

    def close(self) -> None:
        """Disconnect; the other side detects it."""
        self.connection.close()

    def _read(self) -> None:
        while select.select([self.connection], [], [], 0)[0]:
            try:
                part = self.connection.recv(65_536)
            except OSError:
                part = b""
            if not part:
                if self.ahead:
                    return
                raise ConnectionError
            *lines, self.buffer = (self.buffer + part).split(b"\n")
            for text in lines:
                try:
                    message = json.loads(text)
                except ValueError:
                    raise ConnectionError from None
                self.ahead += [message] if isinstance(message, dict) else []
