"""A private fit: what a step is, what it costs, and what it never tells."""

import logging

import pytest
import torch
from scipy import stats
from torch import nn

from fedefm.data.dataset import Batch, FrameDataset
from fedefm.errors import BudgetExhausted, DataError, ModelError, PrivacyError
from fedefm.train.optimization import adamw, momentum_sgd
from privacy.calibrate import Sampling
from privacy.dp.gradients import ROUNDING, Clip, ClippedSum
from privacy.mechanism import Mechanism

CERTAIN = 1e-9  # a right trainer fails a statistical test about once in a billion runs
ALL_FRAMES = 99


def stream(number=0):
    return torch.Generator().manual_seed(number)


def fit(trainer, model, objective, steps=1, rate=0.1, rng=None):
    return trainer.fit(model, objective, steps, rate, rng or stream())


def probability(changes, deviation):
    """How likely such changes are, were they normal with this deviation: variance and shape."""
    squares = float((changes.double() / deviation).square().sum())
    variance = stats.chi2(changes.numel())
    return min(
        2 * min(variance.cdf(squares), variance.sf(squares)),
        stats.kstest(changes.double().numpy() / deviation, "norm").pvalue,
    )


class Spy:
    """A back-end in which every unit gives the same vector, of norm ``norm``.

    It remembers all steps; the first it is shown is a rehearsal on random images.
    """

    name = "spy"

    def __init__(self, norm=0.0):
        self.norm, self.steps, self.rehearsals = norm, [], []

    def clipped_sum(self, model, objective, step, clip):
        (self.steps if self.rehearsals else self.rehearsals).append(step)
        assert model.training
        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        first = next(iter(parameters))
        sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
        sums[first].view(-1)[0] = self.norm * step.count
        return ClippedSum(sums, torch.full((step.count,), self.norm), 0)

    @property
    def counts(self):
        return [step.count for step in self.steps]


# What a step is.


