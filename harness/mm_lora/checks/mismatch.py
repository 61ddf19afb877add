"""One number or name that differs from the expected one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mismatch:
    """`where` (model, picture, module), `what`, and both values."""

    where: str
    what: str
    expected: object
    observed: object

    def __str__(self) -> str:
        return f"{self.where}: {self.what} is {self.observed}, expected {self.expected}"
