"""What follows a video begins after its greatest position, on whichever axis."""

from typing import Any

import numpy as np

from mm_lora.families.qwen.positions import VIDEO, after_the_greatest, stretches


class Tensor(np.ndarray[Any, Any]):
    """As much of a tensor as is asked for."""

    def clone(self) -> "Tensor":
        return self.copy()


def tensor(values: Any) -> Any:
    return np.array(values).view(Tensor)


def asked(positions: Any, kinds: list[int]) -> Any:
    def get_rope_index(input_ids: Any, **_: Any) -> Any:
        return tensor(positions)[:, None], tensor([[-3]])

    named = {"mm_token_type_ids": tensor([kinds])}
    found, deltas = after_the_greatest(get_rope_index)(None, **named)
    return found[:, 0].tolist(), deltas.tolist()


def test_stretches() -> None:
    assert stretches([0, 2, 2, 0, 1, 2], VIDEO) == [(1, 3), (5, 6)]
    assert stretches([0], VIDEO) == []


def test_text_moves_behind_a_videos_last_frame() -> None:
    rows = [[0, 1, 5, 2, 3], [0, 1, 1, 2, 3], [0, 1, 1, 2, 3]]
    found, deltas = asked(rows, [0, 2, 2, 0, 0])
    assert found[0] == [0, 1, 5, 6, 7]
    assert found[1] == found[2] == [0, 1, 1, 6, 7]
    assert deltas == [[1]]


def test_what_is_right_stays() -> None:
    right = [[0, 1, 1, 3, 4], [0, 1, 1, 3, 4], [0, 1, 2, 3, 4]]
    for kinds in ([0, 2, 2, 0, 0], [0, 1, 1, 0, 0]):
        assert asked(right, kinds) == (right, [[-3]])


def test_an_older_transformers_is_right_by_itself() -> None:
    given = (tensor([[[0]]]), tensor([[0]]))
    assert after_the_greatest(lambda *_, **__: given)(None) == given
