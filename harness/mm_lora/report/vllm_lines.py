"""The lines of a report about a vLLM that was served with patches or other flags."""

from mm_lora.core.report import Vllm


def lines(vllm: Vllm) -> list[str]:
    """One line for each: what it lacks and what brings it, the diff in it, flags left out."""
    said = []
    if vllm.lacks:
        said.append(f"this vLLM lacks tower/connector LoRA: {vllm.lacks}")
    if vllm.feature_patch:
        said.append(f"feature patch in the server: {vllm.feature_patch}")
    diff = vllm.diff
    if diff:
        files = ", ".join(diff.files) or "no file"
        said.append(f"diff {diff.name}, sha256 {diff.sha256}, changes {files}")
        if diff.left_out:
            said.append(f"of the diff left out, as no part of vLLM: {', '.join(diff.left_out)}")
    if vllm.flags_left_out:
        names = ", ".join(f"--{name}" for name in vllm.flags_left_out)
        said.append(f"flags that this vLLM does not have, left out: {names}")
    return said
