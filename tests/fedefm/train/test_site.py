"""A site's verbs: hosting leaves no trace, the average is an average, the state is whole."""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from fedefm.config import DistillConfig
from fedefm.errors import ModelError
from fedefm.model.weights import weights_of
from fedefm.seeding import generator_for
from fedefm.train.assemble import build_model, optimization_of
from fedefm.train.site import BANK_ROUNDS, mean_weights
from fedefm.train.trainer import PlainTrainer


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.fixture(params=["sgd", "adamw"])
def site(world, request):
    training = {"optimizer": request.param}
    run = world.settings(federation={"host_steps": 2}, training=training)
    site = world.sites(run)["north"]
    site.train_locally(0)
    return site


@pytest.fixture
def guest(world):
    return weights_of(build_model(world.settings().model_copy(update={"seed": 9})))


def test_hosting_leaves_weights_momentum_and_teachers_as_they_were(site, guest):
    site.experts = [guest]
    weights, momentum = site.weights(), site.trainer.state()
    arrived = {name: value.clone() for name, value in guest.items()}

    trained = site.host(guest, 0, "west")

    same(site.weights(), weights)
    same(site.trainer.state(), momentum)
    same(guest, arrived)
    assert site.experts == [guest]
    assert any((trained[name] - guest[name]).abs().max() > 1e-5 for name in guest)


def test_hosting_that_fails_leaves_no_trace_either(site, guest):
    weights, momentum = site.weights(), site.trainer.state()
    broken = {name: value * float("inf") for name, value in guest.items()}
    with pytest.raises(ModelError):
        site.host(broken, 0, "west")
    same(site.weights(), weights)
    same(site.trainer.state(), momentum)


@pytest.mark.parametrize(("epochs", "images", "steps"), [(1, 8, 2), (3, 10, 8), (None, 10, 1)])
def test_an_epoch_is_as_many_steps_as_the_sites_images_take(world, epochs, images, steps):
    run = world.settings(federation={"local_epochs": epochs})
    site = world.sites(run, images=images)["north"]
    taken = []
    site.trainer.fit = lambda model, objective, count, *others: taken.append(count)
    with suppress(AttributeError):  # nothing was fitted, and nothing can be told
        site.train_locally(0)
    assert taken == [steps]


def test_a_guest_is_trained_on_labels_with_the_hosts_images_and_momentum(world, site, guest):
    model = build_model(world.settings())
    trainer = PlainTrainer(
        site.dataset,
        4,
        optimization_of(site.settings.training),
        transform=site.trainer._transform,
    )
    trainer.load_state(site.trainer.state())
    model.load_state_dict({**model.state_dict(), **guest})
    rng = generator_for(site.settings.seed, "north", 3, "host west")
    trainer.fit(model, site.objective, 2, 0.05 * 0.3, rng)

    same(site.host(guest, 3, "west"), weights_of(model))


def test_the_draws_for_one_guest_do_not_depend_on_other_guests(site, guest):
    alone = site.host(guest, 0, "west")
    site.host(site.weights(), 0, "east")
    same(site.host(guest, 0, "west"), alone)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(alone.values(), site.host(guest, 0, "east").values(), strict=True)
    )


def test_the_rate_drops_once(world):
    run = world.settings(
        training={"learning_rate": 0.1, "decay_at": 0.5, "decay_to": 0.2},
        federation={"rounds": 4},
    )
    site = world.sites(run)["north"]
    rates = [site.learning_rate(round_index) for round_index in range(4)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02])


def test_the_rate_rises_and_falls_by_the_round_where_the_run_file_says_so(world):
    run = world.settings(
        training={"learning_rate": 0.1, "schedule": "cosine", "warmup_rounds": 2},
        federation={"rounds": 6},
    )
    site = world.sites(run)["north"]
    rates = [site.learning_rate(round_index) for round_index in range(6)]
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.0853553, 0.05, 0.0146447], rel=1e-4)


@pytest.mark.parametrize("decay", [0.0, 0.85])
def test_the_average_over_rounds_is_exponential(world, decay):
    site = world.sites(world.settings(training={"average_decay": decay}))["north"]
    start = site.weights()
    wanted = None
    for number in (1.0, 4.0, -2.0):
        now = {name: value + number for name, value in start.items()}
        site.load(now)
        site.finish_round()
        wanted = now if wanted is None else {
            name: decay * wanted[name] + (1 - decay) * now[name] for name in now
        }  # fmt: skip
    torch.testing.assert_close(site.average, wanted)
    torch.testing.assert_close(site.weights(), now)


def test_teachers_of_the_last_rounds_stay_and_older_ones_leave(world, site):
    site.settings = replace(site.settings, distill=DistillConfig(beta=0.2))

    def numbered(number):
        return {name: torch.full_like(value, number) for name, value in site.weights().items()}

    def numbers():
        return [float(next(iter(expert.values())).reshape(-1)[0]) for expert in site.experts]

    for round_index in range(4):
        site.welcome({"b": numbered(10 * round_index + 1.0), "a": numbered(10.0 * round_index)})
    assert numbers() == [20.0, 21.0, 30.0, 31.0]
    assert BANK_ROUNDS == 2
    site.welcome({})
    assert len(site.experts) == 4


def test_experts_that_teach_nobody_are_not_kept(site):
    site.welcome({"a": site.weights()})
    assert site.experts == []
    assert not any(section.startswith("expert") for section in site.state())


def test_teachers_teach_only_where_distillation_is_set(world, guest):
    ends = []
    for beta, experts in ((0.0, []), (0.0, [guest]), (0.5, []), (0.5, [guest])):
        site = world.sites(world.settings(distill={"beta": beta}))["north"]
        site.experts = experts
        site.train_locally(0)
        ends.append(site.weights())
    same(ends[0], ends[1])
    same(ends[0], ends[2])
    with pytest.raises(AssertionError):
        same(ends[0], ends[3])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_state_holds_everything_that_the_next_round_depends_on(world, guest, optimizer):
    run = world.settings(distill={"beta": 0.5}, training={"optimizer": optimizer})
    site = world.sites(run)["north"]
    site.experts = [guest]
    site.train_locally(0)
    site.finish_round()
    held = site.state()

    other = world.sites(run)["north"]
    other.load_state(held)
    for each in (site, other):
        each.train_locally(1)
        each.finish_round()

    same(site.weights(), other.weights())
    same(site.average, other.average)
    same(site.trainer.state(), other.trainer.state())


def test_the_state_is_not_changed_by_going_on(site):
    site.finish_round()
    held = site.state()
    kept = {s: {n: v.clone() for n, v in part.items()} for s, part in held.items()}
    site.train_locally(1)
    site.finish_round()
    same(held, kept)
    site.load_state(held)
    site.train_locally(1)
    site.finish_round()
    same(held, kept)


def test_more_than_ten_teachers_keep_their_order(world, site):
    site.experts = [
        {name: torch.full_like(value, float(k)) for name, value in site.weights().items()}
        for k in range(12)
    ]
    other = world.sites(world.settings())["north"]
    other.load_state(site.state())
    same(other.experts, site.experts)


def test_a_weighted_mean_divides_by_its_shares():
    many = [{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([5.0, -2.0])}]
    same(mean_weights(many), {"a": torch.tensor([3.0, 0.0])})
    same(mean_weights(many, [3.0, 1.0]), {"a": torch.tensor([2.0, 1.0])})
