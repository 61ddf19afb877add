"""One assembler for verify, serve, dry run and bench: what each of them starts is the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_lora.cli.commands.serve import inputs_of, server_of
from mm_lora.core.errors import UsageError
from mm_lora.core.interpreters import InterpreterFacts
from mm_lora.core.skips import NotApplicable
from mm_lora.run import builds as builds_module
from mm_lora.run import recipe as recipe_module
from mm_lora.run.builds import Builds, Places
from mm_lora.run.dry_run import DryRun
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Planned, Wish, make_plan, server_spec
from mm_lora.run.recipe import recipe
from mm_lora.run.settings import Settings
from mm_lora.run.shards import Shard
from mm_lora.serving.served_vllm import ServedVllm
from mm_lora.serving.server.process import VllmServer
from mm_lora.truth.build import Builder

OTHER = Path("/other/python")
FEATURE = {"llama4": "llama4-tower-lora"}
FACTS = InterpreterFacts(
    executable="p",
    python="3.12",
    vllm="0.16.0",
    distribution="vllm",
    importable=True,
    torch="2",
    transformers="4.57",
    peft=None,
    torchvision=None,
)


class Lacking:
    """The source of a vLLM without these flags."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def lacks_flags(self, names: Any) -> list[str]:
        return [name for name in names if name in self.names]


def vllm(*lacks: str, **more: Any) -> ServedVllm:
    told: dict[str, Any] = {"lacks": {}, "features": {}, **more}
    return ServedVllm(
        python=OTHER,
        facts=FACTS,
        source=Lacking(*lacks),  # type: ignore[arg-type]
        **told,
    )


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stock of a run whose worker's versions are known, so that none is started."""
    monkeypatch.setenv("MM_LORA_CACHE", str(tmp_path / "cache"))

    def stock(inputs: Inputs, served: ServedVllm | None = None) -> Builds:
        made = Builds(inputs)
        builder = Builder(OTHER)
        builder._versions = {"torch": "1"}
        made._builder = builder
        made.__dict__["vllm"] = served or vllm()
        return made

    return stock


def spec_of(inputs: Inputs, *adapters: str) -> Any:
    return server_spec(Wish(model="scout"), adapters, inputs.profile, inputs.options)


class Folders:
    """A stock whose files are anywhere."""

    def __init__(self, inputs: Inputs) -> None:
        self.model = inputs.model

    def checkpoint(self, model: str) -> Path:
        return Path("/built") / model

    def folders(self, model: str, names: tuple[str, ...]) -> dict[str, Path]:
        return {name: Path("/built") / name for name in names}


def test_everything_that_a_server_is_started_with() -> None:
    settings = Settings(port=8000)
    inputs = Inputs.read(RunOptions(server_python=OTHER, settings=settings))
    served = vllm("enforce-eager", features=FEATURE, search=(Path("/diff"),))
    made = recipe(spec_of(inputs, "all"), inputs, served, Folders(inputs), Path("/run"))
    prepared = made.prepared
    assert (prepared.python, prepared.port, prepared.ready_timeout_s) == (OTHER, 8000, 300)
    assert prepared.search == (Path("/diff"),)
    assert (prepared.checkpoint, prepared.repository) == (Path("/built/scout"), "")
    assert prepared.adapters == {"all": Path("/built/all")}
    assert prepared.spec.patches == ("auto", "llama4-tower-lora")
    assert not prepared.spec.has_flag("enforce-eager")
    assert made.left_out == {"enforce-eager": None}
    assert isinstance(made.cook().server(Path("/run/1")), VllmServer)


def test_a_broken_copy_is_served_in_place_of_the_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = Inputs.read(RunOptions(settings=Settings(broken=("all", "alpha"))))
    made = recipe(spec_of(inputs, "all", "projector"), inputs, vllm(), Folders(inputs), tmp_path)
    copied = []
    monkeypatch.setattr(recipe_module, "broken_copy", lambda *told: copied.append(told))
    target = made.cook().adapters["all"]
    assert target.is_relative_to(tmp_path / "broken")
    assert copied == [(Path("/built/all"), target, "alpha")]
    assert made.prepared.adapters["projector"] == Path("/built/projector")


GPU = RunOptions(profile="gpu", settings=Settings(strength=2.0))


def test_serve_on_a_gpu_serves_what_verify_would(make: Any, tmp_path: Path) -> None:
    """It served fp32 adapters of the miniature's widths, and no model of the profile's."""
    inputs = inputs_of(GPU, ["projector"])
    (model,) = inputs.models.values()
    assert model.repository == "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8"
    stock = make(inputs)
    spec = stock.spec("scout", "projector")
    assert (spec.dtype, spec.strength) == ("bfloat16", 1.0)
    server = server_of(inputs, ["projector"], stock.vllm, Places(stock), tmp_path, print)
    assert "scout-full-projector" in str(server._adapters["projector"])
    assert server._repository == model.repository
    assert server.spec.flag("tensor-parallel-size") == "4"
    assert server._ready_timeout_s == 1800


