"""Why a check does not apply here: typed reasons, so that a report can be counted by them."""

from collections.abc import Mapping
from enum import StrEnum

from mm_lora.core.errors import MmLoraError


class SkipReason(StrEnum):
    """The first word of a skipped check's `reason`."""

    NO_REFERENCE = "no-reference"
    NO_ROWS = "no-rows"
    NOT_PUBLISHED = "not-published"
    OWN_SERVER = "needs-its-own-server"
    NO_LOG = "no-log"
    NO_CACHE_RESET = "no-cache-reset"
    NO_ADAPTER = "no-adapter"
    NO_CONFIG = "no-config"
    NO_FLAG = "no-flag"
    NO_MEANING = "no-meaning"
    NO_FEATURE = "no-feature"
    NO_PART = "not-here"
    FEWER_MEDIA = "fewer-media"
    NO_FULL_STEP = "no-full-step"


TEXTS: Mapping[SkipReason, str] = {
    SkipReason.NO_REFERENCE: "the profile has no fp32 reference for a model of this size",
    SkipReason.NO_ROWS: "the rows inside this server's layers cannot be seen",
    SkipReason.NOT_PUBLISHED: "the model is not one of the published geometries",
    SkipReason.OWN_SERVER: "the check needs a server with flags of its own",
    SkipReason.NO_LOG: "the log of a server that somebody else started cannot be read",
    SkipReason.NO_CACHE_RESET: "the server does not let its caches be emptied",
    SkipReason.NO_MEANING: "a miniature has random weights, so its words mean nothing",
    SkipReason.NO_CONFIG: "the config of a model on another machine cannot be read",
    SkipReason.NO_FLAG: "this vLLM has no such flag",
    SkipReason.NO_FEATURE: "this vLLM has no tower/connector LoRA for the model's class",
    SkipReason.NO_PART: "this vLLM has no such thing on this platform",
    SkipReason.FEWER_MEDIA: "a prompt of this model holds fewer media",
    SkipReason.NO_FULL_STEP: "no number of this model's pictures fills a step of the server",
    SkipReason.NO_ADAPTER: "the server neither serves the adapter nor loads it",
}

OF_TRUTH: Mapping[str, SkipReason] = {
    "reference": SkipReason.NO_REFERENCE,
    "rows": SkipReason.NO_ROWS,
}


class NotApplicable(MmLoraError):
    """Ends a case with outcome `skip`."""

    def __init__(self, reason: SkipReason, detail: str = "") -> None:
        super().__init__(text(reason, detail))
        self.reason = reason


def text(reason: SkipReason, detail: str = "") -> str:
    """`reason` of the check in the report."""
    return f"{reason}: {TEXTS[reason]}" + (f" ({detail})" if detail else "")
