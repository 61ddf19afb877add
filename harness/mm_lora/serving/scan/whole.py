"""What a class as a whole lacks: the hook, the flag, or LoRA itself."""

from collections.abc import Iterator

from mm_lora.serving.scan.claims import Claims
from mm_lora.serving.scan.findings import Finding, Kind

_FLAG = "--enable-tower-connector-lora"
_IGNORED = f"with {_FLAG} vLLM warns that the class does not support it, and ignores what an \
adapter has for tower and connector"

_DIES = f"a server with {_FLAG} does not start"


def of_class(said: Claims) -> Iterator[Finding]:
    """What a user notices of the class as a whole."""
    if said.counts and not said.lora:
        yield _class(
            said,
            Kind.NO_LORA,
            "a server with --enable-lora does not start",
            "the class counts rows for adapters, but is no SupportsLoRA",
        )
    elif said.counts and not said.flag:
        yield _class(
            said,
            Kind.FLAG,
            _IGNORED,
            "it has the hook, but supports_tower_connector_lora is not True",
        )
    elif said.counts and said.prefixes is None:
        yield _class(
            said,
            Kind.NO_HOOK,
            "every layer gets the language model's rows: a picture's "
            "rows get a wrong adapter or none",
            "it has the hook, but no get_mm_mapping",
        )
    elif said.lora and said.vision and not said.counts:
        yield _class(
            said,
            Kind.NO_HOOK,
            _DIES if said.flag else _IGNORED,
            f"get_mm_mapping names {', '.join(said.vision)}, but no hook counts their rows",
        )
    elif said.lora and said.unread:
        yield _class(
            said,
            Kind.UNKNOWN,
            "which layers are tower and connector cannot be read: look with a server",
            "what get_mm_mapping says is made at run time",
        )


def _class(said: Claims, kind: Kind, notice: str, evidence: str) -> Finding:
    return Finding(
        kind=kind,
        name=said.cls.name,
        path="",
        file=said.cls.module.file,
        line=said.cls.node.lineno,
        notice=notice,
        evidence=evidence,
    )
