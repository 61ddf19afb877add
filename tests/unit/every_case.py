"""Every case of the suite, collected once."""

from functools import cache

from mm_lora.run.case_list import Case, cases


@cache
def every_case() -> tuple[Case, ...]:
    """With the checks of each family's default model."""
    return tuple(cases())
