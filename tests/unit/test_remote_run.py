"""A server that runs already stands for every spec of the plan, and keeps nothing of the run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mm_lora.run import remote
from mm_lora.run.builds import Builds
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions
from mm_lora.run.remote import Remote
from mm_lora.serving.server.spec import ServerSpec


class Adapters:
    """Has what the server has; the rest cannot be loaded. `made`: every one of them."""

    made: tuple["Adapters", ...] = ()

    def __init__(self, client: Any, served: tuple[str, ...], folders: Any) -> None:
        self.served, self.folders = served, folders
        self.absent: dict[str, str] = {}
        self.closed = False
        Adapters.made = (*Adapters.made, self)

    def want(self, names: tuple[str, ...]) -> None:
        self.absent = {name: "not taken" for name in names if name not in self.served}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> tuple[Remote, list[Any]]:
    served = SimpleNamespace(base_url="http://h:1", adapters=("all",), base="theirs")
    monkeypatch.setattr(remote, "RemoteServer", lambda url, key: served)
    monkeypatch.setattr(remote, "RemoteAdapters", Adapters)
    monkeypatch.setattr(remote, "Client", lambda *told: SimpleNamespace(told=told))
    monkeypatch.setattr(Adapters, "made", ())
    added: list[Any] = []
    pool: Any = SimpleNamespace(add=lambda spec, started: added.append((spec, started)))
    made = Remote(Builds(Inputs.read(RunOptions(base_url="http://h:1", profile="remote"))))
    names = (("all", "projector"), ("all",))
    made.attach(pool, [ServerSpec(model="scout", adapters=one) for one in names])
    return made, added


def test_each_spec_gets_the_server_that_is_there(attached: tuple[Remote, list[Any]]) -> None:
    remote_run, added = attached
    assert [spec.adapters for spec, _ in added] == [("all", "projector"), ("all",)]
    (_, first), (_, second) = added
    assert first.server is second.server is remote_run.server
    assert (first.base, first.absent) == ("theirs", {"projector": "not taken"})
    assert first.record.refused_adapters == {"projector": "not taken"}
    assert second.absent == {}
    assert first.client.told[0] == "http://h:1"


def test_a_folder_is_looked_for_by_the_specs_own_model(
    attached: tuple[Remote, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def folders(builds: Builds, model: str, names: tuple[str, ...]) -> dict[str, Path]:
        asked.append((model, names))
        return {}

    monkeypatch.setattr(Builds, "folders", folders)
    Adapters.made[0].folders(("projector",))
    assert asked == [("scout", ("projector",))]


def test_what_was_loaded_is_taken_back(attached: tuple[Remote, list[Any]]) -> None:
    attached[0].close()
    assert [one.closed for one in Adapters.made] == [True, True]