def clipped_by_hand(model, data, objective, clip, per_layer):
    """The sum over patients, one sample at a time, by autograd alone."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in parameters]
    for patient in data.patients.unique():
        rows = (data.patients == patient).nonzero().flatten()
        mean = [torch.zeros_like(p) for p in parameters]
        for row in rows:
            loss = objective(model, data.batch(row[None])).squeeze()
            for part, gradient in zip(mean, torch.autograd.grad(loss, parameters), strict=True):
                part += gradient / len(rows)
        bound = clip * (1 - ROUNDING)
        whole = torch.cat([part.flatten() for part in mean]).norm()
        for part, summed in zip(mean, total, strict=True):
            norm, most = (part.norm(), bound / len(mean) ** 0.5) if per_layer else (whole, bound)
            summed += part * min(1.0, float(most / norm))
    return total


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("clip", [0.05, 0.7, 50.0])
def test_without_noise_a_step_is_sgd_on_the_sum_of_clipped_patients(private, clip, per_layer):
    data = private.frames_of([1, 2, 3, 2, 1])
    ours, theirs = private.small_model(), private.small_model()
    trainer = private.trainer(
        data,
        frames_per_patient=ALL_FRAMES,
        clip=Clip(clip, per_layer),
        momentum=0.9,
        randomness=private.Quiet(),
    )
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.2, momentum=0.9)
    for _ in range(2):
        fit(trainer, ours, private.cross_entropy, steps=2, rate=0.2)
    for _ in range(4):
        sums = clipped_by_hand(theirs, data, private.cross_entropy, clip, per_layer)
        for parameter, summed in zip(theirs.parameters(), sums, strict=True):
            parameter.grad = summed / 5
        optimizer.step()
    moved = private.flat(theirs) - private.flat(private.small_model())
    difference = private.flat(ours) - private.flat(theirs)
    assert difference.norm() < 1e-4 * moved.norm()


def test_adamw_takes_its_steps_of_the_same_noisy_sums(private):
    """As torch takes them; the noise is in the sums already, so what follows costs nothing."""
    data = private.frames_of([1, 2, 3, 2, 1])
    ours, theirs = private.small_model(), private.small_model()
    trainer = private.trainer(
        data, frames_per_patient=ALL_FRAMES, optimization=adamw(0.3), randomness=private.Quiet()
    )
    for _ in range(2):
        fit(trainer, ours, private.cross_entropy, steps=2, rate=0.02)

    decays = ({"params": [p for p in theirs.parameters() if p.dim() == d]} for d in (1, 2))
    groups = [group | {"weight_decay": d} for group, d in zip(decays, (0.0, 0.3), strict=True)]
    optimizer = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.95))
    for _ in range(4):
        sums = clipped_by_hand(theirs, data, private.cross_entropy, 1.0, per_layer=False)
        for parameter, summed in zip(theirs.parameters(), sums, strict=True):
            parameter.grad = summed / 5
        optimizer.step()
    moved = private.flat(theirs) - private.flat(private.small_model())
    assert (private.flat(ours) - private.flat(theirs)).norm() < 1e-3 * moved.norm()
    assert all(parameter.grad is None for parameter in ours.parameters())


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_patient_is_clipped_once_and_not_each_of_its_images(private, sign):
    # two frames a patient, whose gradients are equal or opposite and far above the clip norm
    def pull(model, batch):
        scale = 1e3 * torch.where(batch.rows == 0, 1.0, sign)
        return model(batch.images).sum(dim=1) * 0 + model[1].bias.sum() * scale

    data = private.frames_of([2])
    data.images[1] = data.images[0]
    model = private.small_model(width=16)
    before = model[1].bias.detach().clone()
    trainer = private.trainer(data, frames_per_patient=2, randomness=private.Quiet())
    fit(trainer, model, pull, rate=1.0)
    moved = float((model[1].bias.detach() - before).norm())
    assert moved == pytest.approx(1.0 if sign > 0 else 0.0, abs=1e-3)


def test_a_patient_with_many_images_weighs_no_more_than_one_with_one(private):
    few, many = private.Quiet(), private.Quiet()
    moved = []
    for counts, quiet in (([1], few), ([7], many)):
        data = private.frames_of(counts)
        data.images[:], data.labels[:] = 130, 1
        data.images[:, :, 0] = 7
        model = private.small_model()
        before = private.flat(model)
        trainer = private.trainer(data, frames_per_patient=ALL_FRAMES, clip=1e-2, randomness=quiet)
        fit(trainer, model, private.cross_entropy)
        moved.append(private.flat(model) - before)
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-4, atol=1e-7)


def test_a_sum_is_divided_by_the_expected_number_and_never_by_the_number_drawn(private):
    spy = Spy(norm=1.0)
    trainer = private.trainer(
        private.frames_of([1] * 12),
        rate=0.5,
        units=20,  # as the hospital publishes; fewer are in the training split
        gradients=spy,
        randomness=private.Quiet(),
    )
    model = private.small_model()
    for _ in range(20):
        before = model[1].weight.view(-1)[0].item()
        spy.steps.clear()
        fit(trainer, model, private.cross_entropy, rate=0.5)
        moved = before - model[1].weight.view(-1)[0].item()
        assert moved == pytest.approx(0.5 * sum(spy.counts) / (0.5 * 20), abs=1e-5)


def test_weights_without_gradient_neither_decay_nor_drift(private):
    trainer = private.trainer(
        private.frames_of([1] * 4), momentum=0.9, gradients=Spy(0.0), randomness=private.Quiet()
    )
    model = private.small_model()
    before = private.flat(model)
    fit(trainer, model, private.cross_entropy, steps=5, rate=3.0)
    assert torch.equal(private.flat(model), before)


def test_everybody_takes_part_in_every_step_where_the_rate_is_one(private):
    spy = Spy()
    trainer = private.trainer(private.frames_of([1, 3, 2]), frames_per_patient=2, gradients=spy)
    fit(trainer, private.small_model(), private.cross_entropy, steps=4)
    assert spy.counts == [3] * 4
    assert [step.units.bincount().tolist() for step in spy.steps] == [[1, 2, 2]] * 4


@pytest.mark.parametrize("patients", [1, 2, 5, 20])
def test_small_sites_train(private, patients):
    trainer = private.trainer(private.frames_of([2] * patients), frames_per_patient=2)
    model = private.small_model()
    fit(trainer, model, private.cross_entropy, steps=3)
    assert private.flat(model).isfinite().all()


def test_how_many_take_part_varies_as_poisson_sampling_does(private):
    # a shuffled loader gives each step the same number
    spy = Spy()
    trainer = private.trainer(private.frames_of([1] * 40), rate=0.3, gradients=spy)
    fit(trainer, private.small_model(), private.cross_entropy, steps=600)
    drawn = torch.tensor(spy.counts, dtype=torch.float64)
    variance = 40 * 0.3 * 0.7
    spread = stats.chi2(len(drawn) - 1)
    statistic = float(drawn.var()) * (len(drawn) - 1) / variance
    assert min(spread.cdf(statistic), spread.sf(statistic)) > CERTAIN / 2
    assert abs(float(drawn.mean()) - 12) < 6 * (variance / len(drawn)) ** 0.5


def test_a_step_never_holds_more_frames_than_cap_and_frames_allow(private):
    spy = Spy()
    trainer = private.trainer(
        private.frames_of([5] * 30), rate=0.5, cap=9, frames_per_patient=2, gradients=spy
    )
    fit(trainer, private.small_model(), private.cross_entropy, steps=50)
    assert max(spy.counts) == 9
    assert max(len(step.batch.images) for step in spy.steps) == 18


def test_masks_are_learned_like_labels(private):
    frames = private.frames_of([2, 1, 1])
    masks = (frames.images[:, 0] > 128).to(torch.uint8)
    data = FrameDataset(frames.images, frames.labels, frames.patients, ("none", "wire"), masks)
    model = nn.Conv2d(1, 2, 1)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)

    def per_image(model, batch):
        losses = nn.functional.cross_entropy(model(batch.images), batch.labels, reduction="none")
        return losses.mean(dim=(1, 2))

    def loss():
        with torch.no_grad():
            return float(per_image(model, data.batch(torch.arange(4))).mean())

    before = loss()
    trainer = private.trainer(data, frames_per_patient=2, randomness=private.Quiet())
    fit(trainer, model, per_image, steps=40, rate=0.5)
    assert loss() < before / 2


def test_with_the_image_as_unit_every_image_is_clipped_by_itself(private):
    spy = Spy()
    data = private.frames_of([3, 1])
    trainer = private.trainer(data, units=4, unit="image", gradients=spy, frames_per_patient=3)
    told = fit(trainer, private.small_model(), private.cross_entropy, steps=2)
    assert spy.counts == [4, 4]
    assert told.images == 8


# Noise.


@pytest.mark.parametrize(("noise", "clip", "momentum"), [(1.0, 1.0, 0.0), (0.7, 0.3, 0.9)])
def test_noise_has_the_deviation_that_the_account_counts(private, noise, clip, momentum):
    trainer = private.trainer(
        private.frames_of([1] * 5), noise=noise, clip=clip, momentum=momentum, gradients=Spy()
    )
    model = private.small_model(width=200)
    before = private.flat(model)
    fit(trainer, model, private.cross_entropy, rate=0.5)
    changes = private.flat(model) - before
    assert probability(changes, 0.5 * noise * clip / 5) > CERTAIN
    # and what the test would catch
    for wrong in (0.5, 0.9, 1.1):
        assert probability(changes, wrong * 0.5 * noise * clip / 5) < CERTAIN


def test_every_step_has_fresh_noise(private):
    trainer = private.trainer(private.frames_of([1] * 5), gradients=Spy())
    model = private.small_model(width=200)
    before = private.flat(model)
    fit(trainer, model, private.cross_entropy, steps=9, rate=0.5)
    # the same noise nine times over would have nine times the deviation, not three times
    assert probability(private.flat(model) - before, 3 * 0.5 / 5) > CERTAIN


def test_noise_is_on_all_parameters_also_on_those_without_gradient(private):
    class Aside(nn.Module):
        """A part of it never touches the loss."""

        def __init__(self):
            super().__init__()
            self.used = private.small_model(width=60)
            self.unused = nn.Linear(60, 40)

        def forward(self, images):
            return self.used(images)

    model = Aside()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = private.trainer(private.frames_of([1] * 2), noise=4.0, clip=1e-3)
    fit(trainer, model, private.cross_entropy, rate=1e3)
    for name, parameter in model.named_parameters():
        changes = (parameter.detach() - before[name]).flatten()
        assert (changes != 0).all(), name
        # what two patients add is a 4000th of the noise at most, over all parameters
        assert probability(changes, 1e3 * 4e-3 / 2) > CERTAIN if len(changes) > 100 else True, name


def test_the_step_of_an_empty_draw_is_noise_alone(private):
    spy = Spy(norm=1.0)
    trainer = private.trainer(private.frames_of([1] * 5), rate=1e-9, gradients=spy)
    model = private.small_model(width=200)
    before = private.flat(model)
    told = fit(trainer, model, private.cross_entropy, rate=1e-9)
    assert spy.steps == []
    assert probability(private.flat(model) - before, 1e-9 / (5e-9)) > CERTAIN
    assert told.steps == 1


def test_frozen_parameters_stay_bit_for_bit(private):
    model = private.small_model()
    model[1].requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = private.trainer(private.frames_of([2] * 4), momentum=0.9)
    fit(trainer, model, private.cross_entropy, steps=3)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("1."), name
        assert parameter.grad is None
    assert set(trainer.state()) == {"3.weight", "3.bias"}


def test_a_model_with_nothing_to_train_is_refused(private):
    trainer = private.trainer(private.frames_of([1]))
    with pytest.raises(PrivacyError, match="trainable"):
        fit(trainer, private.small_model().requires_grad_(False), private.cross_entropy)


# What makes it secret.


def test_the_seed_of_the_run_steers_nothing(private):
    key = bytes(range(32))
    ends = []
    for number in (1, 2):
        model = private.small_model()
        rng = stream(number)
        untouched = rng.get_state()
        trainer = private.trainer(
            private.frames_of([2] * 6), rate=0.5, randomness=private.keyed(key)
        )
        fit(trainer, model, private.cross_entropy, steps=3, rng=rng)
        assert torch.equal(rng.get_state(), untouched)
        ends.append(private.flat(model))
    assert torch.equal(ends[0], ends[1])


def test_the_same_run_twice_draws_other_patients_and_other_noise(private):
    ends, counts = [], []
    for _ in range(2):
        torch.manual_seed(0)
        spy, model = Spy(), private.small_model()
        trainer = private.trainer(private.frames_of([1] * 40), rate=0.5, gradients=spy)
        fit(trainer, model, private.cross_entropy, steps=8)
        ends.append(private.flat(model))
        counts.append([step.batch.rows.tolist() for step in spy.steps])
    assert not (ends[0] == ends[1]).any()
    assert counts[0] != counts[1]


def test_augmentation_draws_from_a_secret_generator(private):
    given, drawn = [], []

    def transform(images, masks, rng):
        given.append(rng)
        drawn.append(float(torch.rand(1, generator=rng)))
        return images, masks

    public = stream()
    for _ in range(2):
        trainer = private.trainer(private.frames_of([1] * 3), transform=transform)
        fit(trainer, private.small_model(), private.cross_entropy, steps=2, rng=public)
    assert all(rng is not public for rng in given)
    assert len(set(drawn)) == 4


# What it costs.


class Witness:
    """Frames that write into the account's log when an image is read."""

    def __init__(self, frames, log, fails_at=None):
        self._frames, self._log, self._fails_at = frames, log, fails_at
        self.patients, self.classes = frames.patients, frames.classes

    def __len__(self):
        return len(self._frames)

    def batch(self, rows, transform=None, rng=None):
        if len(rows):
            self._log.append("images")
        if self._fails_at is not None and self._log.count("images") >= self._fails_at:
            raise OSError("the disk is gone")
        return self._frames.batch(rows, transform, rng)

    def random_batch(self, samples, rng):
        return self._frames.random_batch(samples, rng)


