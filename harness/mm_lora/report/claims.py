"""What each group of checks proves where it passes, in a sentence each."""

from collections.abc import Mapping

CLAIMS: Mapping[str, str] = {
    "dice": "Every adapter gives a valid, repeatable answer about a picture and moves it; base and "
    "adapters agree with an independent truth.",
    "arithmetic": "Each medium has as many rows and tokens as arithmetic says: in transformers' "
    "processor, in vLLM's class and inside the running layers.",
    "coverage": "The right wrapper holds every module group, and exactly one layer uses each "
    "tensor of an adapter, at full strength.",
    "numerics": "Answers agree with transformers and the merged adapter, token by token, where the "
    "adapter's effect is many times the tolerance.",
    "relations": "The server's own answers relate as they must: a zero adapter is the base, twice "
    "the scale is twice the B.",
    "spellings": "An adapter whose keys another trainer spelled is applied or refused, and never "
    "the base in silence.",
    "isolation": "In mixed batches each request gets the answer that it gets alone.",
    "states": "Long answers and contexts, several answers, preemptions and clients that leave "
    "change no adapter.",
    "lifecycle": "A name answers only as the adapter that was loaded last under it.",
    "refusal": "A bad adapter is applied or refused with a reason, and never harms others.",
    "parallel": "Several ranks answer as one does.",
    "soak": "Random traffic of every tenant is answered as when each is alone.",
}
"""Check group → claim."""


def of(group: str) -> str:
    """The claim of a group; nothing for one that is not ours."""
    return CLAIMS.get(group, "")
