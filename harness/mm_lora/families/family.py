"""`Family`: all that differs by architecture, in one typed interface with a default for most of it.

A new family is a folder with a subclass of `Family` in `family.py`, its arithmetic, its published
configs, a chat template, and a subclass of `TorchSide` in `torch_side.py`; `registry` names it.
docs/new-family.md goes through the steps.
"""

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Encoded, Picture, Shown, Sound, Video
from mm_lora.families import pictures, sounds, videos
from mm_lora.families.flow import Flow, HookCase, KnownFlow
from mm_lora.families.miniature import TEXT_HIDDEN
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER, ModuleGroup

_HERE = Path(__file__).parent

Calls = Sequence[tuple[int, int]]
"""(place of the medium in the step, rows) for each medium that one call of a layer serves."""


@dataclass(frozen=True, kw_only=True)
class VllmClass:
    """The model's class in vLLM: `module` below vllm.model_executor.models, and `name`."""

    module: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An adapter over parts of several groups: `targets` are globs over PEFT module paths."""

    targets: tuple[str, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GoodAdapter:
    """An adapter with numbers known to be right, from which bad ones are made.

    `fused` is a projection that vLLM packs with others, `plain` one that it does not, both children
    of `parent`; `outputs`: rows of `plain`'s B on the miniature.
    """

    adapter: str = "language-attention"
    parent: str = "self_attn"
    fused: str = "v_proj"
    plain: str = "o_proj"
    outputs: int = TEXT_HIDDEN


@dataclass(frozen=True, kw_only=True)
class PeftForms:
    """What the PEFT configurations of a family's adapters speak of.

    `wide`: globs over every kind of wrapper that has no known defect. `ranks`, `alphas`: patterns
    for PEFT's rank_pattern and alpha_pattern over `wide`. `partial`: globs of some layers only.
    `part_of_packed`: projections that vLLM packs with others that get no adapter. `ends`: last
    names for a `target_modules` list, and `ends_groups` the groups whose modules end so.
    """

    wide: tuple[str, ...]
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    partial: tuple[str, ...]
    part_of_packed: tuple[str, ...]
    ends: tuple[str, ...]
    ends_groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Pictures by role, (width, height) in pixels: of one unit, a few, many; a video's `clip`.

    `small`: of few tokens, so that a prompt holds as many as the family's `limits` allow. Labels
    name roles in ids; `unit` is what they are counted in. `grows`: whether larger pictures have
    more rows; where the tower is given as many for each, the roles differ in shape alone.
    """

    one: tuple[int, int] = (336, 336)
    few: tuple[int, int] = (400, 300)
    many: tuple[int, int] = (700, 400)
    clip: tuple[int, int] = (112, 112)
    small: tuple[tuple[int, int], ...] = ((64, 64), (80, 60), (60, 90), (100, 60))
    labels: Mapping[str, str] = field(
        default_factory=lambda: {"one": "small", "few": "medium", "many": "large"}
    )
    unit: str = "unit"
    grows: bool = True

    def video(self, seed: int = 0, frames: int = 4) -> Video:
        """A small video."""
        width, height = self.clip
        return Video(width=width, height=height, frames=frames, seed=seed)

    def picture(self, role: str, seed: int = 0, kind: str = "dice") -> Shown:
        """A picture of that role."""
        return self.drawn(getattr(self, role), seed, kind)

    def drawn(self, size: tuple[int, int], seed: int = 0, kind: str = "dice") -> Shown:
        """A picture of that size."""
        return Picture(width=size[0], height=size[1], seed=seed, kind=kind)

    def question(self, size: tuple[int, int]) -> pictures.Picture | sounds.Clip | videos.Clip:
        """The same to count, named by its size."""
        return pictures.Picture(f"{size[0]}x{size[1]}", *size)


class SoundSizes(Sizes):
    """Of a family that hears, and sees no pictures: sizes are (samples, samples in a second)."""

    def drawn(self, size: tuple[int, int], seed: int = 0, kind: str = "dice") -> Sound:
        """Tones, where a picture would show dice."""
        made = "noise" if kind == "noise" else "tones"
        return Sound(samples=size[0], rate=size[1], seed=seed, kind=made)

    def question(self, size: tuple[int, int]) -> sounds.Clip:
        """See `Sizes`."""
        return sounds.Clip(f"{size[0]}x{size[1]}", *size)