def with_witness(private, fails_at=None, left=100, **others):
    purse = private.Purse(Sampling(1.0, 3, 3).mechanism(1.0), left)
    witness = Witness(private.frames_of([1] * 3), purse.log, fails_at)
    return private.trainer(witness, account=purse, **others), purse


def test_steps_are_reserved_before_an_image_is_read_and_settled_after_the_last(private):
    trainer, purse = with_witness(private)
    fit(trainer, private.small_model(), private.cross_entropy, steps=3)
    assert purse.log == [("reserve", 3), "images", "images", "images", ("settle", 1, 3)]


def test_every_fit_has_a_reservation_of_its_own(private):
    trainer, purse = with_witness(private)
    model = private.small_model()
    for steps in (2, 1):
        fit(trainer, model, private.cross_entropy, steps=steps)
    assert [entry for entry in purse.log if entry != "images"] == [
        ("reserve", 2),
        ("settle", 1, 2),
        ("reserve", 1),
        ("settle", 5, 1),
    ]
    assert purse.log.count("images") == 3


def test_a_fit_beyond_the_budget_reads_nothing_and_changes_nothing(private):
    trainer, purse = with_witness(private, left=5)
    model = private.small_model()
    fit(trainer, model, private.cross_entropy, steps=4)
    model.eval()
    before, momentum, log = private.flat(model), trainer.state(), list(purse.log)
    with pytest.raises(BudgetExhausted, match="1 steps are left"):
        fit(trainer, model, private.cross_entropy, steps=2)
    assert torch.equal(private.flat(model), before)
    torch.testing.assert_close(trainer.state(), momentum, rtol=0, atol=0)
    assert not model.training
    assert purse.log == log


