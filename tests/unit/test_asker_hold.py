"""How long the requests of a batch are waited for before the server may schedule them."""

from mm_lora.serving.asker import MOST_HELD_S, held_s


def test_a_slow_machine_is_waited_for_longer_but_not_for_ever() -> None:
    quiet, busy = held_s(10, [0.2, 0.2, 60.0]), held_s(10, [1.5, 2.0, 60.0])
    assert held_s(10, []) == quiet < 1.0, "the first answer of a server is no measure"
    assert 3.0 < busy <= MOST_HELD_S
    assert held_s(64, [9.0]) == MOST_HELD_S
