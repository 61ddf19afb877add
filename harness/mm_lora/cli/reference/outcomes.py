"""docs/reference/outcomes.md: what becomes of a check, and why one does not apply."""

from mm_lora.cli.reference import written
from mm_lora.core.outcomes import MEANINGS, Outcome, exit_code
from mm_lora.core.skips import TEXTS
from mm_lora.report.pipe_table import table

HEAD = (
    "The error of an answer is the largest |server − reference| over its tokens, its effect the "
    "largest |reference − base|, both in logprob. Tolerance and least effect are the "
    "[profile's](profiles.md); a 16-bit server is measured first ([GPUs](../gpu.md))."
)

STALE = (
    "A `fixed-upstream` check makes the run end with 1 where the vLLM is one of the versions that "
    "the entry names: the entry is stale. With another version, or a diff of yours, it is good "
    "news."
)


def page() -> str:
    """The page."""
    rows = [(f"`{one}`", meaning, _code(one)) for one, meaning in MEANINGS.items()]
    lines = [HEAD, "", *table(("outcome", "when", "exit code if all are so"), rows), "", STALE, ""]
    lines += ["## Why a check does not apply", ""]
    lines += table(("reason", "says"), [(f"`{why}`", text) for why, text in TEXTS.items()])
    return written.page("Outcomes of a check", lines)


def _code(one: Outcome) -> str:
    plain, strict = int(exit_code([one])), int(exit_code([one], strict=True))
    return str(plain) if plain == strict else f"{plain}; {strict} with `--strict`"
