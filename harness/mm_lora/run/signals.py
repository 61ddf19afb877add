"""The signals that end a run: Ctrl-C and SIGTERM, caught while it lives, ignored while it ends."""

import signal
import threading
from collections.abc import Callable
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """This process's own handlers. In another thread than the main one they stay as they are, since
    Python lets no other set them."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def catch(self, handler: Callable[[int], None]) -> None:
        """Call `handler` with the number of the signal."""
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                before = signal.signal(number, lambda signum, frame: handler(signum))
                self._before.setdefault(number, before)

    def ignore(self) -> None:
        """Nothing may keep a server from being stopped."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Give those that were caught their handlers back."""
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before.clear()
