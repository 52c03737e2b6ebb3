"""What systemd is told: ready, status, still making progress (sd_notify(3)); nothing when it is not there."""

from __future__ import annotations

import socket
from collections.abc import Mapping


class Supervisor:
    """The service manager's notification socket. Without one every call does nothing."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        self.watchdog = self._watchdog_seconds(environment, pid)

    def tell(self, *assignments: str) -> None:
        """Send `READY=1`, `STATUS=...` and the like. A manager that does not listen is no reason to fail."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(1)
                out.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return

    @staticmethod
    def _watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
        """How often, in seconds, progress must be told of; None when nobody watches this process."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        if not microseconds.isdecimal() or environment.get("WATCHDOG_PID", str(pid)) != str(pid):
            return None
        return int(microseconds) / 1_000_000
