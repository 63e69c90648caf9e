"""Where a party's own files are: in its kit or, in a simulation, where a person says."""

from pathlib import Path

import pytest

from nvflare_jobs.parties import places


def test_a_server_s_own_file_is_in_its_kit_or_beside_the_simulated_sites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(places.SITES_DIR, raising=False)
    assert places.server_file(tmp_path / "local") == tmp_path / "local" / "fedefm_server.yaml"
    monkeypatch.setenv(places.SITES_DIR, str(tmp_path / "sites"))
    assert places.server_file(tmp_path / "local") == tmp_path / "sites" / "fedefm_server.yaml"
