"""What a name must answer after its adapter changes, and how a server's memory may grow."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mm_lora.adapters.files import WEIGHTS, copy, read, write
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.running import Served
from mm_lora.core.asking import Answer, Request, Shown
from mm_lora.core.errors import ServerError
from mm_lora.core.outcomes import largest_difference, told_apart


def request_for(
    served: Served, name: str, *, picture: Shown | None = None, tokens: int = 16
) -> Request:
    """The same picture and question for whoever bears the name."""
    shown = picture or served.family.sizes.picture("one")
    return Request(model=name, pictures=(shown,), max_tokens=tokens, top=5)


def loaded(check: Judge, outcome: tuple[int, str], what: str) -> None:
    """The server took it."""
    status, said = outcome
    check.claim(
        status == 200,
        expected="HTTP 200",
        observed=f"HTTP {status}: {said[:300]}",
        reason=f"{what} was refused",
    )


@contextmanager
def guest(served: Served, name: str) -> Iterator[None]:
    """Whatever becomes of an adapter inside, refused or not, the next check does not find it."""
    try:
        yield
    finally:
        # A server that died of it is not started again for this.
        if served.context.pool.is_ready(served.spec):
            with suppress(ServerError):
                served.unload(name)


def answers_as(
    served: Served,
    check: Judge,
    name: str,
    truth: str,
    *,
    not_as: str = "",
    parts: Sequence[Path] = (),
    cold: bool = False,
) -> Answer:
    """Judge that `name` answers as the adapter `truth` does, by the reference; where there is none,
    as the server itself answers under that adapter's own name.

    `not_as`: the adapter that it must not be; an answer that is that one's is predicted, and so is
    one that comes right once the caches are emptied. `parts`: folders of what a load that broke off
    may leave behind, predicted too.
    """
    request = request_for(served, name)
    answer = served.ask_cold(request) if cold else served.ask_again(request)
    check.equal([], answer.problems(request, None), "the answer is not valid")
    if not served.context.has_reference and truth in served.spec.adapters and name != truth:
        _as_itself(served, check, request, answer, truth, not_as)
        return answer
    right = served.forced(request, answer, truth=truth)
    predictors: dict[str, Sequence[Sequence[float]]] = {"as-the-base": right.bases}
    if not_as:
        predictors["as-the-other-adapter"] = served.forced(request, answer, truth=not_as).rights
    if parts:
        checkpoint = served.context.checkpoint(served.spec.model)
        predictors["as-a-part-of-the-refused"] = [
            values
            for part in parts
            for values in served.context.reference.forced(
                side=served.family.torch_side,
                checkpoint=checkpoint,
                adapter=part,
                request=request,
                token_ids=answer.token_ids,
                base_predictors=served.family.base_predicted(bool(request.media)),
            ).rights
        ]
    if not cold and _apart(right.rights, answer) > check.tolerance:
        again = served.ask_cold(request)
        mended = served.forced(request, again, truth=truth)
        if _apart(mended.rights, again) <= check.tolerance:
            predictors["right-from-empty-caches"] = [answer.logprobs]
    check.agrees(
        right.adapted,
        answer.logprobs,
        base=right.base,
        ties=right.ties,
        elsewhere=right.mistaken,
        predictors=predictors,
    )
    return answer


def _apart(rights: Sequence[Sequence[float]], answer: Answer) -> float:
    """How far the answer is from the nearest of the right ones."""
    return min(largest_difference(values, answer.logprobs) for values in rights)


def _as_itself(
    served: Served, check: Judge, request: Request, answer: Answer, truth: str, not_as: str
) -> None:
    """The server's own answer under the name `truth` is the right one; so from empty caches too."""
    right, again = served.ask_cold(request_for(served, truth)), served.ask_cold(request)
    predicted = []
    if told_apart(right, answer) > check.same:
        if told_apart(right, again) <= check.same:
            predicted.append("right-from-empty-caches")
        if not_as in served.spec.adapters:
            other = served.ask_cold(request_for(served, not_as))
            if told_apart(other, answer) <= check.same:
                predicted.append("as-the-other-adapter")
    check.same_answer(right, answer, predicted_by=predicted)
    check.same_answer(right, again)


def own_copy(context: Context, served: Served, adapter: str, label: str) -> Path:
    """A copy of a built adapter that may be changed under the server's eyes."""
    target = context.folder.path / "copies" / f"{served.spec.key}-{label}"
    shutil.rmtree(target, ignore_errors=True)
    return copy(served.built(adapter), target)


def broken_off(context: Context, served: Served, old: str, new: str, written: str) -> list[Path]:
    """What is in a slot when loading `new` breaks off after the keys that match `written`.

    With the rest of `old`, which was in that slot before, and in an empty slot.
    """
    tensors = read(served.built(new)).items()
    first = {key: tensor for key, tensor in tensors if re.search(written, key)}
    with_old = own_copy(context, served, old, f"{old}-and-part-of-{new}")
    write(with_old, {**read(with_old), **first})
    alone = own_copy(context, served, new, f"part-of-{new}")
    write(alone, first)
    return [with_old, alone]


def put(adapter: Path, target: Path) -> None:
    """Other bytes under the same path, as a training run leaves them."""
    for file in adapter.iterdir():
        if file.name.startswith("adapter_"):
            (target / file.name).write_bytes(file.read_bytes())


def memory(served: Served) -> int:
    """Bytes of memory that the server's processes have for themselves (RssAnon)."""
    total = 0
    for pid in served.pids:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def weight(folder: Path) -> int:
    """Bytes of an adapter's tensors."""
    return (folder / WEIGHTS).stat().st_size
