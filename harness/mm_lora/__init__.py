"""mm-lora: proof that a vLLM applies LoRA adapters to the right rows of a multimodal model.

`verify` runs checks on a real server, `inspect` reads an adapter's files, `tokens` computes rows
and tokens. These names are all that is promised of the package (docs/api.md).
"""

from mm_lora.core.version import __version__

TYPE_CHECKING = False  # type checkers take it for true; importing typing would cost more than all
if TYPE_CHECKING:
    from mm_lora.checks.inspection.bench import inspect
    from mm_lora.checks.inspection.findings import Inspection
    from mm_lora.core.errors import MmLoraError, TroubleError, UsageError
    from mm_lora.core.report import Report
    from mm_lora.families.tokens import Tokens, tokens
    from mm_lora.run.verify import verify

__all__ = [
    "Inspection",
    "MmLoraError",
    "Report",
    "Tokens",
    "TroubleError",
    "UsageError",
    "__version__",
    "inspect",
    "tokens",
    "verify",
]

_PLACES = {
    "Inspection": "mm_lora.checks.inspection.findings",
    "MmLoraError": "mm_lora.core.errors",
    "Report": "mm_lora.core.report",
    "Tokens": "mm_lora.families.tokens",
    "TroubleError": "mm_lora.core.errors",
    "UsageError": "mm_lora.core.errors",
    "inspect": "mm_lora.checks.inspection.bench",
    "tokens": "mm_lora.families.tokens",
    "verify": "mm_lora.run.verify",
}
"""Where each is. Imported when it is asked for: `import mm_lora` itself loads nothing."""

if not TYPE_CHECKING:  # to a type checker, other names are not there

    def __getattr__(name):
        if name not in _PLACES:
            raise AttributeError(f"module 'mm_lora' has no attribute '{name}'")
        from importlib import import_module

        found = globals()[name] = getattr(import_module(_PLACES[name]), name)
        return found


def __dir__() -> list[str]:
    return __all__
