"""The signals that end a run: Ctrl-C and SIGTERM, caught while it lives, ignored while it ends."""

import signal
from collections.abc import Callable

ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """This process's own handlers."""

    def catch(self, handler: Callable[[int], None]) -> None:
        """Call `handler` with the number of the signal."""
        for number in ENDING:
            signal.signal(number, lambda signum, frame: handler(signum))

    def ignore(self) -> None:
        """Nothing may keep a server from being stopped."""
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
