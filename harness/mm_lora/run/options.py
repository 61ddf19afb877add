"""The options of a run: made by the command line, or by `pytest cases/ --mm key=value`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mm_lora.adapters import broken as adapters_broken
from mm_lora.core.errors import UsageError
from mm_lora.inside.catalogue import PATCHES
from mm_lora.run import shards
from mm_lora.run.shards import Shard
from mm_lora.serving.server.remote import root_of
from mm_lora.serving.server.spec import STARTS

_LISTS = ("model", "only", "skip", "adapter")
_SWITCHES = ("full", "strict", "dry-run", "with-fixes")
_SINGLE = ("profile", "server-python", "reference-python", "base-url", "reports", "seed")
_PATHS = ("server-python", "reference-python")
SETTINGS: Mapping[str, str] = {
    "start": "auto | plain | fast: how the server process starts (docs: ARCHITECTURE.md)",
    "port": "a port for the only server instead of a free one",
    "break": "ADAPTER:alpha|zero-b|nudge|prefix|empty: serve a broken copy, to see the checks fail",
    "mutant": "ID[@CHECK][,…]: seed a defect in the server, to see the checks fail; with a CHECK "
    "pattern it acts only while such a check is judged, so that several take turns on one server",
    "shard": "I/N: this part of the checks, whole servers at a time (`mm-lora report merge`)",
    "patch": "auto | none | feature: bring Llama 4's tower/connector LoRA where vLLM lacks it, "
    "never, or in any case",
    "vllm-patch": "FILE.diff: serve a copy of the installed vLLM with this diff in it",
    "strength": "FACTOR: synthetic adapters so many times stronger, where a check is void",
    "soak": "MINUTES of random traffic over all soak checks (1 with --full)",
    "replay": "FILE that a failed soak check left in its run folder: the same traffic again",
}

FEATURE_CHOICES = ("auto", "none", "feature")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Everything that `mm-lora verify` can be told. `model` empty: the profile's own."""

    profile: str = "cpu"
    model: tuple[str, ...] = ()
    full: bool = False
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    server_python: Path | None = None
    reference_python: Path | None = None
    base_url: str = ""
    reports: Path = Path("reports")
    strict: bool = False
    dry_run: bool = False
    seed: int = 0
    with_fixes: bool = False
    adapter: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def shard(self) -> Shard | None:
        """The part of the checks that is run, None for all."""
        return shards.parse(self.settings["shard"]) if "shard" in self.settings else None

    @property
    def vllm_patch(self) -> Path | None:
        """The diff that a copy of the installed vLLM gets; None for the vLLM as it is."""
        return Path(self.settings["vllm-patch"]) if "vllm-patch" in self.settings else None

    @property
    def feature(self) -> str:
        """auto, none or feature: whether the feature patch is brought."""
        return feature_choice(self.settings)

    def words(self) -> list[str]:
        """These options as `key=value` words, defaults left out; `from_words` reads them back."""
        words: list[str] = []
        for key in _LISTS:
            words += [f"{key}={value}" for value in getattr(self, key)]
        for key in _SWITCHES:
            if getattr(self, key.replace("-", "_")):
                words.append(f"{key}=1")
        default = RunOptions()
        for key in _SINGLE:
            value = getattr(self, key.replace("-", "_"))
            if value != getattr(default, key.replace("-", "_")):
                words.append(f"{key}={value}")
        return words + [f"set:{key}={value}" for key, value in self.settings.items()]

    def command_line(self, *, without: Iterable[str] = ()) -> list[str]:
        """The `mm-lora verify` arguments that repeat these options."""
        line: list[str] = []
        for word in self.words():
            key, _, value = word.partition("=")
            if key in without:
                continue
            if key.startswith("set:"):
                line += ["--set", f"{key[4:]}={value}"]
            elif key in _SWITCHES:
                line.append(f"--{key}")
            else:
                line += [f"--{key}", value]
        return line


def settings_of(words: Iterable[str]) -> dict[str, str]:
    """`--set key=value` words as a mapping; UsageError for an unknown key or a missing `=`."""
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in SETTINGS:
            known = "; ".join(f"{name} = {text}" for name, text in SETTINGS.items())
            raise UsageError(f"--set '{word}' is not known", f"key=value with {known}")
        settings[key] = value
    port = settings.get("port", "1")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--set port={port} is no port", "a whole number from 1 to 65535")
    start = settings.get("start", "auto")
    if start not in STARTS:
        raise UsageError(f"--set start={start} is not known", f"one of {', '.join(STARTS)}")
    if "break" in settings:
        adapters_broken.parse(settings["break"])
    mutants(settings)
    if "shard" in settings:
        shards.parse(settings["shard"])
    feature_choice(settings)
    if "vllm-patch" in settings and not Path(settings["vllm-patch"]).is_file():
        raise UsageError(f"--set vllm-patch={settings['vllm-patch']}: no such file")
    soak_minutes(settings)
    strength(settings)
    if "replay" in settings and not Path(settings["replay"]).is_file():
        raise UsageError(f"--set replay={settings['replay']}: no such file", "the run's folder")
    return settings


