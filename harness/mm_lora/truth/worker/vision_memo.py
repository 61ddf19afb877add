"""Keeps what tower and connector made of a medium, so that equal questions do not compute it again.

The base and every adapter of the language model see the same rows; so does each adapter at its
second question about a medium. A module's output is known by its input and by its weights, bit by
bit, so that no adapter is answered with another's rows, and nothing has to be forgotten.
"""

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mm_lora.families.modules import LANGUAGE
from mm_lora.families.torch_side import TorchSide

ROOM = 256 << 20
"""Bytes of outputs that are kept, the newest."""

_PLAIN = (bool, int, float, str, type(None))


class VisionMemo:
    """The kept outputs of one model's vision parts. `hits`: calls that were
    answered from them."""

    def __init__(self) -> None:
        self.hits = 0
        self._held = 0
        self._kept: OrderedDict[tuple[object, ...], tuple[Any, int]] = OrderedDict()
        self._off = False

    def install(self, model: Any, paths: Iterable[str]) -> None:
        """Put it before the forward of the modules at these paths."""
        for path in paths:
            module = model.get_submodule(path)
            module.forward = self._remembering(path, module, module.forward)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Meanwhile every module computes: its code is not what it was, or is itself in doubt."""
        before, self._off = self._off, True
        try:
            yield
        finally:
            self._off = before

    def _remembering(self, path: str, module: Any, forward: Callable[..., Any]) -> Any:
        def remembering(*given: Any, **named: Any) -> Any:
            asked = None if self._off else _digest((given, named))
            if asked is None:
                return forward(*given, **named)
            key = (path, asked, weights_sum(module))
            if key in self._kept:
                self.hits += 1
                self._kept.move_to_end(key)
                return _copy(self._kept[key][0])
            made = forward(*given, **named)
            self._keep(key, made)
            return made

        return remembering

    def _keep(self, key: tuple[object, ...], made: Any) -> None:
        size = _size(made)
        if size is None or size > ROOM:
            return
        self._kept[key] = (_copy(made), size)
        self._held += size
        while self._held > ROOM:
            _, (_, freed) = self._kept.popitem(last=False)
            self._held -= freed


def vision_paths(family: TorchSide, model: Any) -> list[str]:
    """The topmost modules that hold what adapters target of tower and connector, and nothing of the
    language model."""
    import torch

    vision, mixed = [], {""}
    for path, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        saved = family.saved_names(f"{path}.weight").removesuffix(".weight")
        roles = {group.role for group in family.family.groups.values() if group.has(saved)}
        if LANGUAGE in roles or path == family.head.removesuffix(".weight"):
            mixed.update(_ancestors(path))
        elif roles:
            vision.append(path)
    tops = (next((one for one in _ancestors(path) if one not in mixed), path) for path in vision)
    return list(dict.fromkeys(tops))


def weights_sum(module: Any) -> int:
    """A checksum over every bit of a module's parameters and buffers."""
    total = 0
    for tensor in (*module.parameters(), *module.buffers()):
        total = zlib.crc32(_bytes(tensor), total)
    return total


def _ancestors(path: str) -> list[str]:
    """A module's path and those it lies in, the topmost first."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _bytes(tensor: Any) -> Any:
    import torch

    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()


def _digest(value: Any) -> str | None:
    """Of tensors and plain values however nested, None where there is anything else."""
    import torch
    from torch.utils import _pytree as pytree

    leaves, shape = pytree.tree_flatten(value)
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            digest.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
            digest.update(_bytes(leaf))
        elif isinstance(leaf, _PLAIN):
            digest.update(repr(leaf).encode())
        else:
            return None
    return digest.hexdigest()


def _size(value: Any) -> int | None:
    """Bytes of an output's tensors, None where it has anything else but plain values."""
    import torch
    from torch.utils import _pytree as pytree

    total = 0
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            total += leaf.numel() * leaf.element_size()
        elif not isinstance(leaf, _PLAIN):
            return None
    return total


def _copy(value: Any) -> Any:
    """With tensors of its own: what follows may change them in place."""
    import torch
    from torch.utils import _pytree as pytree

    return pytree.tree_map(
        lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, value
    )
