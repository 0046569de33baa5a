"""`wsproto_handshake` alone: what opens a WebSocket, and what does not."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.wsproto_handshake import (
    UPGRADE_REQUIRED,
    accept,
    accept_key,
    choose_subprotocol,
)

HANDSHAKE = {
    "host": "localhost",
    "upgrade": "websocket",
    "connection": "keep-alive, Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


def shake(
    method: str = "GET", version: str = "1.1", **changed: str | None
) -> list[tuple[str, str]]:
    fields = HANDSHAKE | {name.replace("_", "-"): value for name, value in changed.items()}
    return accept(method, version, [(n, v) for n, v in fields.items() if v is not None])


def status_of(shaking: Callable[[], object]) -> int:
    with pytest.raises(RemoteProtocolError) as caught:
        shaking()
    return caught.value.code


def test_the_rfcs_own_key_is_answered() -> None:
    """RFC 6455 1.3."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert shake() == [
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]


def test_tokens_come_in_any_case_and_in_lists() -> None:
    assert shake(upgrade="h2c, WebSocket", connection="x ,\tUPGRADE")
    fields = [*HANDSHAKE.items(), ("connection", "close")]
    assert accept("GET", "1.1", fields) == shake()


def test_handshake_is_a_get_of_http_1_1() -> None:
    assert status_of(lambda: shake(method="POST")) == 405
    assert status_of(lambda: shake(version="1.0")) == 400


@pytest.mark.parametrize("value", [None, "", "upgradex", "keep-alive", "up grade"])
def test_connection_must_say_upgrade(value: str | None) -> None:
    assert status_of(lambda: shake(connection=value)) == 400


@pytest.mark.parametrize("value", [None, "", "websockets", "h2c"])
def test_upgrade_to_something_else_is_426(value: str | None) -> None:
    assert status_of(lambda: shake(upgrade=value)) == 426


@pytest.mark.parametrize("value", [None, "", "12", "99", "13, 8", "013", "1\u0663"])
def test_other_versions_are_426(value: str | None) -> None:
    """RFC 6455 4.4."""
    assert status_of(lambda: shake(sec_websocket_version=value)) == 426
    assert ("sec-websocket-version", "13") in UPGRADE_REQUIRED


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "dGhl",
        "dGhlIHNhbXBsZSBub25jZQ",
        " dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBs ZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==A",
        "dGhlIHNhbXBsZSBub25jZXE=",
        "dGhlIHNhbXBsZSBub25j_-==",
        "\xe9" * 24,
        "A" * 8192,
    ],
)
def test_key_is_16_bytes_in_base64(key: str | None) -> None:
    assert status_of(lambda: shake(sec_websocket_key=key)) == 400


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"method": "POST"}, "a WebSocket starts with GET, not POST (RFC 6455 4.2.1)"),
        ({"version": "1.0"}, "no upgrade from HTTP/1.0 (RFC 6455 4.2.1)"),
        ({"upgrade": "h2c"}, "Upgrade does not say websocket (RFC 6455 4.2.1)"),
        ({"connection": "close"}, "Connection does not say Upgrade (RFC 6455 4.2.1)"),
        ({"sec_websocket_version": "8"}, "Sec-WebSocket-Version is not 13 (RFC 6455 4.4)"),
        (
            {"sec_websocket_key": "x"},
            "Sec-WebSocket-Key is not 16 bytes in base64 (RFC 6455 4.2.1)",
        ),
    ],
)
def test_fault_names_the_field_and_the_rule(changed: dict[str, str], fault: str) -> None:
    with pytest.raises(RemoteProtocolError) as told:
        shake(**changed)
    assert str(told.value) == fault


def test_answer_426_says_what_to_ask_for() -> None:
    assert UPGRADE_REQUIRED == [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
    ]


def test_key_comes_once() -> None:
    twice = [*HANDSHAKE.items(), ("sec-websocket-key", HANDSHAKE["sec-websocket-key"])]
    assert status_of(lambda: accept("GET", "1.1", twice)) == 400


@pytest.mark.parametrize(
    "value",
    [
        "chat",
        "__proto__",
        " " * 8192,
        "," * 4000,
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=abc; server_max_window_bits=abc",
        "constructor" * 700,
    ],
)
@pytest.mark.parametrize("name", ["sec_websocket_protocol", "sec_websocket_extensions"])
def test_offer_that_is_not_known_is_not_taken(name: str, value: str) -> None:
    """RFC 6455 4.2.2: an answer without the field declines all that was offered."""
    assert shake(**{name: value}) == shake()


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([], ""),
        (["chat"], "chat"),
        (["superchat, chat"], "superchat"),
        (["other,\tchat ,superchat"], "chat"),
        (["other", "superchat", "chat"], "superchat"),
        (["chat, chat"], "chat"),
        (["Chat"], ""),
        (["chat superchat"], ""),
        (['"chat"'], ""),
        ([""], ""),
        ([" " * 8192], ""),
        (["," * 8000 + "chat"], "chat"),
        (["__proto__," * 800], ""),
    ],
)
def test_subprotocol_is_the_first_of_the_clients_that_is_known(
    values: list[str], chosen: str
) -> None:
    """RFC 6455 4.2.2, /subprotocol/."""
    assert choose_subprotocol(values, ["chat", "superchat"]) == chosen
    assert choose_subprotocol(values, []) == ""


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([], ""),
        (["chat"], "chat"),
        (['a b,\t"c", , chat;q=1, other', "chat"], "other"),
        (["", "x-1.0"], "x-1.0"),
        (["caf\xe9"], ""),
    ],
)
def test_any_subprotocol_will_do_that_is_a_token(values: list[str], chosen: str) -> None:
    assert choose_subprotocol(values, None) == chosen


def test_keys_are_random_bytes_of_the_peer() -> None:
    """Any 16 bytes do, whatever they are."""
    for nonce in (bytes(16), b"\xff" * 16):
        assert shake(sec_websocket_key=base64.b64encode(nonce).decode())
