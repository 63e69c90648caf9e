"""Ways to break what noise in shares promises, each with the tests that notice."""

from tests.privacy.mutation import mutant

SHARES, SHARING = "secagg/test_noise_shares.py::test_", "dp/test_sharing.py::test_"
NOISY_SUM, POLICY = "secagg/test_noisy_sum.py::test_", "test_policy.py::test_"
MECHANISM, ENTRY = "test_mechanism.py::test_", "ledger/test_entry.py::test_"
REPORT = "test_report.py::test_"
NOISE_SHARES = "secagg/noise_shares.py"

SHARED_NOISE_MUTANTS = (
    mutant(
        "a share of half the deviation",
        NOISE_SHARES,
        "noise *= self.deviation / self.quantum",
        "noise *= 0.5 * self.deviation / self.quantum",
        f"{SHARES}a_share_has_its_deviation_and_the_honest_ones_together_what_is_counted",
    ),
    mutant(
        "shares that only all members make up",
        NOISE_SHARES,
        "/ math.sqrt(self.honest)\n\n    def _fits",
        "/ self.honest\n\n    def _fits",
        f"{SHARES}a_share_has_its_deviation_and_the_honest_ones_together_what_is_counted",
    ),
    mutant(
        "rounding that is not counted",
        NOISE_SHARES,
        "        return quantum * math.sqrt(square)\n",
        "        return self.clip_norm\n",
        f"{SHARES}many_small_moves_are_lifted_by_rounding_and_that_is_counted",
    ),
    mutant(
        "rounding counted too small",
        NOISE_SHARES,
        " + d / 4 + ",
        " + d / 400 + ",
        f"{SHARES}many_small_moves_are_lifted_by_rounding_and_that_is_counted",
    ),
    mutant(
        "the sum of a share not on the grid",
        NOISE_SHARES,
        "        whole = np.floor(numbers)\n",
        "        whole = numbers.copy()\n",
        f"{SHARES}what_a_member_gives_is_what_python_s_fractions_give",
    ),
    mutant(
        "the noise of a share not on the grid",
        NOISE_SHARES,
        "whole += np.rint(noise, out=noise)",
        "whole += noise",
        f"{SHARES}what_a_member_gives_is_what_python_s_fractions_give",
    ),
    mutant(
        "a rounding that is the same for all",
        NOISE_SHARES,
        "whole += stream.uniform(len(numbers)) < numbers",
        "whole += numbers > 0.5",
        f"{SHARES}what_a_member_gives_is_what_python_s_fractions_give",
    ),
    mutant(
        "a ring that a share can leave",
        NOISE_SHARES,
        "        return bool(reach / quantum + 2 <= TOP)\n",
        "        return bool(self.most * self.clip_norm / quantum <= TOP)\n",
        f"{SHARES}no_draw_takes_a_member_beyond_the_ring",
    ),
    mutant(
        "a sum that clipping cannot give",
        NOISE_SHARES,
        "        if not np.abs(numbers).max() <= self.most * self.clip_norm:",
        "        if False:",
        f"{SHARES}a_sum_that_clipping_cannot_give_is_not_released",
    ),
    mutant(
        "noise too small to be rounded",
        NOISE_SHARES,
        "        if self.deviation < LEAST_DEVIATION * self.quantum:\n",
        "        if False:\n",
        f"{SHARES}settings_without_a_fine_quantum_are_refused",
    ),
    mutant(
        "colluders that count as honest",
        NOISE_SHARES,
        "secagg.noise_shares.honest + secagg.colluders - 1",
        "secagg.noise_shares.honest - 1",
        f"{SHARES}the_run_file_says_it_all",
        f"{NOISY_SUM}with_a_share_too_few_nobody_opens",
    ),
    mutant(
        "a sum opened with too few shares of the noise",
        "secagg/sum.py",
        "        needed = least_others(self._settings) if occasion.noisy else 0\n",
        "        needed = 0\n",
        f"{NOISY_SUM}it_is_the_members_who_refuse_though_enough_for_other_sums_are_left",
    ),
    mutant(
        "members who were told of other noise",
        "secagg/sum.py",
        "        if not occasion.noisy:\n",
        "        if True:\n",
        f"{NOISY_SUM}members_who_were_told_of_other_noise_open_nothing_together",
    ),
    mutant(
        "a model that moved by one share of the noise",
        "dp/sharing.py",
        "        self._found = {name: noisy[name] for name in parameters}\n",
        "        super()._descend(parameters, noisy, rate)\n"
        "        self._found = {name: noisy[name] for name in parameters}\n",
        f"{SHARING}the_model_and_what_continues_are_left_as_they_were",
    ),
    mutant(
        "a noisy sum given twice",
        "dp/sharing.py",
        "        given, self._to_give = self._to_give, None\n",
        "        given = self._to_give\n",
        f"{SHARING}a_sum_is_given_once",
    ),
    mutant(
        "a noisy sum given before it is settled",
        "dp/sharing.py",
        "        self._found = {name: noisy[name] for name in parameters}\n",
        "        self._to_give = self._found = {name: noisy[name] for name in parameters}\n",
        f"{SHARING}what_was_not_settled_is_not_given",
    ),
    mutant(
        "no noise in shares",
        "dp/sharing.py",
        "torch.from_numpy(self._shares.add(flat.numpy(), self._stream))",
        "flat",
        f"{SHARING}the_noise_is_a_share_of_what_the_account_counts",
    ),
    mutant(
        "more patients than the noise is for",
        "dp/sharing.py",
        "    if clip.norm > shares.clip_norm or sampling.cap > shares.most:\n",
        "    if False:\n",
        f"{SHARING}a_step_that_the_noise_is_not_for_is_refused",
    ),
    mutant(
        "shared noise counted as the site's own",
        "dp/trainer.py",
        "self._mechanism = sampling.mechanism(noise_multiplier, shares)",
        "self._mechanism = sampling.mechanism(noise_multiplier)",
        f"{SHARING}an_account_that_counts_the_noise_as_the_site_s_own_is_refused",
    ),
    mutant(
        "a site that rests on others unasked",
        "policy.py",
        "    if not policy.noise_shares:\n",
        "    if False:\n",
        f"{POLICY}a_site_that_did_not_allow_it_rests_on_nobody_else_s_noise",
    ),
    mutant(
        "a share that the ledger does not tell",
        "mechanism.py",
        "return numbers if self.shares > 1 else {",
        "return {",
        f"{MECHANISM}shared_noise_is_another_mechanism_and_says_of_how_many",
        f"{ENTRY}the_shares_of_the_noise_are_part_of_the_hash",
    ),
    mutant(
        "old entries with another hash",
        "mechanism.py",
        "return numbers if self.shares > 1 else {",
        "return numbers if self.shares else {",
        f"{ENTRY}an_entry_from_before_noise_could_be_shared_keeps_its_hash",
    ),
    mutant(
        "what is left without others told too small",
        "mechanism.py",
        "        own = self.noise_multiplier / math.sqrt(self.shares)\n",
        "        own = self.noise_multiplier\n",
        f"{REPORT}epsilon_without_any_other_honest_site_stands_beside_shared_noise",
        f"{MECHANISM}where_nobody_else_is_honest_the_own_share_of_the_noise_is_left",
    ),
)
