"""What each group of checks proves where it passes, and what it cannot, in a few words each."""

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

BLIND: Mapping[str, str] = {
    "dice": "That the words are right: a miniature has random weights. One adapter and one "
    "question at a time.",
    "arithmetic": "That the numbers are right: rows may be counted and mapped well, and a kernel "
    "may still compute wrong.",
    "coverage": "What a kernel does with the tensors that a layer holds, and which rows it gives "
    "them.",
    "numerics": "Errors below the tolerance. Requests in company, and what comes after 16 tokens. "
    "On a miniature: kernels that only the real widths use.",
    "relations": "An error that is the same in every answer with an adapter, such as a wrong "
    "factor: all relations hold between equally wrong answers.",
    "spellings": "Trainers and exporters that are not in the list.",
    "isolation": "An error that an answer has alone too: the truth is the same server's answer to "
    "the request alone.",
    "states": "Features of vLLM that are not in the list, and what they do together.",
    "lifecycle": "What goes wrong only after more rounds, or more adapters, than are tried.",
    "refusal": "Bad adapters of a kind that is not in the list.",
    "parallel": "More than two ranks, and how GPUs or several machines exchange their parts.",
    "soak": "Meetings that are too rare for its minutes.",
}
"""Check group → what a pass does not prove."""


def of(group: str) -> str:
    """The claim of a group; nothing for one that is not ours."""
    return CLAIMS.get(group, "")
