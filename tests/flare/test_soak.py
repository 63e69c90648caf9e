"""No process of a federation grows from round to round."""

from pathlib import Path

import pytest
from loopback import Federation
from soak import FLAT, RETRY_S, ROUNDS, growth, soak
from tiny import SITES

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]


@pytest.mark.timeout(2400)
def test_memory_of_every_process_stays_flat(
    tmp_path: Path, tiny_sites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in RETRY_S.items():
        monkeypatch.setenv(name, value)
    with Federation(tmp_path, tiny_sites, SITES) as federation:
        federation.provision()
        federation.start()
        federation.be("lead@hub.org")
        federation.wait_ready()
        samples, filled = soak(federation, ROUNDS)
        found = growth(samples, ROUNDS, filled)
    assert len(found) == 2 + 3 * len(SITES)
    assert not {name: row for name, row in found.items() if row["grown"] > FLAT}