def test_a_fit_that_fails_leaves_its_steps_spent(private):
    trainer, purse = with_witness(private, fails_at=2)
    with pytest.raises(OSError, match="gone"):
        fit(trainer, private.small_model(), private.cross_entropy, steps=3)
    assert purse.log == [("reserve", 3), "images", "images"]


@pytest.mark.parametrize("wrong", ["noise", "rate", "units", "cap"])
def test_an_account_that_counts_other_steps_is_refused(private, wrong):
    numbers = {"noise": 1.0, "rate": 0.5, "units": 8, "cap": 6}
    counted = numbers | {wrong: {"noise": 2.0, "rate": 0.25, "units": 9, "cap": 5}[wrong]}
    purse = private.Purse(Mechanism(*counted.values()))
    with pytest.raises(PrivacyError, match="the account counts"):
        private.trainer(private.frames_of([1] * 8), **numbers, account=purse)


def test_an_account_whose_plan_was_replaced_is_refused_before_it_is_charged(private):
    trainer, purse = with_witness(private)
    purse.mechanism = Sampling(1.0, 3, 3).mechanism(1.5)
    with pytest.raises(PrivacyError, match="the account counts"):
        fit(trainer, private.small_model(), private.cross_entropy)
    assert purse.log == []


def test_more_patients_than_the_account_counts_are_refused(private):
    with pytest.raises(PrivacyError, match="more patients than the 7"):
        private.trainer(private.frames_of([1] * 8), units=7)


