"""Ways to break a privacy promise, each with the tests that notice.

``python tests/privacy/mutants.py`` prints who caught which, and ends with 1 where one survives or
an edit no longer fits the source. ``--only WORD`` runs those whose name holds the word.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, not the repository
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.privacy.mutants_of_shared_noise import SHARED_NOISE_MUTANTS
from tests.privacy.mutants_of_sums import SUM_MUTANTS
from tests.privacy.mutation import Broken, Edit, Laboratory, Mutant, mutant

AT_ONCE = 2
# The folders' tests, to be followed by the rest of a name.
TRAINER, MEAN = "dp/test_trainer.py::test_", "dp/test_mean.py::test_"
NOISE, RANDOMNESS = "dp/test_noise.py::test_", "dp/test_randomness.py::test_"
SAMPLING, CLIPPING = "dp/test_sampling.py::test_", "dp/test_gradients.py::test_"
LOOP, BACKENDS = "dp/test_loop.py::test_", "dp/test_backends.py::test_"
EPSILON, CALIBRATE = "test_accountant.py::test_", "test_calibrate.py::test_"
ACCOUNT, PLAN = "ledger/test_account.py::test_", "ledger/test_plan.py::test_"
TAMPERING, HEADS = "ledger/test_tampering.py::test_", "ledger/test_heads.py::test_"
REFUND, GATE, POLICY = (
    "ledger/test_refund.py::test_",
    "test_gate.py::test_",
    "test_policy.py::test_",
)
SMALLEST = "trainable-resnet_micro"  # the model on which back-ends are compared


NOISE_MUTANTS = (
    mutant(
        "noise off",
        "dp/noise.py",
        "noise *= self.deviation / self.grid",
        "noise *= 0",
        f"{NOISE}noise_is_normal_with_the_deviation_asked_for",
    ),
    mutant(
        "noise off in training",
        "dp/trainer.py",
        "self._descend(parameters, noise.add(total), learning_rate)",
        "self._descend(parameters, total, learning_rate)",
        f"{TRAINER}noise_has_the_deviation_that_the_account_counts",
    ),
    mutant(
        "half the noise",
        "dp/noise.py",
        "noise *= self.deviation / self.grid",
        "noise *= 0.5 * self.deviation / self.grid",
        f"{NOISE}noise_is_normal_with_the_deviation_asked_for",
    ),
    mutant(
        "half the noise that the account counts",
        "dp/trainer.py",
        "            self._mechanism.noise_multiplier,\n",
        "            0.5 * self._mechanism.noise_multiplier,\n",
        f"{TRAINER}noise_has_the_deviation_that_the_account_counts",
    ),
    mutant(
        "half the noise on the private mean",
        "dp/mean.py",
        "            self._mechanism.noise_multiplier,\n",
        "            0.5 * self._mechanism.noise_multiplier,\n",
        f"{MEAN}noise_has_the_deviation_that_the_account_counts",
    ),
    mutant(
        "noise on matrices only",
        "dp/noise.py",
        "{name: self._add(numbers) for name, numbers in total.items()}",
        "{n: self._add(x) if x.dim() > 1 else x for n, x in total.items()}",
        f"{NOISE}every_number_of_every_tensor_gets_noise_and_the_sum_itself_stays",
    ),
    mutant(
        "noise only where there is a gradient",
        "dp/noise.py",
        "{name: self._add(numbers) for name, numbers in total.items()}",
        "{n: self._add(x) if x.any() else x for n, x in total.items()}",
        f"{TRAINER}noise_is_on_all_parameters_also_on_those_without_gradient",
    ),
    mutant(
        "the same noise in every step",
        "dp/trainer.py",
        "        for _ in range(steps):\n",
        "        kept = self._stream.normal(10**6)\n"
        "        self._stream.normal = lambda count: kept[:count].copy()\n"
        "        for _ in range(steps):\n",
        f"{TRAINER}every_step_has_fresh_noise",
    ),
    mutant(
        "noise not on the grid",
        "dp/noise.py",
        "total += _nearest(noise)",
        "total += noise",
        f"{NOISE}everything_released_lies_on_the_grid_exactly",
    ),
    mutant(
        "the sum not on the grid",
        "dp/noise.py",
        "total = _nearest(numbers)",
        "total = numbers",
        f"{NOISE}everything_released_lies_on_the_grid_exactly",
    ),
    mutant(
        "noise from a fixed key",
        "dp/randomness.py",
        "self._start(secrets.token_bytes(KEY_BYTES) if key is None else key)",
        "self._start(bytes(KEY_BYTES) if key is None else key)",
        f"{RANDOMNESS}streams_differ_unless_a_test_gives_the_key",
    ),
    mutant(
        "noise from a fixed key in training",
        "dp/trainer.py",
        "SecretStream() if randomness is None else randomness",
        "SecretStream(bytes(32)) if randomness is None else randomness",
        f"{TRAINER}the_same_run_twice_draws_other_patients_and_other_noise",
    ),
    mutant(
        "noise seeded by the run",
        "dp/trainer.py",
        "        parameters = trainable(model)\n",
        "        parameters = trainable(model)\n"
        "        seed = torch.randint(256, (32,), generator=rng).tolist()\n"
        "        self._stream._start(bytes(seed))\n",
        f"{TRAINER}the_seed_of_the_run_steers_nothing",
    ),
    mutant(
        "augmentation seeded by the run",
        "dp/trainer.py",
        "self._transform, self._stream.generator())",
        "self._transform, torch.Generator().manual_seed(1))",
        f"{TRAINER}augmentation_draws_from_a_secret_generator",
    ),
)

CLIPPING_MUTANTS = (
    mutant(
        "clipping off",
        "dp/gradients.py",
        "factors = (bound * (1 - ROUNDING) / norms.clamp_min(1e-30)).clamp_max(1.0)",
        "factors = torch.ones_like(norms)",
        f"{CLIPPING}no_unit_adds_more_than_the_clipping_norm",
    ),
    mutant(
        "clipping off in the loop",
        "dp/loop.py",
        "alpha=factor)",
        "alpha=1.0)",
        f"{LOOP}each_unit_is_clipped_by_itself",
    ),
    *(
        mutant(
            f"clipping off in {name}",
            file,
            "clip.factors(squares)",
            "torch.ones_like(squares)",
            f"{BACKENDS}flat_clipping_of_single_frames[{SMALLEST}-{name}]",
        )
        for name, file in (
            ("hooks", "dp/parts.py"),
            ("bookkeeping", "dp/parts.py"),
            ("ghost", "dp/ghost.py"),
        )
    ),
    mutant(
        "clipping off, and a sum that is too large let through",
        "dp/forgiving.py",
        "    if not norm <= most * (1 + ROUNDING):\n",
        "    if False:\n",
        f"{TRAINER}a_back_end_that_forgets_to_clip_is_refused_before_anything_is_spent",
    ),
    mutant(
        "each layer clipped to the whole norm",
        "dp/gradients.py",
        "bound = self.norm / squares.shape[1] ** 0.5",
        "bound = self.norm",
        f"{CLIPPING}no_unit_adds_more_than_the_clipping_norm",
    ),
    Mutant(
        "clipping per image where the unit is the patient",
        (
            Edit(
                "dp/sampling.py",
                "units=torch.repeat_interleave(torch.arange(len(frames)), counts),",
                "units=torch.arange(int(counts.sum())),",
            ),
            Edit("dp/sampling.py", "count=len(frames),", "count=int(counts.sum()),"),
        ),
        (f"{TRAINER}a_patient_is_clipped_once_and_not_each_of_its_images",),
    ),
    mutant(
        "every image a unit of its own",
        "dp/sampling.py",
        'patients.numpy() if unit == "patient" else np.arange(len(patients))',
        "np.arange(len(patients))",
        f"{TRAINER}a_patient_is_clipped_once_and_not_each_of_its_images",
        f"{SAMPLING}a_draw_holds_patients_once_with_frames_of_their_own",
    ),
    mutant(
        "a patient's images added up, not averaged",
        "dp/sampling.py",
        "shares=torch.repeat_interleave(1 / counts, counts),",
        "shares=torch.ones(int(counts.sum())),",
        f"{SAMPLING}a_batch_numbers_its_units_and_shares_sum_to_one",
    ),
    mutant(
        "a patient of the private mean not clipped",
        "dp/mean.py",
        "min(1.0, BOUND * (1 - ROUNDING) / max(float(vector.norm()), 1e-30))",
        "1.0",
        f"{MEAN}a_patient_pulls_by_at_most_a_norm_of_one_whatever_it_says",
    ),
    mutant(
        "NaN counts as its norm",
        "dp/gradients.py",
        "return torch.where(finite, factors, torch.zeros_like(factors)).float()",
        "return factors.float()",
        f"{CLIPPING}a_unit_that_is_not_finite_gives_nothing_and_leaves_the_others",
    ),
    mutant(
        "NaN counts as its norm in the loop",
        "dp/loop.py",
        "if not (loss.isfinite() and squares.isfinite().all()):",
        "if False:",
        f"{LOOP}a_loss_that_overflows_takes_its_unit_away",
    ),
    mutant(
        "NaN counts as its norm where a batch goes at once",
        "dp/finite.py",
        "fine = found.isfinite()",
        "fine = torch.ones_like(found, dtype=torch.bool)",
        f"{BACKENDS}a_loss_that_is_not_finite_takes_its_unit_away[bookkeeping]",
    ),
    mutant(
        "NaN counts as its norm in the private mean",
        "dp/mean.py",
        "if vector.isfinite().all():",
        "if True:",
        f"{MEAN}a_patient_that_is_not_finite_counts_as_zero",
    ),
    mutant(
        "coupled samples not looked for",
        "dp/trainer.py",
        "        check_independence(model, objective, batch)\n",
        "",
        f"{TRAINER}samples_that_see_each_other_are_refused_before_anything_is_spent",
    ),
)

SAMPLING_MUTANTS = (
    mutant(
        "a sampler of fixed size",
        "dp/sampling.py",
        "np.flatnonzero(self._stream.uniform(len(self._rows)) < self._sampling.rate)",
        "self._some(np.arange(len(self._rows)), round(len(self._rows) * self._sampling.rate))",
        f"{SAMPLING}the_number_drawn_varies_as_binomial_and_is_not_fixed",
        f"{TRAINER}how_many_take_part_varies_as_poisson_sampling_does",
    ),
    mutant(
        "a shuffled sampler",
        "dp/sampling.py",
        "drawn = np.flatnonzero(self._stream.uniform(len(self._rows)) < self._sampling.rate)\n",
        "count = max(1, round(len(self._rows) * self._sampling.rate))\n"
        "        if len(getattr(self, '_deck', ())) < count:\n"
        "            self._deck = self._stream.words(len(self._rows)).argsort()\n"
        "        drawn, self._deck = np.sort(self._deck[:count]), self._deck[count:]\n",
        f"{SAMPLING}the_number_drawn_varies_as_binomial_and_is_not_fixed",
    ),
    mutant(
        "the same patients in every step",
        "dp/sampling.py",
        "drawn = np.flatnonzero(self._stream.uniform(len(self._rows)) < self._sampling.rate)\n",
        "if not hasattr(self, '_uniform'):\n"
        "            self._uniform = self._stream.uniform(len(self._rows))\n"
        "        drawn = np.flatnonzero(self._uniform < self._sampling.rate)\n",
        f"{SAMPLING}draws_of_two_steps_are_independent",
    ),
    mutant(
        "a higher rate than is counted",
        "dp/sampling.py",
        "< self._sampling.rate)",
        "< 1.5 * self._sampling.rate)",
        f"{SAMPLING}each_patient_is_drawn_with_the_rate_and_apart_from_the_others",
    ),
    mutant(
        "more patients than the cap",
        "dp/sampling.py",
        "if self._sampling.cap < self._sampling.units:",
        "if False:",
        f"{TRAINER}a_step_never_holds_more_frames_than_cap_and_frames_allow",
    ),
    mutant(
        "the first patients stay where too many are drawn",
        "dp/sampling.py",
        "return of[self._stream.words(len(of)).argsort()[:most]]",
        "return of[:most]",
        f"{SAMPLING}where_too_many_are_drawn_each_set_of_them_stays_as_often",
    ),
    mutant(
        "all frames of a patient",
        "dp/sampling.py",
        "return self._some(self._rows[unit], self._frames_per_unit)",
        "return self._rows[unit]",
        f"{SAMPLING}a_draw_holds_patients_once_with_frames_of_their_own",
    ),
    mutant(
        "more patients than the account counts",
        "dp/sampling.py",
        "if len(self._rows) > sampling.units:",
        "if False:",
        f"{TRAINER}more_patients_than_the_account_counts_are_refused",
    ),
    mutant(
        "the empty draw does not step",
        "dp/trainer.py",
        "            self._descend(parameters, noise.add(total), learning_rate)\n",
        "            if any(bool(part.any()) for part in total.values()):\n"
        "                self._descend(parameters, noise.add(total), learning_rate)\n",
        f"{TRAINER}the_step_of_an_empty_draw_is_noise_alone",
    ),
    Mutant(
        "division by the number drawn",
        (
            Edit(
                "dp/trainer.py",
                "        drawn = self._sampler.draw()\n",
                "        drawn = self._sampler.draw()\n        self._drawn = max(1, len(drawn))\n",
            ),
            Edit(
                "dp/trainer.py",
                "noisy[name] / self._sampling.expected",
                "noisy[name] / self._drawn",
            ),
        ),
        (f"{TRAINER}a_sum_is_divided_by_the_expected_number_and_never_by_the_number_drawn",),
    ),
    mutant(
        "the private mean divided by the number drawn",
        "dp/mean.py",
        "        total = _clipped_sum(per_image, self._sampler.draw(), length)\n",
        "        drawn = self._sampler.draw()\n"
        "        total = _clipped_sum(per_image, drawn, length)\n"
        "        total *= self._sampling.expected / max(1, len(drawn))\n",
        f"{MEAN}it_is_divided_by_the_expected_number_of_patients",
    ),
)

COUNTING_MUTANTS = (
    mutant(
        "truncation of the draw not counted",
        "composition.py",
        "    if not mechanism.leaves_out:\n",
        "    if True:\n",
        f"{EPSILON}it_is_never_below_what_dp_accounting_counts_for_the_event",
        f"{EPSILON}forgetting_truncation_would_tell_too_little",
    ),
    mutant(
        "replaced patients counted as added ones",
        "composition.py",
        '"replace_one": NeighboringRelation.REPLACE_ONE',
        '"replace_one": NeighboringRelation.ADD_OR_REMOVE_ONE',
        f"{EPSILON}without_sampling_it_is_the_gaussian_mechanism",
    ),
    mutant(
        "only the first of several mechanisms counted",
        "composition.py",
        "        first = first.compose(other)\n",
        "        pass\n",
        f"{EPSILON}together_costs_more_than_each_and_less_than_the_sum",
    ),
    mutant(
        "noise calibrated without what was spent",
        "calibrate.py",
        "needed = epsilon_of(together(spent, plan), delta, adjacency, interval)",
        "needed = epsilon_of(plan, delta, adjacency, interval)",
        f"{CALIBRATE}what_was_spent_counts_together_with_what_is_planned",
    ),
)

SPENDING_MUTANTS = (
    mutant(
        "a second fit without reservation",
        "dp/trainer.py",
        "        reservation = self._account.reserve(steps)\n",
        "        if not hasattr(self, '_paid'):\n"
        "            self._paid = self._account.reserve(steps)\n"
        "        reservation = self._paid\n",
        f"{TRAINER}every_fit_has_a_reservation_of_its_own",
    ),
    mutant(
        "one step reserved for all",
        "dp/trainer.py",
        "reservation = self._account.reserve(steps)",
        "reservation = self._account.reserve(1)",
        f"{TRAINER}a_fit_beyond_the_budget_reads_nothing_and_changes_nothing",
    ),
    mutant(
        "images read before the reservation",
        "dp/trainer.py",
        "        reservation = self._account.reserve(steps)\n",
        "        self._clipped_sum(model, objective, parameters)\n"
        "        reservation = self._account.reserve(steps)\n",
        f"{TRAINER}steps_are_reserved_before_an_image_is_read_and_settled_after_the_last",
    ),
    Mutant(
        "settled before training",
        (
            Edit("dp/trainer.py", "        self._account.settle(reservation, steps)\n", ""),
            Edit(
                "dp/trainer.py",
                "        reservation = self._account.reserve(steps)\n",
                "        self._account.settle(self._account.reserve(steps), steps)\n",
            ),
        ),
        (f"{TRAINER}steps_are_reserved_before_an_image_is_read_and_settled_after_the_last",),
    ),
    mutant(
        "a failed fit gives its steps back",
        "dp/trainer.py",
        "        for _ in range(steps):\n",
        "        import weakref\n"
        "        weakref.finalize(noise, self._account.settle, reservation, 0)\n"
        "        for _ in range(steps):\n",
        f"{TRAINER}a_fit_that_fails_leaves_its_steps_spent",
    ),
    Mutant(
        "a mean that nobody pays for",
        (
            Edit("dp/mean.py", "        reservation = self._account.reserve(1)\n", ""),
            Edit("dp/mean.py", "        self._account.settle(reservation, 1)\n", ""),
        ),
        (f"{MEAN}it_is_one_step_reserved_before_an_image_is_looked_at",),
    ),
    mutant(
        "another mechanism than the account's",
        "dp/trainer.py",
        "    if account.mechanism != mechanism:\n",
        "    if False:\n",
        f"{TRAINER}an_account_that_counts_other_steps_is_refused",
    ),
    Mutant(
        "a lost reservation not counted",
        (
            Edit("ledger/books.py", "        self._spend(plan, entry.steps)\n", ""),
            Edit(
                "ledger/books.py",
                "        self._end(reservation, unused)\n",
                "        self._end(reservation, -entry.steps)\n",
            ),
        ),
        (
            f"{ACCOUNT}a_reservation_is_spent_before_it_is_settled",
            f"{ACCOUNT}a_dead_fits_reservation_cannot_be_settled_by_who_resumes",
        ),
    ),
    mutant(
        "a dead fit settled by who resumes",
        "ledger/account.py",
        " or reservation not in self._unsettled:",
        ":",
        f"{ACCOUNT}a_dead_fits_reservation_cannot_be_settled_by_who_resumes",
    ),
    mutant(
        "more steps than were planned",
        "ledger/account.py",
        "if not 1 <= steps <= plan.remaining:",
        "if not 1 <= steps:",
        f"{ACCOUNT}more_than_the_plan_has_left_is_refused_and_nothing_written",
    ),
    mutant(
        "cap not checked",
        "ledger/budget.py",
        "if everything <= budget.cap:",
        "if True:",
        f"{PLAN}plans_up_to_the_cap_are_taken_and_the_next_is_not",
    ),
    mutant(
        "open plans not counted against the cap",
        "ledger/budget.py",
        "epsilon(together(spent, reserved, wanted), budget.delta",
        "epsilon(together(spent, wanted), budget.delta",
        f"{PLAN}plans_up_to_the_cap_are_taken_and_the_next_is_not",
    ),
    mutant(
        "earlier runs not counted against the cap",
        "ledger/budget.py",
        "epsilon(together(spent, reserved, wanted), budget.delta",
        "epsilon(together(reserved, wanted), budget.delta",
        f"{PLAN}what_was_spent_counts_like_what_is_planned",
    ),
    mutant(
        "a plan made meanwhile not counted",
        "ledger/ledger.py",
        "                if together(*_of_others(books, dataset, run)) != counted:\n"
        "                    return []\n",
        "",
        f"{PLAN}a_plan_that_came_meanwhile_is_counted",
    ),
    mutant(
        "a refund without a reason",
        "ledger/ledger.py",
        "        if not reason.strip():\n",
        "        if False:\n",
        f"{REFUND}a_refund_without_a_reason_is_refused",
    ),
)

RECORD_MUTANTS = (
    mutant(
        "signatures not verified",
        "ledger/chain.py",
        "if genesis is None or not is_signed(row.hash, row.signature, genesis.public_key):",
        "if genesis is None:",
        f"{TAMPERING}a_changed_signature_is_found",
    ),
    mutant(
        "hashes not verified",
        "ledger/chain.py",
        "if hashlib.sha256(row.record.encode()).hexdigest() != row.hash:",
        "if False:",
        f"{TAMPERING}a_changed_entry_is_found",
    ),
    mutant(
        "the chain not followed",
        "ledger/chain.py",
        "if entry.previous != self.head.hash:",
        "if False:",
        f"{TAMPERING}rows_of_two_histories_put_together_are_found",
    ),
    mutant(
        "a ledger that was cut accepted",
        "ledger/heads.py",
        "    if head.sequence > len(hashes):\n        return (",
        "    if head.sequence > len(hashes):\n        return None and (",
        f"{TAMPERING}rows_cut_off_at_the_end_are_found_by_the_witness",
    ),
    mutant(
        "a restored ledger that went on accepted",
        "ledger/heads.py",
        "    if hashes[head.sequence - 1] != head.hash:\n",
        "    if False:\n",
        f"{HEADS}a_restored_ledger_that_went_on_is_refused",
    ),
    mutant(
        "the witness not told",
        "ledger/journal.py",
        "            if entries:\n                self.remember()\n",
        "",
        f"{HEADS}the_witness_knows_the_newest_entry_before_reserve_returns",
    ),
)

LEAVING_MUTANTS = (
    mutant(
        "the gate open",
        "gate.py",
        "if prefix != PREFIX or not self._ledger.is_settled(reference, self._run_id):",
        "if False:",
        f"{GATE}a_site_whose_trainer_was_bypassed_can_send_nothing",
        f"{GATE}a_header_without_a_settled_entry_is_stopped",
    ),
    mutant(
        "another run's entry opens the gate",
        "ledger/ledger.py",
        "return self._journal.books.settled.get(reference) == run_id",
        "return reference in self._journal.books.settled",
        f"{GATE}an_entry_of_another_run_does_not_count",
    ),
    mutant(
        "a reservation opens the gate",
        "ledger/books.py",
        "        self._reservations[entry.sequence] = reservation\n",
        "        self._reservations[entry.sequence] = reservation\n"
        "        self.settled[entry.hash] = plan.run.run_id\n",
        f"{GATE}a_reservation_is_no_settlement",
    ),
    mutant(
        "a delta above one over the patients",
        "policy.py",
        "    if delta > largest:\n",
        "    if False:\n",
        f"{POLICY}what_cannot_be_kept_is_refused_with_the_value_and_the_way_out",
    ),
    mutant(
        "the laxer delta of the two files",
        "policy.py",
        "delta=min(dp.delta, policy.delta),",
        "delta=max(dp.delta, policy.delta),",
        f"{POLICY}the_stricter_of_both_holds_for_the_run_and_the_sites_own_for_its_account",
    ),
    mutant(
        "a private number told",
        "dp/trainer.py",
        "return FitStats(None, steps,",
        "return FitStats(float(ignored), steps,",
        f"{TRAINER}nothing_measured_on_patients_is_told",
    ),
)

MUTANTS = (
    *NOISE_MUTANTS,
    *CLIPPING_MUTANTS,
    *SAMPLING_MUTANTS,
    *COUNTING_MUTANTS,
    *SPENDING_MUTANTS,
    *RECORD_MUTANTS,
    *LEAVING_MUTANTS,
    *SUM_MUTANTS,
    *SHARED_NOISE_MUTANTS,
)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD")
    word = parser.parse_args().only
    chosen = [mutant for mutant in MUTANTS if word in mutant.name]
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        shares = [chosen[number::AT_ONCE] for number in range(AT_ONCE)]
        survivors = sum(pool.map(survivors_of, shares))
    with Laboratory() as laboratory:
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        failed = laboratory.control(tests).failed
    print(f"{'(nothing changed)':56} {', '.join(failed) or 'all of these tests pass'}")
    seconds = time.perf_counter() - started
    print(f"{len(chosen) - survivors} of {len(chosen)} caught in {seconds:.0f} s")
    return int(bool(survivors or failed or not chosen))


def survivors_of(mutants: Sequence[Mutant]) -> int:
    """How many of them no test caught; prints a line for each."""
    survivors = 0
    with Laboratory() as laboratory:
        for each in mutants:
            try:
                by = ", ".join(laboratory.caught_by(each)) or "SURVIVED"
            except Broken as error:
                by = f"BROKEN: {error}"
            survivors += by.startswith(("SURVIVED", "BROKEN"))
            print(f"{each.name:56} {by}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
