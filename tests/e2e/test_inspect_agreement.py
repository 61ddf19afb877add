"""What `inspect` says of an adapter is what a real server does: each tensor, each answer."""

import sys
from pathlib import Path
from typing import Any

import pytest
from inspected_adapters import variants

from mm_lora.adapters.as_found import look
from mm_lora.adapters.sets import named, standard
from mm_lora.adapters.spellings import spelled_name, spellings
from mm_lora.checks.inspection.bench import Bench, bench_of
from mm_lora.checks.inspection.findings import Fate, Inspection
from mm_lora.checks.inspection.flags import flags_of
from mm_lora.checks.inspection.keys import read
from mm_lora.core.asking import BASE, Request
from mm_lora.core.outcomes import moved
from mm_lora.families.family import Family
from mm_lora.families.models import resolve
from mm_lora.run.plan import family_flags, spelled
from mm_lora.run.profiles import load
from mm_lora.serving.client import Client
from mm_lora.serving.probe import Probe
from mm_lora.serving.server.cradle import Cradles
from mm_lora.serving.server.process import VllmServer
from mm_lora.serving.server.spec import ServerSpec
from mm_lora.truth.build import Builder

PYTHON = Path(sys.executable)
MOVED = 1e-3
"""Logprob: an answer that moved less is the base's. Standard adapters move it by 0.2 and more."""

SERVERS = (
    *((model, True) for model in ("scout", "qwen2.5-vl", "smolvlm", "internvl")),
    ("qwen2.5-vl", False),
)
"""(model, whether with --enable-tower-connector-lora)."""


class Place:
    """A server of one model with the probe, what `inspect` knows of it, and adapters to try."""

    def __init__(self, model: str, tower: bool, folder: Path) -> None:
        self.family = resolve(model).family
        self.model, self.tower, self.folder = model, tower, folder

    def adapters(self) -> list[str]:
        """Those that are built: every group, mixed ones, the good one that others are made of, and
        each group's as each trainer and exporter spells it."""
        some = [*standard(self.family), "peft-plain", "peft-rank-pattern", "peft-sharded"]
        spelt = [spelled_name(group, spelling) for spelling, group in spellings(self.family)]
        return list(dict.fromkeys([*some, self.family.good.adapter, *spelt]))

    def spec(self) -> ServerSpec:
        profile = load("cpu")
        flags = {
            "dtype": profile.dtype,
            **dict(family_flags(self.family)),
            **profile.flags,
            "max-loras": 2,
            "enable-tower-connector-lora": self.tower,
        }
        return ServerSpec(
            model=self.model,
            adapters=(),
            flags=tuple((k, spelled(v)) for k, v in flags.items() if v is not False),
            env=tuple(sorted(profile.env.items())),
            probe=True,
        )


def line(spec: ServerSpec) -> str:
    """The spec's flags as a command line."""
    words = []
    for name, value in spec.flags:
        more = value if isinstance(value, tuple) else () if value is None else (f"'{value}'",)
        words += [f"--{name}", *map(str, more)]
    return " ".join(words)


def told(one: Inspection, bench: Bench) -> set[tuple[str, str, str]]:
    """(layer, module, side) of what would be applied."""
    found = set()
    for tensor in one.tensors:
        if tensor.fate is Fate.APPLIED and (parts := read(tensor.key, bench.wrapping.renames)):
            found.add((tensor.layer, parts[0], f"lora_{parts[1]}"))
    return found


def seen(probe: Probe, name: str) -> set[tuple[str, str, str]]:
    """The same as the server's layers got it; half a pair is nothing."""
    use = next(use for use in probe.adapters() if use.adapter == name)
    return {
        (layer, part, side)
        for layer, parts in use.used.items()
        for part in parts
        if part is not None and len(use.kept.get(part, ())) == 2
        for side in use.kept[part]
    }


def ask(client: Client, family: Family, name: str) -> Any:
    client.reset_caches()
    return client.ask(Request(model=name, pictures=(family.sizes.picture("one"),), top=20))


@pytest.fixture(scope="module", params=SERVERS, ids=lambda p: f"{p[0]}{'' if p[1] else '-off'}")
def rows(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cradles: Cradles
) -> list[dict[str, Any]]:
    """Each adapter: what inspect says, what the server did."""
    model, tower = request.param
    place = Place(model, tower, tmp_path_factory.mktemp("inspected"))
    with Builder(PYTHON) as builder:
        whole = resolve(model)
        checkpoint = builder.checkpoint(whole)
        specs = [named(place.family, name) for name in place.adapters()]
        built = builder.adapters(whole, specs)
    spec = place.spec()
    server = VllmServer(
        spec,
        python=PYTHON,
        checkpoint=checkpoint,
        adapters={},
        folder=place.folder / "server",
        ready_timeout_s=600,
        cradles=cradles,
    )
    found: list[dict[str, Any]] = []
    with bench_of(resolve(str(checkpoint)), "", print) as bench, server as running:
        flags = flags_of(line(spec), pins=False)
        inspector = bench.inspector(flags, numbers=False)
        client, probe = Client(running.base_url, 120), Probe(running.folder / "probe")
        base = ask(client, place.family, BASE)
        for name, folder in variants(place.family, built, place.folder / "adapters"):
            one = inspector.inspect(name, look(folder))
            status, said = client.post(
                "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}
            )
            row = {
                "name": name,
                "verdict": str(one.fate),
                "told": told(one, bench),
                "why": next((t.reason for t in one.tensors if t.fate is not Fate.APPLIED), ""),
                "status": status,
                "said": said.replace(str(folder), "PATH")[:300],
            }
            if status == 200:
                row["seen"] = seen(probe, name)
            # What the layers hold is the evidence; an answer is asked where nothing may be in them.
            if status == 200 and (not row["told"] or name == place.family.good.adapter):
                answer = ask(client, place.family, name)
                row["moved"] = moved(answer.first_logprobs(), base.first_logprobs())
            client.post("/v1/unload_lora_adapter", {"lora_name": name})
            found.append(row)
    return found


def test_inspect_says_what_the_server_does(
    rows: list[dict[str, Any]], record_property: Any
) -> None:
    wrong = []
    for row in rows:
        refused = row["status"] != 200
        if refused is not (row["verdict"] == "refused"):
            wrong.append((row["name"], row["verdict"], row["why"], row["status"], row["said"]))
        elif not refused and row["told"] != row["seen"]:
            odd = sorted(row["told"] ^ row["seen"])[:4]
            wrong.append((row["name"], row["verdict"], row["why"], "layers", odd))
        elif "moved" in row and bool(row["told"]) is not (row["moved"] > MOVED):
            wrong.append((row["name"], row["verdict"], row["why"], "moved", row["moved"]))
    record_property("adapters", len(rows))
    print({row["name"]: row["verdict"] for row in rows})
    assert wrong == []
    assert len({row["verdict"] for row in rows}) == 4, "a verdict that is never given"
    assert len(rows) >= 25
