"""A server that is not there is told of at once, by its address and with the way out."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvflare_jobs.admin import server
from nvflare_jobs.admin.flare_words import ServerGone
from nvflare_jobs.admin.knocking import knock
from nvflare_jobs.admin.person_kit import PersonKit
from provisioning.reach import PROXIES


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def kit(port: int, host: str = "127.0.0.1") -> PersonKit:
    return PersonKit(Path("kit"), "lead@hub.org", host, port)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


def test_who_listens_may_be_asked(listener: socket.socket) -> None:
    knock(kit(listener.getsockname()[1]))


def test_nobody_there_is_one_sentence_with_the_address_and_without_flare(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "new_secure_session", lambda *_, **__: pytest.fail("asked FLARE"))
    with pytest.raises(ServerGone) as gone:
        server.log_in(kit(closed_port))
    said = str(gone.value)
    assert said.startswith(f"127.0.0.1:{closed_port} cannot be reached; check that it runs")
    assert "Connection refused" in said
    assert "\n" not in said


def test_a_name_that_cannot_be_resolved_is_named() -> None:
    with pytest.raises(ServerGone, match=r"^nobody\.invalid:8002 cannot be reached"):
        knock(kit(8002, "nobody.invalid"))


def test_who_does_not_answer_is_waited_for_no_longer_than_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(address: object, timeout: float) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(ServerGone, match="no answer within 5 s"):
        knock(kit(8002))


def test_behind_a_proxy_only_flare_can_tell(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.uni.org:3128")
    knock(kit(closed_port))


def test_where_something_else_listens_flares_own_silence_names_the_address(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nvflare.fuel.flare_api.api_spec import NoConnection

    def silent(*_: object, **how: float) -> None:
        assert how["timeout"] <= 30
        raise NoConnection("cannot connect to FLARE")

    monkeypatch.setattr(server, "new_secure_session", silent)
    port = listener.getsockname()[1]
    with pytest.raises(ServerGone, match=rf"127\.0\.0\.1:{port} cannot be reached.*FLARE says"):
        server.log_in(kit(port))
