"""pip's configuration in uv's words."""

from pathlib import Path

import pytest

from mm_lora.install.client_settings import parse_config_list, uv_variables


def everything_exists(path: Path) -> bool:
    return True


def nothing_exists(path: Path) -> bool:
    return False


def test_sections_are_merged_in_pips_order() -> None:
    text = "\n".join(
        (
            "freeze.timeout='1'",
            ":env:.find-links='/from/env'",
            "global.find-links='/from/file'",
            "global.extra-index-url='\\nhttps://a/simple\\nhttps://b/simple'",
            "install.no_index='true'",
            "not a line of pip's",
        )
    )
    assert parse_config_list(text) == {
        "find-links": "/from/env",
        "extra-index-url": "\nhttps://a/simple\nhttps://b/simple",
        "no-index": "true",
    }


@pytest.mark.parametrize(
    ("pip", "uv"),
    [
        ({}, {}),
        ({"find-links": "/a file:///b"}, {"UV_FIND_LINKS": "/a,file:///b"}),
        ({"index-url": "https://a/simple"}, {"UV_DEFAULT_INDEX": "https://a/simple"}),
        (
            {"extra-index-url": "\nhttps://a/simple\nhttps://b/simple"},
            {
                "UV_INDEX": "https://a/simple https://b/simple",
                "UV_INDEX_STRATEGY": "unsafe-best-match",
            },
        ),
        ({"no-index": "true"}, {"UV_NO_INDEX": "1"}),
        ({"no-index": "false"}, {}),
        ({"constraint": "/c.txt"}, {"UV_CONSTRAINT": "/c.txt"}),
        ({"trusted-host": "a b"}, {"UV_INSECURE_HOST": "a b"}),
        ({"cert": "/ca.pem"}, {"SSL_CERT_FILE": "/ca.pem"}),
        ({"proxy": "http://p:1"}, {"ALL_PROXY": "http://p:1"}),
        ({"default-timeout": "180"}, {"UV_HTTP_TIMEOUT": "180"}),
        ({"keyring-provider": "subprocess"}, {"UV_KEYRING_PROVIDER": "subprocess"}),
    ],
)
def test_translation(pip: dict[str, str], uv: dict[str, str]) -> None:
    assert uv_variables(pip, {}, everything_exists) == uv


@pytest.mark.parametrize(
    ("pip", "environ"),
    [
        ({"find-links": "/a"}, {"UV_FIND_LINKS": "/mine"}),
        ({"index-url": "https://a"}, {"UV_INDEX_URL": "https://mine"}),
        ({"index-url": "https://a"}, {"UV_DEFAULT_INDEX": "https://mine"}),
        ({"extra-index-url": "https://a"}, {"UV_INDEX": "https://mine"}),
        ({"extra-index-url": "https://a"}, {"UV_EXTRA_INDEX_URL": "https://mine"}),
        ({"proxy": "http://p:1"}, {"HTTPS_PROXY": "http://mine"}),
    ],
)
def test_what_the_user_told_uv_wins(pip: dict[str, str], environ: dict[str, str]) -> None:
    assert uv_variables(pip, environ, everything_exists) == {}


def test_her_index_strategy_wins_too() -> None:
    added = uv_variables({"extra-index-url": "https://a"}, {"UV_INDEX_STRATEGY": "first-index"})
    assert added == {"UV_INDEX": "https://a"}


def test_local_folders_that_do_not_exist_are_passed_over_as_pip_does() -> None:
    pip = {"find-links": "/gone https://a/wheels", "extra-index-url": "file:///gone/simple"}
    assert uv_variables(pip, {}, nothing_exists) == {"UV_FIND_LINKS": "https://a/wheels"}


def test_quoted_file_addresses_are_looked_up_unquoted(tmp_path: Path) -> None:
    (tmp_path / "two words").mkdir()
    address = f"file://{tmp_path}/two%20words"
    assert uv_variables({"find-links": address}, {}) == {"UV_FIND_LINKS": address}
