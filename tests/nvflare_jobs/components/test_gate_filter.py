"""The site's filter lets out this protocol under the site's own terms, and nothing else at all."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.impl.task_controller import TaskController
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.private.privacy_manager import Scope

from fedefm.config import RunConfig
from fedefm.errors import PolicyRefused
from fedefm.train.exchange import RoundStats
from fedefm.train.message import Message, Postbox
from fedefm.train.simulate import Outcome
from nvflare_jobs.components.gate_filter import GateFilter
from nvflare_jobs.components.sealed_task import SealedTask
from nvflare_jobs.parties.messages import pack_message, pack_numbers
from nvflare_jobs.parties.reports import report_of
from nvflare_jobs.parties.tasks import SHARE


@pytest.fixture
def private_kit(kit, tiny_run):
    """A site at which a private run has begun."""
    kit.deploy(kit.private(tiny_run))
    kit.begin(kit.private(tiny_run))
    return kit


def message(kit, **changes) -> Message:
    sealed = Postbox(kit.site, "tiny", kit.job).seal(0, "weights", "hosp-b", {"w": torch.ones(2)})
    return Message(replace(sealed.header, **changes), sealed.tensors)


def answer(**changes) -> dict:
    stats = RoundStats(loss=1.5, learning_rate=0.1, similarity={"hosp-b": 0.5})
    return {**report_of(Outcome(stats, seconds=2.0), None), **changes}


def assert_leaves(kit, shareable: Shareable) -> None:
    """FLARE would send the data as it was before a filter that returns another object."""
    before = repr(shareable)
    assert GateFilter().process(shareable, kit.context) is shareable
    assert repr(shareable) == before


def assert_stays(kit, shareable: Shareable, why: str) -> None:
    with pytest.raises(PolicyRefused, match=why):
        GateFilter().process(shareable, kit.context)


def test_messages_under_settled_entries_leave_and_newer_ones_too(private_kit) -> None:
    gate = GateFilter()
    for _ in range(2):
        sealed = pack_message(message(private_kit, mechanism=private_kit.spend()))
        for _ in range(2):
            assert gate.process(sealed, private_kit.context) is sealed


@pytest.mark.parametrize("forged", ["none", "", "dp:", "dp:" + "0" * 64, "DP:{entry}", "{entry}"])
def test_a_message_without_a_settled_entry_stays(private_kit, forged) -> None:
    entry = private_kit.spend().removeprefix("dp:")
    made = message(private_kit, mechanism=forged.format(entry=entry))
    assert_stays(private_kit, pack_message(made), "no settled entry of this run")


def test_an_entry_of_another_run_lets_nothing_out(private_kit) -> None:
    other = private_kit.spend(run_id="1f" * 16)
    assert_stays(private_kit, pack_message(message(private_kit, mechanism=other)), "of this run")


def test_steps_reserved_and_not_settled_let_nothing_out(private_kit) -> None:
    private_kit.spend()
    with private_kit.ledger() as ledger:
        ledger.account(private_kit.patients, private_kit.run_id).reserve(1)
        reserved = f"dp:{ledger.head().hash}"
    assert_stays(private_kit, pack_message(message(private_kit, mechanism=reserved)), "no settled")


def test_nothing_leaves_where_the_ledger_is_gone_or_in_doubt(private_kit) -> None:
    made = pack_message(message(private_kit, mechanism=private_kit.spend()))
    path = private_kit.root / "local" / "ledger.sqlite"
    path.with_name(f"{path.name}.head").unlink()
    assert_stays(private_kit, made, "LedgerCorrupt")
    path.unlink()
    assert_stays(private_kit, made, "is gone or empty")
    private_kit.set(ledger=None)
    assert_stays(private_kit, made, "no settled entry")


@pytest.mark.parametrize("field", ["job", "run_id", "sender"])
def test_a_message_of_another_job_or_site_stays(private_kit, field) -> None:
    made = message(private_kit, mechanism=private_kit.spend(), **{field: "another"})
    assert_stays(private_kit, pack_message(made), "and this is 'hosp-a'")


def test_a_run_that_is_not_private_may_send_plain_messages(kit, tiny_run) -> None:
    kit.deploy(tiny_run)
    assert_leaves(kit, pack_message(message(kit)))


@pytest.mark.parametrize("policy", [{"require_dp": True}, {"epsilon_cap": 3.0}])
def test_no_plain_message_leaves_a_site_that_counts_epsilon(kit, tiny_run, policy) -> None:
    kit.set(policy=policy)
    kit.deploy(tiny_run)
    assert_stays(kit, pack_message(message(kit)), "no settled entry")


def test_answers_leave_with_what_the_site_allows(kit, tiny_run) -> None:
    kit.deploy(tiny_run)
    holdings = {"bars": {"train": 4}}
    for told in (answer(), {"saved": [2, 1], "holdings": holdings}, {"refused": "a sentence"}):
        assert_leaves(kit, pack_numbers(told))
    kit.set(policy={"allowed_metrics": ["accuracy"]})
    assert_stays(kit, pack_numbers(answer()), "'loss', and the site keeps loss")
    quiet = answer(loss=None, similarity={}, seconds=0.0, exchange_seconds=0.0)
    assert_leaves(kit, pack_numbers(quiet))
    measured = {"validation": {"own": (1, 2)}}
    assert_stays(kit, pack_numbers({**quiet, "measured": measured}), "the site keeps images")


@pytest.fixture
def hiding_kit(kit, make_run):
    """A site at which a run with secure sums was deployed."""
    run = make_run(scenario="client_server", algorithm="fedavg")
    kit.deploy(RunConfig.model_validate({**run.model_dump(), "privacy": {"secagg": {}}}))
    return kit


def test_a_site_with_secure_sums_lets_out_their_packets_and_not_its_part(hiding_kit) -> None:
    postbox = Postbox(hiding_kit.site, "tiny", hiding_kit.job)
    some = torch.zeros(8, dtype=torch.uint8)
    packet = postbox.seal(0, "sum/masked", "server", {"payload": some, "vector": some + 1})
    assert_leaves(hiding_kit, pack_message(packet))
    for phase, part in (("sum", torch.ones(8)), ("sum/masked", torch.ones(8)), ("sum", some)):
        sealed = postbox.seal(0, phase, "server", {"vector": part})
        assert_stays(hiding_kit, pack_message(sealed), "nothing leaves")


@pytest.mark.parametrize(
    "told",
    [
        {"loss": 1.5},
        {"similarity": {"hosp-b": 0.5}},
        {"measured": {"validation": {"own": (1, 2)}}},
        {"holdings": {"bars": {"train": 4}}},
    ],
)
def test_a_site_with_secure_sums_tells_no_number_of_its_own(hiding_kit, told) -> None:
    quiet = answer(loss=None, similarity={})
    assert_leaves(hiding_kit, pack_numbers(quiet))
    assert_stays(hiding_kit, pack_numbers({**quiet, **told}), next(iter(told)))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (answer(similarity={}), "'loss'"),
        (answer(loss=None), "'similarity'"),
        (answer(loss=None, similarity={}), "'seconds'"),
        ({"saved": [], "holdings": {"bars": {"train": 4}}}, "'holdings', and the run is private"),
    ],
)
def test_a_private_site_tells_nothing_of_its_training_images(private_kit, told, why) -> None:
    assert_stays(private_kit, pack_numbers(told), why)


def test_a_private_site_tells_its_head_its_plan_and_what_it_spent(private_kit) -> None:
    head = {"sequence": 3, "hash": "ab" * 32}
    spent = {"epsilon": 2.5, "target_epsilon": None, "mechanisms": [{"steps": 3, "kind": "x"}]}
    planned = {"epsilon": 3.0, "costs": {"step": 0.5}}
    quiet = answer(
        loss=None,
        similarity={},
        seconds=0.0,
        exchange_seconds=0.0,
        ledger_head=head,
        privacy=spent,
        planned=planned,
    )
    assert_leaves(private_kit, pack_numbers(quiet))


@pytest.mark.parametrize(
    "told",
    [
        {"gradient": [0.1]},
        {"saved": ["a name"]},
        {"measured": {"validation": {"own": [[1, 2]]}}},
        {"reason": "x" * 100_000},
        {"ledger_head": {"sequence": [1]}},
    ],
)
def test_an_answer_that_no_site_gives_stays(kit, tiny_run, told) -> None:
    kit.deploy(tiny_run)
    assert_stays(kit, pack_numbers(told), "which no site tells|in a form that no site")


def with_header(shareable: Shareable) -> Shareable:
    shareable.set_header("images", "abc")
    return shareable


def with_more_data(shareable: Shareable) -> Shareable:
    shareable["DXO"]["data"]["more"] = 1
    return shareable


def with_meta(shareable: Shareable) -> Shareable:
    shareable["DXO"]["meta"]["images"] = [1.0]
    return shareable


@pytest.mark.parametrize(
    "strange",
    [
        Shareable({"images": [1.0]}),
        DXO(DataKind.WEIGHTS, data={"w": [1.0]}).to_shareable(),
        DXO(DataKind.APP_DEFINED, data={"x": 1}).to_shareable(),
        DXO(DataKind.APP_DEFINED, data={"message": b"\x00" * 20}).to_shareable(),
        with_header(pack_numbers({})),
        with_header(make_reply(ReturnCode.OK)),
        with_more_data(pack_numbers({})),
        with_meta(pack_numbers({})),
    ],
)
def test_anything_else_stays(kit, tiny_run, strange) -> None:
    kit.deploy(tiny_run)
    assert_stays(kit, strange, "nothing leaves")


def test_an_acknowledgment_leaves(kit, tiny_run) -> None:
    kit.deploy(tiny_run)
    assert_leaves(kit, make_reply(ReturnCode.OK))


def test_nothing_leaves_a_job_that_is_not_of_this_project(kit, tiny_run) -> None:
    assert_stays(kit, make_reply(ReturnCode.OK), "no job of this project")
    kit.deploy(tiny_run)
    config = next(kit.root.rglob("config_fed_client.json"))
    for old, new in (('"components": []', '"components": [{}]'), ("SiteExecutor", "Another")):
        changed = config.read_text().replace(old, new)
        assert changed != config.read_text()
        config.write_text(changed)
        assert_stays(kit, make_reply(ReturnCode.OK), "no job of this project")


def test_nothing_leaves_beside_a_stream_of_the_sites_log(kit, tiny_run) -> None:
    """FLARE adds it to each job of a site whose resources do not forbid it."""
    kit.deploy(tiny_run)
    config = next(kit.root.rglob("config_fed_client.json"))
    settings = json.loads(config.read_text())
    path = "nvflare.app_common.logging.job_log_streamer.JobLogStreamer"
    settings["components"] = [{"id": "auto_log_streamer", "path": path, "args": {}}]
    config.write_text(json.dumps(settings))
    assert_stays(kit, make_reply(ReturnCode.OK), '"allow_log_streaming": false')


class Engine:
    """As much of a FLARE client as sending needs; keeps what would leave."""

    all_clients = (SimpleNamespace(name="hosp-b"),)

    def __init__(self, kit) -> None:
        self.left: list[Shareable] = []
        self.get_workspace = lambda: kit.workspace

    def validate_targets(self, names):
        return names, []

    def fire_event(self, event_type, fl_ctx) -> None:
        return None

    def send_aux_request(self, targets, request, **settings):
        self.left.append(request)
        return {targets[0]: make_reply(ReturnCode.OK)}


def test_in_flares_own_chain_a_stopped_message_is_an_error_and_is_not_sent(private_kit) -> None:
    scope, controller, fl_ctx = Scope(), TaskController(), private_kit.context
    scope.add_task_data_filter(GateFilter(), "out")
    engine = Engine(private_kit)
    fl_ctx.get_engine = lambda: engine
    fl_ctx.set_prop(FLContextKey.RUNNER, None)
    fl_ctx.set_prop(FLContextKey.SCOPE_OBJECT, scope)
    codes = []
    for mechanism in (private_kit.spend(), "none"):
        made = pack_message(message(private_kit, mechanism=mechanism))
        replies = controller.broadcast_and_wait(
            SealedTask(SHARE, made, timeout=5), fl_ctx, targets=["hosp-b"], min_responses=1
        )
        codes.append(replies["hosp-b"].get_return_code())
    assert codes == [ReturnCode.OK, ReturnCode.TASK_DATA_FILTER_ERROR]
    assert len(engine.left) == 1
