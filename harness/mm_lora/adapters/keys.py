"""The keys of an adapter's tensors, as PEFT writes them: which module and which side of it."""

PREFIX = "base_model.model."
SIDES = ("lora_A", "lora_B")


def parted(key: str) -> tuple[str, str]:
    """(module path, "lora_A" or "lora_B") of a PEFT key; the side is empty for another tensor."""
    path = key.removeprefix(PREFIX)
    for side in SIDES:
        head, found, _ = path.partition(f".{side}.")
        if found:
            return head, side
    return path, ""


def keys_of(path: str) -> tuple[str, str]:
    """The keys of a module's pair, A and B."""
    a, b = (key_of(path, side) for side in SIDES)
    return a, b


def key_of(path: str, side: str) -> str:
    """The key of one side's weight of a module."""
    return f"{PREFIX}{path}.{side}.weight"
