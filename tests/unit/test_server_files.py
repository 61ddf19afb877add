"""The plugin's folder, the checks before a start, and the reservation of a port."""

import importlib.metadata
import json
import socket
import sys
from pathlib import Path

import pytest

import mm_lora
from mm_lora.core.errors import UsageError
from mm_lora.serving.server.checks import check_before_start
from mm_lora.serving.server.inside_folder import write_config, write_plugin_folder
from mm_lora.serving.server.port import PortReservation
from mm_lora.serving.server.spec import ServerSpec


def test_plugin_folder_is_a_distribution(tmp_path: Path) -> None:
    folder = write_plugin_folder(tmp_path / "plugin")
    assert (folder / "mm_lora_inside" / "plugin.py").is_file()
    assert (folder / "mm_lora_inside" / "families" / "llama4" / "unfold.py").is_file()
    assert not list(folder.rglob("__pycache__"))
    (found,) = importlib.metadata.distributions(path=[str(folder)])
    assert found.version == mm_lora.__version__
    assert {(point.group, point.name, point.value) for point in found.entry_points} == {
        ("vllm.general_plugins", "mm_lora", "mm_lora_inside.plugin:register"),
        ("vllm.platform_plugins", "mm_lora", "mm_lora_inside.plugin:early"),
    }


def test_plugin_folder_can_be_written_again(tmp_path: Path) -> None:
    write_plugin_folder(tmp_path)
    write_plugin_folder(tmp_path)


def test_inside_names_nothing_of_the_harness(tmp_path: Path) -> None:
    for path in write_plugin_folder(tmp_path).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "from mm_lora" not in text, path
        assert "import mm_lora" not in text, path


def test_config_is_json(tmp_path: Path) -> None:
    write_config(tmp_path / "inside.json", {"patches": ("auto",), "probe": None})
    assert json.loads((tmp_path / "inside.json").read_text())["patches"] == ["auto"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    checkpoint, adapter = tmp_path / "model", tmp_path / "adapter"
    for folder, name in ((checkpoint, "config.json"), (adapter, "adapter_config.json")):
        folder.mkdir()
        (folder / name).write_text("{}")
    return checkpoint, adapter


def check(checkpoint: Path, adapters: dict[str, Path], python: Path | None = None) -> None:
    spec = ServerSpec(model="scout", adapters=("a",))
    check_before_start(spec, python or Path(sys.executable), checkpoint, adapters)


def test_good_paths_pass(folders: tuple[Path, Path]) -> None:
    check(folders[0], {"a": folders[1]})


def test_bad_paths_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, adapter = folders
    with pytest.raises(UsageError, match="no folder for adapter 'a'"):
        check(checkpoint, {})
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        check(checkpoint, {"a": tmp_path / "nowhere"})
    with pytest.raises(UsageError, match=r"has no adapter_config\.json"):
        check(checkpoint, {"a": tmp_path})
    with pytest.raises(UsageError, match="is not a Python interpreter"):
        check(checkpoint, {"a": adapter}, tmp_path)
    (checkpoint / "config.json").write_text("{half")
    with pytest.raises(UsageError, match=r"config\.json cannot be read"):
        check(checkpoint, {"a": adapter})


def test_a_reserved_port_can_be_listened_on_but_is_given_to_nobody() -> None:
    held = PortReservation()
    with socket.socket() as server:  # as vLLM does it
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", held.port))
        server.listen()
        with pytest.raises(UsageError, match=f"port {held.port} .* is in use"):
            PortReservation(held.port)
        held.release()
        held.release()
        with socket.create_connection(("127.0.0.1", held.port), timeout=5):
            pass


def test_free_ports_differ() -> None:
    held = [PortReservation() for _ in range(5)]
    assert len({one.port for one in held}) == 5
    for one in held:
        one.release()