def test_a_site_without_images_is_refused(private):
    with pytest.raises(DataError, match="no training images"):
        private.trainer(private.frames_of([1]).subset(torch.tensor([], dtype=torch.int64)), units=1)


def test_samples_that_see_each_other_are_refused_before_anything_is_spent(private):
    def coupled(model, batch):
        losses = private.cross_entropy(model, batch)
        return losses - losses.mean()

    trainer, purse = with_witness(private)
    model = private.small_model()
    before = private.flat(model)
    with pytest.raises(PrivacyError):
        fit(trainer, model, coupled)
    assert purse.log == []
    assert torch.equal(private.flat(model), before)


def test_an_objective_is_looked_at_by_itself_also_inside_another(private):
    def doubled(objective):
        return lambda model, batch: 2 * objective(model, batch)

    def coupled(model, batch):
        return private.cross_entropy(model, batch).flip(0)

    trainer, purse = with_witness(private)
    model = private.small_model()
    fit(trainer, model, private.cross_entropy)
    fit(trainer, model, doubled(private.cross_entropy))
    paid = list(purse.log)
    for objective in (coupled, doubled(coupled)):
        with pytest.raises(PrivacyError):
            fit(trainer, model, objective)
    assert purse.log == paid


def test_a_new_model_is_looked_at_although_another_one_passed(private):
    trainer, _ = with_witness(private)
    fit(trainer, private.small_model(), private.cross_entropy)
    coupled = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))
    with pytest.raises(PrivacyError, match="BatchNorm"):
        fit(trainer, coupled, private.cross_entropy)