class VideoSizes(Sizes):
    """Of a family that takes videos and no pictures: sizes are (frames, side), each frame a square
    of so many pixels a side."""

    def drawn(self, size: tuple[int, int], seed: int = 0, kind: str = "dice") -> Video:
        """A video, where a picture would stand still."""
        frames, side = size
        return Video(width=side, height=side, frames=frames, seed=seed, kind=kind)

    def question(self, size: tuple[int, int]) -> videos.Clip:
        """See `Sizes`."""
        return videos.Clip(f"{size[0]}x{size[1]}", *size)


class Family(ABC):
    """One architecture. Methods take a `layout`: the numbers of one model that decide token counts,
    a frozen dataclass of the family's own.

    Assumes little: a module's path in vLLM need not be PEFT's (`to_vllm`), each group has its own
    kind of rows, a layer may be called several times a step (`calls`), and there may be several
    media.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """As people call it."""
    model_types: ClassVar[tuple[str, ...]]
    """`model_type` of the config.json files that are this family's; where several families share
    one, with the tower's behind it: `MODEL_TYPE+TOWER`."""
    beside: ClassVar[str] = ""
    """The family that reads a config.json of these models, where this one serves the same ones for
    another medium."""
    published: ClassVar[tuple[str, ...]]
    """Names of published models, the default first; configs/NAME.json in the family's folder."""
    repositories: ClassVar[Mapping[str, str]] = {}
    """Repository with real weights → the published model that it is."""
    state: ClassVar[str] = "verified"
    """verified, partly or cannot-build."""
    state_reason: ClassVar[str] = ""
    """What is not verified, and why."""
    media: ClassVar[tuple[str, ...]] = ("image",)
    beside_embeds: ClassVar[tuple[str, ...] | None] = None
    """What vLLM's class wants with `image_embeds`, a picture's rows in place of its pixels: names
    of the processor's output. None where it takes none, or where nobody has tried."""
    groups: ClassVar[Mapping[str, ModuleGroup]]
    mapped: ClassVar[Mapping[str, str]] = {TOWER: "encoder", CONNECTOR: "connector"}
    """Role → the kind of rows that vLLM maps for it (a key of `Flow.rows`); a role is left out
    where vLLM's class has no such layers."""
    formulas: ClassVar[Mapping[str, str]]
    """Kind of rows → how many of them a medium has, and where that is published."""
    bundles: ClassVar[Mapping[str, Bundle]] = {}
    """Adapters over several groups, besides `all`."""
    forms: ClassVar[PeftForms]
    good: ClassVar[GoodAdapter] = GoodAdapter()
    sizes: ClassVar[Sizes] = Sizes()
    special_tokens: ClassVar[tuple[str, ...]]
    vllm: ClassVar[VllmClass]
    feature_patch: ClassVar[str] = ""
    """Id of the patch that brings tower/connector LoRA to a vLLM that lacks it; "" for none."""
    target_modules: ClassVar[tuple[str, ...]] = ()
    """`--lora-target-modules` that work everywhere; empty to leave the flag out."""
    every_target_module: ClassVar[tuple[str, ...]] = ()
    """The same with every name that can be wrapped on a CPU, known defects included."""
    flags: ClassVar[Mapping[str, str | bool]] = {}
    """Further flags without which vLLM does not serve the family's models: names without dashes,
    True for a switch."""
    limits: ClassVar[Mapping[str, int]] = {"image": 4}
    """`--limit-mm-per-prompt`: kind of medium → the most that a prompt of the checks holds."""
    prefixes: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(PEFT's prefix, vLLM's prefix): the first that fits is replaced."""
    packed: ClassVar[Mapping[str, str]] = {
        **{f"{name}_proj": "qkv_proj" for name in "qkv"},
        "gate_proj": "gate_up_proj",
        "up_proj": "gate_up_proj",
    }
    """Last name of a module → that of the layer in vLLM that holds it with others."""
    text_part: ClassVar[str] = "language_model."
    """What the text-only class of the model leaves out of a PEFT path."""
    older: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(PEFT's prefix, the one that PEFT wrote on transformers 4.51 and older), where that differs;
    the first that fits is replaced."""
    logits: ClassVar[str] = "language_model.lm_head"
    """Sees only the rows that are sampled from, under a mapping of its own: not compared."""
    predictors: ClassVar[tuple[str, ...]] = ()
    """Wrong values that the torch side computes for every vLLM, by name."""
    predicted_roles: ClassVar[tuple[str, ...]] = (LANGUAGE,)
    """The roles whose adapters can meet a mistake that a predictor computes."""
    base_predictors: ClassVar[tuple[str, ...]] = ()
    """The same of mistakes that the base makes too, asked where this vLLM is known to make them."""
    text_predictors: ClassVar[tuple[str, ...]] = ()
    """Those of `base_predictors` that an answer about text alone can meet."""
    idle: ClassVar[str] = ""
    """A pattern over paths in vLLM: layers that it wraps and never calls."""
    core_numbers: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(adapter, variant) of further numerics in the core: the smallest case of a known defect."""
    renamed: ClassVar[str] = ""
    """A group whose modules transformers has renamed since vLLM's class was written."""
    piece: ClassVar[int] = 512
    """Tokens of a step in which prompts are read in pieces, and two small pictures still meet."""
    later: ClassVar[str] = ""
    """A tower projection that a server with a data-parallel encoder is given over HTTP."""
    known_flows: ClassVar[tuple[KnownFlow, ...]] = ()
    prefix_cases: ClassVar[Mapping[str, str]]
    """A layer of every group, by its path in vLLM → the role that vLLM's prefixes must give it."""

    # What a family must say.

    @abstractmethod
    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Any:
        """The numbers that decide token counts, from config.json and the processor's files in
        `folder` (None: as published). Raises UsageError where no model can have them."""

    @abstractmethod
    def flow(self, layout: Any, medium: Any) -> Flow:
        """The token flow of one medium (`asking.Encoded`) of a kind that `media` has; shares no
        line with transformers or vLLM."""

    @abstractmethod
    def describe(self, layout: Any) -> Sequence[str]:
        """The layout in a line or two, for `mm-lora tokens`."""

    @abstractmethod
    def miniature(self, config: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """The miniature's config.json: published geometry and structure, small widths.

        Raises UsageError for a config that lacks a part.
        """

    @abstractmethod
    def side_files(self, layout: Any) -> dict[str, Any]:
        """Files beside config, weights and tokenizer.json, by name: processor, tokenizer. Content
        that becomes JSON, or text that is written as it is."""

    def files(self, small: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """`side_files`, and those that say once more what the miniature's config.json (`small`)
        does; None for a usual file that is left out."""
        return self.side_files(layout)

    @abstractmethod
    def questions(self, layout: Any) -> Sequence[Sequence[Any]]:
        """Prompts for the real processor: each a sequence of `pictures.Picture` or, where sounds or
        videos alone are taken, of their `Clip`."""

    @abstractmethod
    def hook_cases(self, layout: Any) -> Sequence[HookCase]:
        """Questions to the count hook of vLLM's class, right answers and odd ones."""

    # What has a default.

    def alone(self, layout: Any) -> list[Flow]:
        """The flow of each question of one medium."""
        return [self.flow(layout, one.asked) for one, *more in self.questions(layout) if not more]

    def clips(self, layout: Any) -> Sequence[Video]:
        """Videos for the real processor, each asked alone."""
        return ()

    @property
    def package(self) -> str:
        """The family's package below `families`."""
        return self._packages[0]

    @property
    def folder(self) -> Path:
        """Where the family's data lies."""
        return _HERE / self.package

    @property
    def _packages(self) -> tuple[str, ...]:
        """Its own, then those of the families that it is built on."""
        kinds = (kind for kind in type(self).__mro__ if issubclass(kind, Family))
        own = (kind.__module__.split(".")[-2] for kind in kinds if kind is not Family)
        return tuple(dict.fromkeys(own))

    def published_config(self, name: str) -> dict[str, Any]:
        """{"name", "source", "known", "config", …}: a published model as stored."""
        file = self.folder / "configs" / f"{name}.json"
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return data

    def published_layout(self, data: Mapping[str, Any]) -> Any:
        """The layout of a published model, from what `published_config` gives."""
        return self.layout(data["config"], None)

    def source_note(self, layout: Any) -> str:
        """What to say of a user's config beside its source, for example that it is unpublished."""
        return ""

    @property
    def chat_template(self) -> str:
        """The text of chat_template.jinja, its own or that of the family that it is built on; one
        placeholder for each medium."""
        files = (_HERE / package / "chat_template.jinja" for package in self._packages)
        return next(file for file in files if file.is_file()).read_text(encoding="utf-8")

    def group_of(self, path: str) -> ModuleGroup | None:
        """The group of the module at a PEFT path, None for a module that takes no adapter."""
        return next((group for group in self.groups.values() if group.has(path)), None)

    def to_vllm(self, path: str) -> str:
        """vLLM's path of the module at a PEFT path, before packing."""
        for theirs, vllm in self.prefixes:
            if path.startswith(theirs):
                return vllm + path.removeprefix(theirs)
        return path

    def from_vllm(self, path: str) -> str:
        """The PEFT path of a module of vLLM's: the other way round."""
        for theirs, vllm in self.prefixes:
            if path.startswith(vllm):
                return theirs + path.removeprefix(vllm)
        return path

    def layer_of(self, path: str) -> str:
        """The layer in vLLM that serves the module at a PEFT path: q, k and v are one there."""
        parent, dot, name = self.to_vllm(path).rpartition(".")
        return f"{parent}{dot}{self.packed.get(name, name)}"

    def group_of_layer(self, parts: Sequence[str]) -> ModuleGroup | None:
        """The group of a wrapped layer, from the adapter's modules in vLLM's names that it serves.

        A layer that no adapter can reach (a head, a module of no group) has none.
        """
        found = (self.group_of(self.from_vllm(part)) for part in parts)
        return next((group for group in found if group is not None), None)

    def role_of_layer(self, path: str, parts: Sequence[str]) -> str | None:
        """The wrapper that a layer must have: ours, not vLLM's own rule."""
        group = self.group_of_layer(parts)
        return group.role if group else self.role_of_path(path)

    def role_of_path(self, path: str) -> str | None:
        """The role of a layer that is in no group, by its path in vLLM."""
        return LANGUAGE if path.startswith("language_model.") else None

    def is_idle(self, path: str) -> bool:
        """Whether vLLM wraps the layer at its path `path` and never calls it."""
        return bool(self.idle) and re.fullmatch(self.idle, path) is not None

    def base_predicted(self, media: bool) -> tuple[str, ...]:
        """The predictors of the base's mistakes that a request with or without `media` can meet."""
        return self.base_predictors if media else self.text_predictors

    def passes(self, flows: Sequence[Flow], *, by_kind: bool = True) -> list[list[int]]:
        """The passes of the encoder in a step that encodes these media: their places in each.

        vLLM 0.32.0 sorts a step's media by kind, whosever they are, and encodes each kind in one
        forward (gpu_model_runner.py::_batch_mm_inputs_from_scheduler). Not `by_kind`, as in 0.28.0:
        it encodes each stretch of neighbours of one kind.
        """

        def medium(at: int) -> str:
            return flows[at].medium

        places = sorted(range(len(flows)), key=medium) if by_kind else range(len(flows))
        return [list(stretch) for _, stretch in groupby(places, key=medium)]

    def together(self, layout: Any, flows: Sequence[Flow]) -> Sequence[Flow]:
        """The flows of the media of one request, whose processor sees them together: each as when
        alone, unless it fills them up to one size."""
        return flows

    def holds(self, media: Sequence[Encoded]) -> bool:
        """Whether one prompt may have all these media."""
        kinds = Counter(one.medium for one in media)
        return all(count <= self.limits.get(kind, 0) for kind, count in kinds.items())

    def calls(self, flows: Sequence[Flow], rows: str) -> list[Calls]:
        """The calls, in one pass over these media, of a layer of the vision side that sees `rows`.

        One, unless no medium has such rows: another medium has no part in that layer.
        """
        call = [(at, flow.rows[rows]) for at, flow in enumerate(flows) if rows in flow.rows]
        return [call] if call else []

    def mapped_rows(self, flow: Flow, role: str) -> int:
        """The rows that vLLM maps for a medium under a role of the vision side."""
        return flow.rows.get(self.mapped.get(role, ""), 0)

    def predicted_rows(self, layout: Any, found: Sequence[Any]) -> tuple[str, ...]:
        """Named predictors that explain every one of the mismatches of rows, seen inside the layers
        or said by vLLM's class."""
        return ()

    def predicted_coverage(self, found: Sequence[Any]) -> tuple[str, ...]:
        """Named predictors that explain every one of the coverage mismatches."""
        return ()

    @property
    def wrapped(self) -> tuple[ModuleGroup, ...]:
        """The groups that the family's own flags wrap."""
        return tuple(group for group in self.groups.values() if not group.unwrapped)

    def roled(self, *roles: str) -> tuple[ModuleGroup, ...]:
        """The wrapped groups of these roles."""
        return tuple(group for group in self.wrapped if group.role in roles)

    @property
    def vision(self) -> tuple[ModuleGroup, ...]:
        """The wrapped groups of tower and connector: those that text alone never reaches."""
        return self.roled(TOWER, CONNECTOR)

    @property
    def torch_side(self) -> str:
        """The module of the family's TorchSide, which only a process with torch imports."""
        return f"mm_lora.families.{self.package}.torch_side"

    @property
    def sources(self) -> tuple[str, ...]:
        """Files of the family, and of those that it is built on, that decide what the torch side
        builds; below the package."""
        files = [file for one in self._packages for file in sorted((_HERE / one).glob("*.py"))]
        return tuple(str(file.relative_to(_HERE.parent)) for file in files)
