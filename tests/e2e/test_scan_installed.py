"""The scan of the installed vLLM agrees with what real servers say of the families here."""

import importlib.util
import time
from pathlib import Path

import pytest

from mm_lora.families.registry import families
from mm_lora.serving.scan import Kind, Scan, scan

LEFT_OUT = "no LoRA layer class fits"

KNOWN = {
    "internvl": {"connector"},  # internvl-connector-adapters-refused
    "paligemma": {"projector"},  # paligemma-projector-adapters-refused
    "llava-next-video": {"projector"},  # llava-next-video-projector-refused
    "blip-2": {  # blip2-connector-refused; of the tower's qkv the config decides
        *("cross-keys", "cross-query", "qformer-attention", "qformer-dense", "projection"),
    },
    "mistral-small": {"patch-merger"},  # by the scan alone
    "qwen3-vl-moe": {"tower-attention", "patch-embedding"},  # tower-qkv-ignored; no Linear
    "glm-4.1v": {"tower-attention", "downsample"},  # tower-qkv-ignored; a convolution
}
"""Groups of which the scan and the servers agree that adapters are not applied."""


@pytest.fixture(scope="module")
def installed() -> Scan:
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no vLLM here")
    return scan(Path(spec.submodule_search_locations[0]))


@pytest.mark.parametrize("name", families())
def test_no_alarm_for_a_group_that_a_server_applies(name: str, installed: Scan) -> None:
    family = families()[name]
    assert family.vllm.name in installed.classes
    mine = [one for one in installed.findings if one.name == family.vllm.name]
    assert all(one.path for one in mine), "the class as a whole has the feature"
    missed = set()
    for one in mine:
        if one.kind is Kind.UNKNOWN:  # a question, no alarm: what decides is in the config alone
            continue
        path = family.from_vllm(one.path.replace("*", "0"))
        group = next(
            (g for q in family.packed if (g := family.group_of(path.replace(family.packed[q], q)))),
            None,
        )
        if one.kind is Kind.SINGLE:  # known defect llama4-data-encoder-qkv
            assert (name, one.path.rpartition(".")[2]) == ("llama4", "qkv_proj")
        elif group is not None:
            missed.add(group.name)
    left_out = {g.name for g in family.groups.values() if g.unwrapped == LEFT_OUT}
    assert missed == left_out | KNOWN.get(name, set())


def test_seconds(installed: Scan) -> None:
    assert len(installed.classes) > 50
    assert installed.layers > 200
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations
    began = time.process_time()
    scan(Path(spec.submodule_search_locations[0]))
    assert time.process_time() - began < 30