def test_serve_downloads_the_model(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = inputs_of(GPU, [])
    stock = make(inputs)
    asked = []
    monkeypatch.setattr(
        builds_module.hub, "download", lambda repository, *rest: asked.append(repository)
    )
    monkeypatch.setattr(stock.builder, "checkpoint", lambda model, seed: Path("/weights"))
    assert stock.checkpoint("scout") == Path("/weights")
    assert asked == ["nvidia/Llama-4-Scout-17B-16E-Instruct-FP8"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (Settings(shard=Shard(index=1, count=2)), "--set shard"),
        (Settings(soak=1.0), "--set soak"),
        (Settings(replay=Path("x")), "--set replay"),
        (Settings(broken=("language-model", "alpha")), "does not serve"),
    ],
)
def test_serve_refuses_what_has_no_meaning_for_a_server(settings: Settings, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        inputs_of(RunOptions(settings=settings), ["projector"])


def test_serve_has_no_server_of_somebody_else_and_one_model() -> None:
    with pytest.raises(UsageError, match="profile remote starts no server"):
        inputs_of(RunOptions(profile="remote"), [])
    with pytest.raises(UsageError, match="serves one model"):
        inputs_of(RunOptions(model=("all",)), [])
    with pytest.raises(UsageError, match="no adapter 'typo'"):
        inputs_of(RunOptions(), ["typo"])


def dry(stock: Builds, *wishes: Wish) -> str:
    inputs = stock.inputs
    checks = [
        Planned(id=f"dice/{at}", title="t", core=True, wish=wish) for at, wish in enumerate(wishes)
    ]
    plan = make_plan(checks, inputs.profile, inputs.options)
    return "\n".join(DryRun(inputs, stock).lines(plan))


def test_a_dry_run_shows_what_would_be_started(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It showed flags that the vLLM lacks, and neither feature patch nor search folders."""
    inputs = Inputs.read(RunOptions(server_python=OTHER))
    served = vllm("enforce-eager", features=FEATURE, search=(Path("/the/diff"),))
    text = dry(make(inputs, served), Wish(model="scout", adapters=("projector",)))
    assert "left out, this vLLM has no such flag: --enforce-eager" in text
    (command,) = (line for line in text.splitlines() if line.startswith("  command:"))
    assert "--enforce-eager" not in command
    assert command.startswith("  command: /other/python -m ")
    assert "  patches: auto, llama4-tower-lora" in text
    assert "feature patch llama4-tower-lora for vLLM 0.16.0" in text
    assert "/the/diff" in text
    assert "adapter projector: " in text
    assert "(to be built)" in text


def test_a_dry_run_asks_the_interpreter_that_would_build() -> None:
    inputs = Inputs.read(RunOptions(reference_python=Path("/third/python")))
    assert Builds(inputs).builder._worker.python == Path("/third/python")


def test_a_dry_run_says_which_server_cannot_be_started(make: Any) -> None:
    inputs = Inputs.read(RunOptions())
    wish = Wish(model="scout", flags=(("new-flag", "1"),))
    text = dry(make(inputs, vllm("new-flag")), wish)
    assert "not started: no-flag" in text
    assert "command:" not in text
    with pytest.raises(NotApplicable):
        recipe(
            server_spec(wish, (), inputs.profile, inputs.options),
            inputs,
            vllm("new-flag"),
            Folders(inputs),
            Path(),
        )


def test_a_dry_run_of_a_broken_adapter_shows_the_copy(make: Any) -> None:
    inputs = Inputs.read(RunOptions(settings=Settings(broken=("all", "empty"))))
    text = dry(make(inputs), Wish(model="scout", adapters=("all",)))
    assert "adapter all: RUN/broken/" in text


def test_a_dry_run_without_servers_needs_no_vllm() -> None:
    inputs = Inputs.read(RunOptions())
    plan = make_plan([Planned(id="dice/a", title="t", core=True)], inputs.profile, inputs.options)
    text = "\n".join(DryRun(inputs, Builds(inputs)).lines(plan))
    assert "1 checks without a server" in text


def test_another_run_makes_stronger_adapters_again(make: Any) -> None:
    stock = make(Inputs.read(replace(GPU, profile="rehearsal")))
    stock.strengthen("scout", {"projector": 4.0})
    assert stock.spec("scout", "projector").strength == 4.0
