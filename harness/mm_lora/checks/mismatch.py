"""One number or name that differs from the expected one."""

from dataclasses import dataclass

from mm_lora.core.outcomes import WrongRows


@dataclass(frozen=True)
class Mismatch:
    """`where` (model, picture, module), `what`, and both values; `rows` where they are rows."""

    where: str
    what: str
    expected: object
    observed: object
    rows: WrongRows | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what} is {self.observed}, expected {self.expected}"