def require_place(options: RunOptions, truths: Collection[str]) -> None:
    """Raise UsageError where --base-url and the profile do not go together."""
    if options.base_url:
        root_of(options.base_url)
        if {"rows", "reference"} & set(truths):
            raise UsageError(
                f"--base-url judges a server by its answers; profile {options.profile} wants more",
                "--profile remote, or a profile of your own with its truths",
            )
    elif options.profile == "remote":
        raise UsageError("profile remote has no server of its own", "--base-url URL")


def mutants(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The words of `--set mutant=…`. Raises UsageError for one that is no mutant."""
    wanted = tuple(filter(None, settings.get("mutant", "").split(",")))
    known = sorted(patch.id for patch in PATCHES if patch.kind == "mutant")
    for word in wanted:
        identity = word.partition("@")[0]
        if identity not in known:
            raise UsageError(f"no mutant '{identity}'", f"one of {', '.join(known)}")
    if "mutant" in settings and not wanted:
        raise UsageError("--set mutant= names no mutant", f"one of {', '.join(known)}")
    return wanted


def scope(word: str) -> str:
    """The pattern of the checks in which a mutant acts; empty for all."""
    return word.partition("@")[2]


def feature_choice(settings: Mapping[str, str]) -> str:
    """`--set patch=…`: auto, none or feature. Raises UsageError for anything else."""
    choice = settings.get("patch", "auto")
    if choice not in FEATURE_CHOICES:
        raise UsageError(
            f"--set patch={choice} is not known", f"one of {', '.join(FEATURE_CHOICES)}"
        )
    return choice


def strength(settings: Mapping[str, str]) -> float:
    """What the strength of each synthetic adapter is multiplied with. Raises UsageError."""
    return _above_zero(settings, "strength", 1e4, "factor", "a number above 0, for example 4")


def soak_minutes(settings: Mapping[str, str]) -> float:
    """How long all soak checks together send traffic. Raises UsageError for no number above 0."""
    return _above_zero(settings, "soak", 1e6, "time", "minutes, a number above 0")


def _above_zero(
    settings: Mapping[str, str], key: str, below: float, what: str, check: str
) -> float:
    """The setting as a number above 0 and under `below`; 1 where it is not given."""
    text = settings.get(key, "1")
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < below:
        raise UsageError(f"--set {key}={text} is no {what}", check)
    return number


def from_words(words: Iterable[str]) -> RunOptions:
    """The options that `RunOptions.words` wrote, or that a user gave as `--mm key=value`."""
    lists: dict[str, tuple[str, ...]] = {}
    single: dict[str, str] = {}
    switches: dict[str, bool] = {}
    settings: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key.startswith("set:"):
            settings.append(f"{key[4:]}={value}")
        elif not equals or key not in (*_LISTS, *_SWITCHES, *_SINGLE):
            known = ", ".join((*_LISTS, *_SWITCHES, *_SINGLE))
            raise UsageError(f"--mm '{word}' is not known", f"key=value with {known} or set:KEY")
        elif key in _LISTS:
            lists[key] = (*lists.get(key, ()), value)
        elif key in _SWITCHES:
            switches[key.replace("-", "_")] = value not in ("0", "false", "no")
        else:
            single[key] = value
    try:
        seed = int(single.get("seed", "0"))
    except ValueError:
        raise UsageError(f"seed '{single['seed']}' is not a whole number") from None
    server, reference = (Path(single[key]) if single.get(key) else None for key in _PATHS)
    return RunOptions(
        profile=single.get("profile", "cpu"),
        server_python=server,
        reference_python=reference,
        base_url=single.get("base-url", ""),
        reports=Path(single.get("reports", "reports")),
        seed=seed,
        settings=settings_of(settings),
        model=lists.get("model", ()),
        only=lists.get("only", ()),
        skip=lists.get("skip", ()),
        adapter=lists.get("adapter", ()),
        full=switches.get("full", False),
        strict=switches.get("strict", False),
        dry_run=switches.get("dry_run", False),
        with_fixes=switches.get("with_fixes", False),
    )
