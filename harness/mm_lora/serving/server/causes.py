"""The causes of a server's death that its log shows: patterns and messages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """A log line that matches `pattern` means `cause`; "{0}" in it is the pattern's first group.

    `is_survived`: a running server may say so and live on, as of an adapter that it refuses.
    """

    kind: str
    pattern: str
    cause: str
    check: str
    is_survived: bool = False


# Patterns are searched without case; the first that matches wins: specific lines before those that
# also follow from them.
CAUSES: tuple[Cause, ...] = (
    Cause(
        kind="no-vllm",
        pattern=r"No module named '?(vllm)\b",
        cause="this interpreter has no vLLM",
        check="--server-python; `mm-lora doctor` shows what is installed",
    ),
    Cause(
        kind="no-fast-start",
        pattern=r"a fast start was asked for and is not possible: ([^\n]+)",
        cause="no fast start here: {0}",
        check="`--set start=auto`, which then starts plain",
    ),
    Cause(
        kind="no-module",
        pattern=r"ModuleNotFoundError: No module named '((?!triton)[^']+)'",
        cause="the server's interpreter lacks the module {0}",
        check="whether vLLM's own dependencies are installed there: `mm-lora doctor`",
    ),
    Cause(
        kind="port-taken",
        pattern=r"(?:address already in use|EADDRINUSE)",
        cause="the port is in use",
        check="another server on it, or leave the port out to take a free one",
    ),
    Cause(
        kind="disk-full",
        pattern=r"(?:No space left on device|ENOSPC|Disk quota exceeded)",
        cause="the disk is full",
        check="free space in the reports, cache and temporary folders (`df -h`), and in /dev/shm",
    ),
    Cause(
        kind="rank-too-high",
        pattern=r"LoRA rank (\d+) is greater than max_lora_rank",
        cause="an adapter has rank {0}, above the server's maximum",
        check="--max-lora-rank, or an adapter of a lower rank",
        is_survived=True,
    ),
    Cause(
        kind="adapter-missing",
        pattern=r"(?:No adapter found for (\S+)|Loading lora [^\n]* failed: No adapter)",
        cause="an adapter's folder is missing or has no adapter_config.json",
        check="the adapter's path, and that the server's user can read it",
        is_survived=True,
    ),
    Cause(
        kind="adapter-unfit",
        pattern=r"((?:expected target modules in|target modules [^\n]* not found|"
        r"unexpected modules)[^\n]{0,200})",
        cause="an adapter names modules that this model or --lora-target-modules does "
        "not have: {0}",
        check="that the adapter was made for this model: `mm-lora verify --adapter NAME=FOLDER` "
        "says what does not fit",
        is_survived=True,
    ),
    Cause(
        kind="unknown-flag",
        pattern=r"error: unrecognized arguments: ([^\n]+)",
        cause="this vLLM does not know {0}",
        check="the vLLM version against the profile's [flags]",
    ),
    Cause(
        kind="bad-flag",
        pattern=r"api_server\.py: error: ([^\n]+)",
        cause="vLLM refuses its command line: {0}",
        check="the profile's [flags] and --set",
    ),
    Cause(
        kind="checkpoint-damaged",
        pattern=r"((?:SafetensorError|safetensors_rust|HeaderTooLarge|"
        r"MetadataIncompleteBuffer|InvalidHeaderDeserialization|Cannot find any "
        r"model weights)[^\n]{0,200})",
        cause="the checkpoint's weights cannot be read: {0}",
        check="the model folder; a built one can be deleted from the cache and is built again",
    ),
    Cause(
        kind="checkpoint-wrong",
        pattern=r"((?:JSONDecodeError|Unrecognized model in|does not appear to have a "
        r"file named|Invalid repository ID or local directory|The following "
        r"weights were not initialized|There is no module or parameter "
        r"named)[^\n]{0,200})",
        cause="the checkpoint is incomplete, or was made for another model: {0}",
        check="config.json, tokenizer and weights in the model folder",
    ),
    Cause(
        kind="row-count",
        pattern=r"(einsum\(\)[^\n]{0,300}|The size of tensor a \(\d+\) must "
        r"match[^\n]{0,200})",
        cause="a LoRA layer saw a different number of rows than vLLM counted for it: {0}",
        check="the model's token-count hook, and which modules --lora-target-modules wraps",
    ),
    Cause(
        kind="triton-missing",
        pattern=r"((?:No module named 'triton|TritonPlaceholder|TritonExperts|'?triton'? "
        r"is not (?:available|installed))[^\n]{0,200})",
        cause="Triton-only code was chosen on a machine without Triton: {0}",
        check="that the compat patches are applied (the server's patches in the report)",
    ),
    Cause(
        kind="out-of-memory",
        pattern=r"((?:OutOfMemoryError|CUDA out of memory|Cannot allocate memory|"
        r"MemoryError|is less than desired [^\n]*memory utilization|No available "
        r"memory for the cache blocks|not enough memory)[^\n]{0,200})",
        cause="not enough memory: {0}",
        check="free memory, other servers, VLLM_CPU_KVCACHE_SPACE and --max-model-len",
    ),
    Cause(
        kind="no-tower-lora",
        pattern=r"(empty\(\) received an invalid combination of arguments - got "
        r"\(NoneType)",
        cause="this vLLM has no tower/connector LoRA for this model",
        check="a later vLLM: `mm-lora families` says what the installed one claims",
    ),
    Cause(
        kind="torchvision",
        pattern=r"(operator torchvision::\w+ does not exist)",
        cause="torchvision's operators do not load beside this torch",
        check="that torch and torchvision are of one build: `mm-lora doctor`",
    ),
)
