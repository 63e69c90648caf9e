"""What a kit brings in local/ is what FLARE reads there, and the page shows a site file."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nvflare.apis.fl_constant import FilterKey, FLContextKey, SystemComponents
from nvflare.private.fed.app.fl_conf import create_privacy_manager
from nvflare.private.fed.client.client_engine import ClientEngine

from fedefm.config import read_site
from fedefm.errors import PolicyRefused
from nvflare_jobs.components.budget_guard import BudgetGuard
from nvflare_jobs.components.gate_filter import GateFilter
from nvflare_jobs.components.refusals import require_gate
from provisioning.making import make_project
from provisioning.project import project

PAGE = Path(__file__).resolve().parents[3] / "docs" / "flare.md"
PROVISION = "import sys; from nvflare.cli import main; sys.exit(main())"
PRIVACY, GUARD = "local/privacy.json", "local/fedefm__p_resources.json"


def block_after(words: str, language: str) -> str:
    """The first block of code after ``words`` on the page."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"```{language}\n(.*?)```", text[text.index(words) :], re.DOTALL)
    assert found
    return found.group(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's kit, as a hub makes it."""
    folder = tmp_path_factory.mktemp("hub") / "hearts"
    people = (["ann@uni.org"], [], ["ida@uni.org"])
    make_project(project("hearts", "localhost", 8104, ["hosp-a"], *people), folder)
    subprocess.run(
        [sys.executable, "-c", PROVISION, "provision", "-p", "project.yml"],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return folder / "workspace" / "hearts" / "prod_00" / "hosp-a"


@pytest.fixture
def written(kit, made: Path):
    """Puts a file of the provisioned kit into ``kit``, and says what is in it."""

    def put(name: str) -> dict:
        text = (made / name).read_text()
        (kit.root / name).write_text(text)
        return json.loads(text)

    return put


def scope_of(kit):
    """The scope of a job, as FLARE's job process reads it."""
    manager = create_privacy_manager(kit.workspace, names_only=False)
    return manager.get_scope(None)


def guards(resources: dict) -> list[dict]:
    return [c for c in resources["components"] if c["id"] == SystemComponents.APP_DEPLOYER]


def context(kit, scope):
    fl_ctx = kit.context
    fl_ctx.set_prop(FLContextKey.SCOPE_OBJECT, scope)
    return fl_ctx


def test_the_gate_is_in_both_chains_of_the_default_scope(kit, written) -> None:
    written(PRIVACY)
    scope = scope_of(kit)
    for chain in (scope.task_data_filters, scope.task_result_filters):
        assert [type(each) for each in chain[FilterKey.OUT]] == [GateFilter]
    require_gate(context(kit, scope))


@pytest.mark.parametrize("part", ["task_data_filters", "task_result_filters"])
@pytest.mark.parametrize("change", ["gone", "in"])
def test_half_a_gate_is_none(kit, written, part, change) -> None:
    settings = written(PRIVACY)
    (scope,) = settings["scopes"]
    if change == "gone":
        scope[part] = []
    else:
        scope[part][0]["direction"] = "in"
    (kit.root / PRIVACY).write_text(json.dumps(settings))
    with pytest.raises(PolicyRefused, match="without its gate"):
        require_gate(context(kit, scope_of(kit)))


def test_a_site_without_scopes_has_no_gate(kit) -> None:
    with pytest.raises(PolicyRefused, match="without its gate"):
        require_gate(context(kit, None))


def test_the_guard_is_what_flare_deploys_with_in_the_parent_process_only(kit, written) -> None:
    (component,) = guards(written(GUARD))
    module, _, name = component["path"].rpartition(".")
    guard = getattr(importlib.import_module(module), name)(**component["args"])
    assert callable(guard.deploy)
    for process, expected in (("parent", True), ("job", False)):
        files = kit.workspace.get_config_files_for_startup(False, for_job=process == "job")
        assert (str(kit.root / GUARD) in files) == expected


def test_the_lines_of_the_site_file_are_settings(kit) -> None:
    lines = block_after("says so in its `local/fedefm_site.yaml`", "text")
    kit.site_file.write_text(f"datasets: {{}}\n{lines}")
    site = read_site(kit.site_file)
    assert site.policy.require_dp
    assert site.ledger is not None


def test_flares_client_hands_jobs_to_the_guard_and_tells_the_server_its_words(
    kit, written, tiny_run
) -> None:
    components = {component["id"]: BudgetGuard() for component in guards(written(GUARD))}
    kit.set(policy={"require_dp": True})
    engine = SimpleNamespace(
        args=SimpleNamespace(workspace=str(kit.root)),
        get_component=components.get,
        new_context=lambda: kit.context,
    )
    app = kit.packed(kit.app_of(tiny_run))
    told = ClientEngine.deploy_app(engine, "app", kit.job, {}, kit.site, app)
    assert told.startswith("NVFLARE_ERROR: PolicyRefused: site 'hosp-a' requires differential")
