"""Sends base, adapter and another adapter at the same time, and finds whose answers went wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mm_lora.checks.watching.visitor import Visitor, question
from mm_lora.core.asking import Answer
from mm_lora.core.outcomes import told_apart

Alone = Mapping[tuple[str, str], Answer]
"""(tenant, question) → the answer given alone."""


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """An answer that is not the one given alone. `error`: in logprob; `blamed`: the adapters at
    fault, so far as the answer tells."""

    error: float
    blamed: tuple[str, ...]
    words: str


@dataclass(frozen=True, kw_only=True)
class Company:
    """Who is asked together: the base, the adapter that it is about, and the next one, if any."""

    base: str
    adapter: str
    other: str = ""

    @property
    def tenants(self) -> tuple[str, ...]:
        """All of them."""
        return (self.base, self.adapter, *([self.other] if self.other else []))


def ring(base: str, adapters: Sequence[str]) -> list[Company]:
    """A company for each adapter, with the one after it."""
    after = [*adapters[1:], *adapters[:1]] if len(adapters) > 1 else [""] * len(adapters)
    return [
        Company(base=base, adapter=one, other=other)
        for one, other in zip(adapters, after, strict=True)
    ]


def ask(visitor: Visitor, company: Company, kinds: Sequence[str]) -> dict[tuple[str, str], Answer]:
    """Every tenant with every question, all at once."""
    keys = [(tenant, kind) for kind in kinds for tenant in company.tenants]
    answers = visitor.together([question(kind, tenant) for tenant, kind in keys])
    return dict(zip(keys, answers, strict=True))


def mixed(
    company: Company, alone: Alone, answers: Mapping[tuple[str, str], Answer], same: float
) -> list[Mixed]:
    """The answers that are farther than `same` from those given alone.

    At fault is the adapter whose answer it is instead, and the one that answers so. Where it is
    like nobody's: the one that answers, or the company's adapter where that is the base.
    """
    found = []
    for (tenant, kind), answer in answers.items():
        error = told_apart(alone[tenant, kind], answer)
        if error <= same:
            continue
        like = next(
            (
                other
                for other in company.tenants
                if other != tenant and told_apart(alone[other, kind], answer) <= same
            ),
            "",
        )
        guilty = [one for one in (tenant, like) if one and one != company.base]
        beside = " and ".join(one for one in company.tenants if one != tenant)
        whose = f", as {like} answers" if like else ""
        found.append(
            Mixed(
                error=error,
                blamed=tuple(guilty) or (company.adapter,),
                words=f"{tenant} beside {beside}, with {kind}: {error:.3g} off{whose}",
            )
        )
    return found
