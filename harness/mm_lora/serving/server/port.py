"""A port on 127.0.0.1 for a server, reserved until the server is ready."""

import errno
import socket

from mm_lora.core.errors import UsageError
from mm_lora.serving.server.command import HOST


class PortReservation:
    """Holds a port by a bound socket that never listens.

    Linux lets a second socket with SO_REUSEADDR bind (and listen on) such a port, as vLLM's does,
    while nobody who asks for any free port is given it.
    """

    def __init__(self, port: int | None = None) -> None:
        """A free port, or the one named: UsageError if that is taken."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((HOST, port or 0))
        except OSError as error:
            self._socket.close()
            raise _taken(port, error) from None
        self.port: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let go; again is no error."""
        self._socket.close()


def _taken(port: int | None, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"port {port} on {HOST} is in use",
            f"what listens there (`ss -ltnp | grep :{port}`), or leave the port out",
        )
    if error.errno == errno.EACCES:
        return UsageError(f"port {port} needs more rights", "a port above 1023")
    return UsageError(f"port {port} cannot be used: {error.strerror}", "a port from 1024 to 65535")
