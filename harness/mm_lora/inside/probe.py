"""The probe: records in the worker the rows that every wrapped layer sees, and their adapters.

Changes no answer: hooks that read shapes, and the size of what an activated adapter left in each
layer. On disk, per worker process `<pid>`:
`probe-<pid>.modules.json` once, `probe-<pid>.adapters.<n>.jsonl` and `probe-<pid>.steps.<n>.jsonl`.
Only steps of real requests are noted: warm-up, profile and dummy runs do not pass `execute_model`.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from . import hooks
from .probe_file import SegmentedFile, encoded
from .probe_layers import Layers
from .probe_records import ENCODER, LANGUAGE, Call, Step, records
from .report import Report

MANAGER = "vllm.lora.model_manager"
WORKER_MANAGER = "vllm.lora.worker_manager"
RUNNER = "vllm.v1.worker.gpu_model_runner"
SECOND_RUNNER = "vllm.v1.worker.gpu.model_runner"
"""The second generation of the model runner, which newer versions take where Triton is there."""

_CREATED = f"{MANAGER}:LoRAModelManager._create_lora_modules"
_ACTIVATED = f"{MANAGER}:LoRAModelManager.activate_adapter"
_READ = f"{WORKER_MANAGER}:WorkerLoRAManager._load_adapter"
_STEPPED = f"{RUNNER}:GPUModelRunner.execute_model"
POINTS = (_CREATED, _ACTIVATED, _READ, _STEPPED)
"""What the probe needs in each vLLM; the second runner's step has the name of the first one's."""

Original = Callable[..., Any]

_probe: "Probe | None" = None


def install(config: Mapping[str, Any], report: Report) -> None:
    """Put the hooks in, once each module is imported. `config`: {"folder", limits of the files}.

    A hook point that this vLLM does not have is an error in the report, by name. A process that
    was forked from one with the hooks only learns where to write.
    """
    global _probe
    if _probe is not None:
        _probe.move_to(Path(config["folder"]), report)
        return
    _probe = Probe(Path(config["folder"]), config, report)
    for name, action in (
        (MANAGER, _probe.hook_manager),
        (WORKER_MANAGER, _probe.hook_worker_manager),
        (RUNNER, _probe.hook_runner),
        (SECOND_RUNNER, _probe.hook_runner),
    ):
        if hooks.module_exists(name):
            hooks.when_imported(name, action)
        elif name != SECOND_RUNNER:
            _probe.missing(name)


class Probe:
    """All that the probe knows in one process; the parts that touch vLLM are the `hook_…`."""

    def __init__(self, folder: Path, limits: Mapping[str, Any], report: Report) -> None:
        self._folder = folder
        self._report = report
        self._limits = {
            key: int(limits[key]) for key in ("segment_bytes", "segments") if key in limits
        }
        self._names: dict[int, str] = {}
        self._kept: dict[int, dict[str, list[str]]] = {}
        self._adapter_of: dict[str, str | None] = {}
        self._steps: SegmentedFile | None = None
        self._adapters: SegmentedFile | None = None
        self._layers: Layers | None = None
        self._step: Step | None = None
        self._alike: tuple[Any, ...] | None = None
        self._texts: list[str] = []
        self._count = 0

    def move_to(self, folder: Path, report: Report) -> None:
        """Write to another folder, report to another report, from now on."""
        self._folder, self._report = folder, report

    def missing(self, name: str) -> None:
        """A hook point is gone: say so in the report, which makes it an error of the harness."""
        self._report.notes["error"] = f"the probe's hook point is gone: {name}"
        self._report.write()

    def hook_manager(self, module: ModuleType) -> None:
        """After the layers are wrapped: hook them. After an adapter is activated: note its use."""

        def wrapped(original: Original) -> Original:
            def create_lora_modules(this: Any, *args: Any, **kwargs: Any) -> Any:
                outcome = original(this, *args, **kwargs)
                self._begin(this)
                return outcome

            return create_lora_modules

        def activated(original: Original) -> Original:
            def activate_adapter(this: Any, lora_id: int, *args: Any, **kwargs: Any) -> Any:
                layers = self._layers
                if layers is None or lora_id not in self._names:
                    return original(this, lora_id, *args, **kwargs)
                layers.watch_sets()
                outcome = original(this, lora_id, *args, **kwargs)
                used = layers.sets_seen()
                if outcome:
                    self._note_adapter(lora_id, used)
                return outcome

            return activate_adapter

        self._replace(module, _CREATED, wrapped)
        self._replace(module, _ACTIVATED, activated)

    def hook_worker_manager(self, module: ModuleType) -> None:
        """After an adapter is read: its name, and the tensors that vLLM kept of it."""

        def read(original: Original) -> Original:
            def load_adapter(this: Any, lora_request: Any, *args: Any, **kwargs: Any) -> Any:
                lora = original(this, lora_request, *args, **kwargs)
                number = lora_request.lora_int_id
                self._names[number] = lora_request.lora_name
                self._kept[number] = {
                    name: [
                        side
                        for side, attribute in (("lora_A", "lora_a"), ("lora_B", "lora_b"))
                        if getattr(weights, attribute, None) is not None
                    ]
                    for name, weights in lora.loras.items()
                }
                return lora

            return load_adapter

        self._replace(module, _READ, read)

    def hook_runner(self, module: ModuleType) -> None:
        """Around each step of real requests."""

        def stepped(original: Original) -> Original:
            def execute_model(this: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
                # The second runner sends its dummy runs through here as well.
                dummy = kwargs.get("dummy_run") or (len(args) > 1 and args[1] is True)
                if self._layers is None or dummy:
                    return original(this, scheduler_output, *args, **kwargs)
                self._note_scheduling(this)
                step = self._start_step(scheduler_output)
                try:
                    return original(this, scheduler_output, *args, **kwargs)
                except BaseException as error:
                    step.raised = f"{type(error).__name__}: {error}"[:500]
                    raise
                finally:
                    self._end_step(step, getattr(this, "input_batch", None))

            return execute_model

        self._replace(module, _STEPPED, stepped)

    def _replace(
        self, module: ModuleType, point: str, make: Callable[[Original], Original]
    ) -> None:
        try:
            hooks.replace(module, point.partition(":")[2], make)
        except hooks.HookGone as error:
            self.missing(str(error))

    def _begin(self, manager: Any) -> None:
        """The model's layers were wrapped: hook them and write the static list."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
        stem = self._folder / f"probe-{os.getpid()}"
        self._steps = SegmentedFile(stem.with_name(stem.name + ".steps"), **self._limits)
        self._adapters = SegmentedFile(stem.with_name(stem.name + ".adapters"), **self._limits)
        self._layers = Layers(manager, self.missing)
        self._layers.hook()
        self._hook_encoder(manager.model)
        self._layers.write(stem.with_name(stem.name + ".modules.json"))

    def _hook_encoder(self, model: Any) -> None:
        original = getattr(model, "embed_multimodal", None)
        if original is None:
            self.missing(f"{type(model).__name__}.embed_multimodal")
            return

        def embed_multimodal(*args: Any, **kwargs: Any) -> Any:
            layers, step = self._layers, self._step
            if layers is None or step is None:
                return original(*args, **kwargs)
            outer = layers.calls
            layers.calls = []
            step.calls[ENCODER].append(layers.calls)
            try:
                return original(*args, **kwargs)
            finally:
                layers.calls = outer

        model.embed_multimodal = embed_multimodal

    def _start_step(self, scheduled: Any) -> Step:
        for request in scheduled.finished_req_ids:
            self._adapter_of.pop(request, None)
        for new in scheduled.scheduled_new_reqs:
            lora = new.lora_request
            self._adapter_of[new.req_id] = lora.lora_name if lora is not None else None
        images = scheduled.scheduled_encoder_inputs
        tokens = scheduled.num_scheduled_tokens
        # The encoder's order first: it is that of `scheduled_encoder_inputs`.
        requests = [
            {
                "id": request,
                "adapter": self._adapter_of.get(request),
                "tokens": tokens.get(request, 0),
                "images": list(images.get(request, ())),
            }
            for request in {**images, **tokens}
        ]
        self._count += 1
        assert self._layers is not None
        language: list[Call] = []
        self._layers.calls = language
        self._step = Step(self._count, requests, {ENCODER: [], LANGUAGE: [language]})
        return self._step

    def _end_step(self, step: Step, batch: Any) -> None:
        self._step = None
        # Rows of the language model lie in the batch's order, which is not the scheduler's.
        step.batch = list(getattr(batch, "req_ids", ()))
        if self._layers is not None:
            self._layers.calls = None
        if self._steps is None or not step.requests:
            return
        # While a batch decodes, every step is like the last: its text is made once.
        alike = None
        if step.raised is None and not step.calls[ENCODER]:
            alike = (step.requests, step.batch, step.calls[LANGUAGE])
        if alike is None or alike != self._alike:
            self._texts = [encoded(record) for record in records(step, self._names)]
        self._alike = alike
        self._steps.append_encoded(self._texts, f'"step":{step.number},')

    def _note_scheduling(self, runner: Any) -> None:
        """Whether the next step is scheduled while this one runs: what became of the flag."""
        config = getattr(getattr(runner, "vllm_config", None), "scheduler_config", None)
        ahead = getattr(config, "async_scheduling", None)
        if ahead is not None and "async_scheduling" not in self._report.notes:
            self._report.notes["async_scheduling"] = bool(ahead)
            self._report.write()

    def _note_adapter(self, number: int, used: Mapping[str, Any]) -> None:
        if self._adapters is not None:
            self._adapters.append(
                [
                    {
                        "adapter": self._names[number],
                        "id": number,
                        "kept": self._kept.get(number, {}),
                        **used,
                    }
                ]
            )
