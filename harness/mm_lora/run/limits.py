"""What a run with its profile cannot see; every report says it, so that a pass is not over-read."""

from collections.abc import Sequence

from mm_lora.run.profiles import Profile


def of(profile: Profile, measured: Sequence[str] = ()) -> list[str]:
    """One sentence for each thing that this profile's checks would let pass.

    `measured`: what the tolerances of its servers let pass, once they are known.
    """
    said = []
    if "reference" not in profile.truths:
        said.append(
            "no fp32 reference: no check compares these answers with transformers and PEFT; checks "
            "that need it are skipped (no-reference)"
        )
        said.append(
            "an error that is the same in every answer with an adapter, such as a factor inside "
            "the LoRA kernel: all relations hold between equally wrong answers"
        )
    if measured:
        said += measured
    elif profile.dtype != "float32":
        said.append(
            f"a wrong answer less than {profile.tolerance:g} in logprob from the right one: "
            f"the most that {profile.dtype} is allowed"
        )
    if profile.dtype != "float32":
        said.append("what comes after a tie between two tokens: both answers are right")
    if "rows" not in profile.truths:
        said.append(
            "rows inside the layers: a wrong row count shows only where it changes an answer, and "
            "whether requests met in one batch is not known"
        )
    if profile.dtype != "float32":
        said.append("adapters on experts and on the patch embedding: the flags wrap neither")
    return said
