"""What travels between sites, measured: four labels, each held by one site alone."""

import pytest

from fedefm.model.weights import load_weights
from fedefm.train.assemble import build_model
from fedefm.train.measure import ACCURACY

ROUNDS = {"rounds": 16, "local_steps": 4, "host_steps": 4}
CHANCE = 0.25  # also what a site reaches that knows only its own label


@pytest.fixture
def learn(world):
    """``learn(federation, distill)``: (mean accuracy of the sites' models, of the global one)."""

    def accuracies(federation, distill=None):
        run = world.settings(
            federation={**ROUNDS, **federation},
            training={
                "batch_size": 8,
                "learning_rate": 0.03,
                "average_decay": 0.5,
                "augment": "none",
            },
            distill=distill or {},
        )
        learning = world.federation(run, images=40)
        learning.train()
        tests = {name: world.images_of(k, 30, seed=9) for k, name in enumerate(world.names)}
        own = [ACCURACY.over(site.model, tests) for site in learning.sites.values()]
        model = build_model(run)
        load_weights(model, learning.global_model() or learning.sites["north"].weights())
        return sum(own) / len(own), ACCURACY.over(model, tests)

    return accuracies


def test_swapping_teaches_labels_that_a_site_never_saw(learn):
    sites, together = learn({})
    assert sites > CHANCE + 0.15
    assert together > CHANCE + 0.25


@pytest.mark.parametrize(
    ("federation", "distill"),
    [
        ({"update": "literal", "schedule": "neighbors"}, {"beta": 0.5}),
        ({"scenario": "local", "algorithm": "none"}, None),
    ],
    ids=["literal", "alone"],
)
def test_the_printed_update_teaches_no_more_than_training_alone(learn, federation, distill):
    sites, together = learn(federation, distill)
    assert sites <= CHANCE + 0.05
    assert together <= CHANCE + 0.05