def test_a_back_end_that_forgets_to_clip_is_refused_before_anything_is_spent(private):
    data, spy = private.frames_of([1] * 4), Spy(norm=1.1)
    purse = private.Purse(Sampling(1.0, 4, 4).mechanism(1.0))
    model = private.small_model()
    before = private.flat(model)
    with pytest.raises(PrivacyError, match="spy"):
        fit(private.trainer(data, gradients=spy, account=purse), model, private.cross_entropy)
    assert torch.equal(private.flat(model), before)
    assert purse.log == spy.steps == []


def test_a_back_end_that_stops_clipping_later_is_replaced_by_the_reference(private, caplog):
    """To refuse then would tell of whoever was drawn; see privacy.dp.forgiving."""
    spy = Spy(norm=1.0)
    trainer = private.trainer(private.frames_of([1] * 4), gradients=spy)
    model = private.small_model()
    fit(trainer, model, private.cross_entropy)
    spy.norm = 1.01
    fit(trainer, model, private.cross_entropy)
    assert "failed as a whole (PrivacyError)" in caplog.text


def test_a_patient_for_whom_the_loss_fails_is_not_heard(private):
    target = private.frames_of([1] * 4).batch(torch.tensor([2])).images

    def fails_for_one(model, batch):
        if any(torch.equal(image, target[0]) for image in batch.images):
            raise ModelError("features too large in 1 of 4 samples")
        return private.cross_entropy(model, batch)

    stats = fit(private.trainer(private.frames_of([1] * 4)), private.small_model(), fails_for_one)
    assert stats.loss is None


def test_a_back_end_that_refuses_the_model_does_so_before_anything_is_spent(private):
    class Choosy(Spy):
        def clipped_sum(self, model, objective, step, clip):
            raise PrivacyError("choosy cannot do this model")

    trainer, purse = with_witness(private, gradients=Choosy())
    with pytest.raises(PrivacyError, match="choosy"):
        fit(trainer, private.small_model(), private.cross_entropy)
    assert purse.log == []


def test_without_a_back_end_one_is_chosen_on_random_images(private, caplog):
    trainer, purse = with_witness(private, gradients=None)
    model = private.small_model()
    with caplog.at_level(logging.INFO):
        fit(trainer, model, private.cross_entropy)
        fit(trainer, model, private.cross_entropy)
    assert caplog.text.count("gradients by") == 1
    assert [entry for entry in purse.log if entry == "images"] == ["images"] * 2
    assert purse.log[0] == ("reserve", 1)


# What it tells.


def test_nothing_measured_on_patients_is_told(private):
    for spy in (Spy(0.0), Spy(0.9)):
        data = private.frames_of([1, 2, 1, 1, 2, 3])  # two of ten that the hospital publishes
        trainer = private.trainer(data, rate=0.25, units=10, frames_per_patient=2, gradients=spy)
        told = fit(trainer, private.small_model(), private.cross_entropy, steps=6)
        assert (told.loss, told.steps, told.images) == (None, 6, 30)
        assert told.seconds > 0


def test_images_that_are_not_finite_count_as_zero_and_only_the_log_knows(private, caplog):
    def sour(model, batch):
        return private.cross_entropy(model, batch).masked_fill(batch.rows % 2 == 1, torch.inf)

    data = private.frames_of([1] * 6)
    good = data.subset(torch.tensor([0, 2, 4]))
    models = [private.small_model(), private.small_model()]
    with caplog.at_level(logging.WARNING):
        told = fit(
            private.trainer(data, units=8, randomness=private.Quiet()), models[0], sour, steps=2
        )
    fit(
        private.trainer(good, units=8, randomness=private.Quiet()),
        models[1],
        private.cross_entropy,
        steps=2,
    )
    assert "6 gradients" in caplog.text
    assert (told.loss, told.images) == (None, 16)
    torch.testing.assert_close(private.flat(models[0]), private.flat(models[1]))


def test_weights_that_became_infinite_are_an_error_whose_steps_are_settled(private):
    trainer, purse = with_witness(private)
    with pytest.raises(ModelError, match="learning_rate"):
        fit(trainer, private.small_model(), private.cross_entropy, rate=float("inf"))
    assert purse.log[-1] == ("settle", 1, 1)


# What goes on.


@pytest.mark.parametrize("rule", [momentum_sgd(0.9), adamw(0.05)], ids=["sgd", "adamw"])
def test_what_is_kept_goes_on_in_another_trainer(private, rule):
    data, ends = private.frames_of([1] * 4), []
    for parts in ((4,), (2, 2)):
        model, state = private.small_model(), {}
        for steps in parts:
            trainer = private.trainer(data, optimization=rule, randomness=private.Quiet())
            trainer.load_state(state)
            fit(trainer, model, private.cross_entropy, steps=steps)
            state = trainer.state()
        ends.append(private.flat(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


def test_the_state_is_a_copy_and_an_empty_one_starts_afresh(private):
    model = private.small_model()
    trainer = private.trainer(private.frames_of([1] * 4), momentum=0.9)
    fit(trainer, model, private.cross_entropy)
    held = trainer.state()
    kept = {name: buffer.clone() for name, buffer in held.items()}
    fit(trainer, model, private.cross_entropy)
    torch.testing.assert_close(held, kept, rtol=0, atol=0)

    trainer.load_state(held)
    held["1.bias"] += 1
    torch.testing.assert_close(trainer.state(), kept, rtol=0, atol=0)
    trainer.load_state({})
    assert trainer.state() == {}


def test_the_probe_sees_random_images_once_for_a_model_and_an_objective(private, monkeypatch):
    seen = []
    monkeypatch.setattr("privacy.dp.trainer.check_independence", lambda m, o, b: seen.append(b))
    trainer, purse = with_witness(private)
    model = private.small_model()
    for _ in range(3):
        fit(trainer, model, private.cross_entropy)
    (batch,) = seen
    assert isinstance(batch, Batch)
    assert batch.images.shape[1:] == (1, 6, 6)
    assert 0 <= int(batch.labels.min()) <= int(batch.labels.max()) < 3
    assert purse.log.count("images") == 3
