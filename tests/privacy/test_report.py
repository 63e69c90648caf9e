"""The officer's page: its numbers are the accountant's, its words are escaped, it stands alone."""

import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from hypothesis import given
from hypothesis import strategies as st

from fedefm.report.figures.canvas import drawn
from privacy.accountant import ACCOUNTANT, epsilon, epsilon_rdp
from privacy.ledger import Budget, Dataset, Entry, RunLabel
from privacy.mechanism import Mechanism, Spend, together
from privacy.report.facts import DatasetFacts, Epsilons, SiteFacts
from privacy.report.gather import MOMENTS, dataset_facts
from privacy.report.meaning import ADJACENCY, found_at_most, in_words
from privacy.report.numbers import below
from privacy.report.numbers import epsilon as shown
from privacy.report.page import as_json, render

PATIENTS = Dataset("pretraining", "patient")
BUDGET = Budget(8.0, 1e-5, "add_or_remove_one")
STRONG, WEAK = Mechanism(2.0, 0.03, 1000, 60), Mechanism(1.0, 0.02, 1000, 45)
START = datetime(2026, 1, 5, 8, tzinfo=timezone.utc)


class Book:
    """Entries one after another, one an hour, as a ledger would write them."""

    def __init__(self, dataset: Dataset = PATIENTS) -> None:
        self.dataset = dataset
        self.entries: list[Entry] = []

    def run(
        self, name: str, mechanism: Mechanism, fits: int, steps: int = 5, planned: int = 0
    ) -> RunLabel:
        """A run that settles ``fits`` fits; its plan stays open."""
        run = RunLabel(f"id of {name}", name, "")
        self.plan = self.add(
            "plan", run, mechanism, max(planned, fits * steps), budget=BUDGET
        ).sequence
        for _ in range(fits):
            drawn = self.add("reserve", run, mechanism, steps, refers=self.plan).sequence
            self.add("settle", run, mechanism, steps, refers=drawn)
        return run

    def add(self, kind, run, mechanism, steps, refers=0, budget=None, reason="") -> Entry:
        """One entry more."""
        entry = Entry(
            kind,
            dataset=self.dataset,
            run=run,
            mechanism=mechanism,
            steps=steps,
            refers=refers,
            budget=budget,
            reason=reason,
        )
        newest = self.entries[-1] if self.entries else None
        when = START + timedelta(hours=len(self.entries))
        self.entries.append(entry.after(newest, when.isoformat()))
        return self.entries[-1]


class Page(HTMLParser):
    """The text of a page by element, and all addresses in it."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attributes if name.endswith(("href", "src", "action", "data"))
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.text.setdefault(self.open[-1], []).append(" ".join(data.split()))

    @property
    def words(self) -> str:
        """All that can be read."""
        return " ".join(
            piece
            for tag, pieces in self.text.items()
            if tag not in ("style", "title")
            for piece in pieces
        )


def facts_of(book: Book, budget: Budget = BUDGET, interval: float = 1e-3) -> DatasetFacts:
    (facts,) = dataset_facts(book.entries, {book.dataset: budget}, budget, interval)
    return facts


def site_of(*datasets: DatasetFacts, doubts: Sequence[str] = ()) -> SiteFacts:
    return SiteFacts(
        "hosp-a",
        START,
        ACCOUNTANT,
        1e-3,
        7,
        7,
        "ab" * 32,
        ("All is well.",),
        tuple(doubts),
        datasets,
    )


def page_of(*datasets: DatasetFacts, doubts: Sequence[str] = ()) -> str:
    return render(site_of(*datasets, doubts=doubts), drawn, "body { color: black; }", "1.2")


def two_jobs() -> Book:
    book = Book()
    run = book.run("first", STRONG, fits=20, planned=110)
    book.add("close", run, STRONG, 10, refers=book.plan, reason="the run ended")
    book.run("second", WEAK, fits=10, planned=80)
    return book


def by_dp_accounting(spend: Spend, delta: float) -> float:
    accountant = PLDAccountant(
        NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=1e-3
    )
    for mechanism, steps in spend.items():
        accountant.compose(mechanism.event(), steps)
    return float(accountant.get_epsilon(delta))


def test_epsilon_at_the_top_is_what_dp_accounting_says_of_all_jobs_together():
    page = Page(page_of(facts_of(two_jobs())))

    (top,) = [text for text in page.text["b"] if text.startswith("ε = ")]
    expected = by_dp_accounting({STRONG: 100, WEAK: 50}, 1e-5)
    assert float(top.removeprefix("ε = ")) == pytest.approx(expected, abs=1.1e-3)
    assert float(top.removeprefix("ε = ")) >= expected - 1e-9  # a bound is rounded up


def test_every_number_has_its_unit_adjacency_delta_and_accountant_beside_it():
    words = Page(page_of(facts_of(two_jobs()))).words
    assert "for each patient of “pretraining”, of at most 8" in words
    assert "adding or removing one patient" in words
    assert "δ = 1e-5" in words
    assert ACCOUNTANT in words


def test_spent_reserved_and_left_make_up_the_cap():
    facts = facts_of(two_jobs())
    everything = together({STRONG: 100}, {WEAK: 80})
    assert facts.committed == epsilon(everything, 1e-5)
    assert facts.spent.record + facts.reserved + facts.left == pytest.approx(8.0)
    assert facts.reserved > 0


def test_jobs_are_counted_alone_and_together_for_less_than_their_sum():
    facts = facts_of(two_jobs())
    assert [job.epsilon for job in facts.jobs] == [
        epsilon({STRONG: 100}, 1e-5),
        epsilon({WEAK: 50}, 1e-5),
    ]
    assert facts.spent.record < sum(job.epsilon for job in facts.jobs)
    assert [job.given_back for job in facts.jobs] == [10, 0]
    assert [dict(job.reserved) for job in facts.jobs] == [{}, {WEAK: 30}]


def test_mechanisms_stand_with_their_steps_and_runs():
    book = two_jobs()
    book.run("third", STRONG, fits=1)
    uses = {use.mechanism: use for use in facts_of(book).uses}
    assert (uses[STRONG].spent, uses[STRONG].runs) == (105, ("first", "third"))
    assert (uses[WEAK].spent, uses[WEAK].reserved) == (50, 30)


def test_cross_checks_are_named_and_lie_where_they_should():
    spent = facts_of(two_jobs()).spent
    assert spent.rdp == epsilon_rdp({STRONG: 100, WEAK: 50}, 1e-5)
    assert spent.record < spent.rdp
    assert spent.prv == pytest.approx(spent.record, rel=0.02)


def test_replacing_one_has_no_cross_check_and_says_so():
    budget = Budget(8.0, 1e-5, "replace_one")
    facts = facts_of(two_jobs(), budget)
    assert facts.spent.record > facts_of(two_jobs()).spent.record
    assert facts.spent.prv is facts.spent.rdp is None
    words = Page(page_of(facts)).words
    assert "replacing one patient" in words
    assert "not available for replacing one" in words


def test_a_finer_grid_gives_a_slightly_smaller_number():
    book = Book()
    book.run("quick to count", Mechanism(3.0, 0.02, 1000, 1000), fits=4)
    fine, coarse = facts_of(book, interval=1e-4), facts_of(book)
    assert coarse.spent.record * 0.99 < fine.spent.record < coarse.spent.record


def test_epsilon_over_time_ends_at_the_number_of_record_and_is_never_too_low():
    book = two_jobs()
    facts = facts_of(book)
    assert facts.moments[-1].spent == facts.spent.record
    assert facts.moments[-1].committed == facts.committed
    times = [moment.when for moment in facts.moments]
    assert times == sorted(times)
    for moment in facts.moments:
        until = [entry for entry in book.entries if entry.time <= moment.when.isoformat()]
        (then,) = dataset_facts(until, {PATIENTS: BUDGET}, BUDGET, drawn=False)
        assert then.spent.record - 1e-9 <= moment.spent <= 1.05 * then.spent.record + 0.01
        assert then.committed - 1e-9 <= moment.committed <= 1.05 * then.committed + 0.01


@given(st.integers(1, 60), st.integers(1, 5))
def test_the_figure_has_a_bounded_number_of_points_with_both_ends(fits, runs):
    from privacy.report.history import histories

    book = Book()
    for number in range(runs):
        run = book.run(f"run {number}", STRONG, fits)
        book.add("close", run, STRONG, 0, refers=book.plan, reason="the run ended")
    (history,) = histories(book.entries).values()
    moments = history.moments(MOMENTS)
    assert len(moments) <= MOMENTS
    assert (moments[0], moments[-1]) == (history.states[0], history.states[-1])


def test_a_refund_lowers_the_line_and_is_told_with_its_reason():
    book = Book()
    run = book.run("dead", WEAK, fits=3, steps=10, planned=60)
    lost = book.add("reserve", run, WEAK, 20, refers=book.plan).sequence
    before = facts_of(book)
    book.add("refund", run, WEAK, 20, refers=lost, reason="no power, nothing sent")
    after = facts_of(book)

    assert before.jobs[0].unsettled == 20
    assert "20 steps were reserved and not settled (runs: dead)" in Page(page_of(before)).words
    assert after.moments[-1].spent < after.moments[-2].spent
    words = Page(page_of(after)).words
    assert "no power, nothing sent" in words
    assert "No reservation is open" in words


def test_a_plan_that_makes_room_for_a_new_one_gave_nothing_back():
    book = Book()
    run = book.run("resumed", STRONG, fits=2, planned=30)
    book.add("close", run, STRONG, 20, refers=book.plan, reason="replaced")
    book.add("plan", run, WEAK, 20, budget=BUDGET)
    (job,) = facts_of(book).jobs
    assert job.given_back == 0
    assert dict(job.reserved) == {WEAK: 20}


def test_a_name_from_the_ledger_cannot_become_markup():
    evil = "<script>alert('x')</script><b>&amp;"
    book = Book(Dataset(evil, "patient"))
    run = book.run(evil, STRONG, fits=1, planned=50)
    book.add("refund", run, STRONG, 45, refers=book.plan, reason=evil)
    html = page_of(facts_of(book), doubts=[evil])
    page = Page(html)
    assert "script" not in page.tags
    assert page.words.count(evil) >= 4  # as text, in headings, tables and doubts
    assert "alert('x')</script>" not in html


def test_the_page_needs_nothing_from_outside():
    html = page_of(facts_of(two_jobs()))
    page = Page(html)
    assert page.addresses
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "iframe", "img", "object", "base"} & set(page.tags)
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "://" not in without_namespaces
    assert "@import" not in html
    assert "url(http" not in html


def test_every_link_within_the_page_leads_somewhere():
    html = page_of(facts_of(two_jobs()))
    for address in Page(html).addresses:
        assert f'id="{address[1:]}"' in html


def test_doubts_come_before_any_number():
    html = page_of(facts_of(two_jobs()), doubts=["entry 4 does not match its hash"])
    assert html.index("entry 4 does not match") < html.index("ε = ")
    assert "record verified" not in html
    assert "the record is in doubt" in html


def test_a_dataset_without_entries_shows_its_whole_cap():
    facts = facts_of(Book())
    assert (facts.spent.record, facts.left) == (0.0, 8.0)
    words = Page(page_of(facts)).words
    assert "ε = 0" in words
    assert "Nothing was spent yet" in words


def test_without_a_cap_nothing_is_said_to_be_left():
    facts = facts_of(two_jobs(), Budget(None, 1e-5, "add_or_remove_one"))
    assert facts.left is None
    assert "no cap is set" in Page(page_of(facts)).words


def test_a_dataset_that_the_site_file_forgot_is_still_counted():
    (facts,) = dataset_facts(two_jobs().entries, {}, Budget(1.0, 1e-3, "replace_one"))
    assert (facts.cap, facts.delta) == (BUDGET.cap, BUDGET.delta)


def test_what_is_assumed_and_not_covered_is_said():
    words = Page(page_of(facts_of(two_jobs()))).words
    for title in (
        "A patient known to two hospitals adds up",
        "The number of patients of “pretraining” is public",
        "Validation and test patients, and metrics on them",
        "Tuning",
        "Time and size",
        "The site's own people and machine",
    ):
        assert title in words


def test_json_tells_the_same_facts():
    facts = facts_of(two_jobs())
    told = json.loads(as_json(site_of(facts)))
    (dataset,) = told["datasets"]
    assert dataset["spent"]["record"] == facts.spent.record
    assert len(dataset["moments"]) == len(facts.moments)
    (spend,) = dataset["jobs"][0]["spent"]
    assert Mechanism.from_json(spend["mechanism"]) == STRONG
    assert spend["steps"] == 100


@given(st.floats(0, 1e4))
def test_what_is_spent_is_rounded_up_and_what_is_left_down(value):
    assert float(shown(value).replace(",", "")) >= value - 1e-8
    assert float(below(value).replace(",", "")) <= value + 1e-8


@given(st.floats(0.001, 20))
def test_randomized_response_is_recognized_exactly_as_often_as_the_bound_allows(epsilon):
    # it answers truly with probability e^eps / (1 + e^eps): a guesser who believes it
    true = 1 / (1 + 2.718281828459045**-epsilon)
    assert found_at_most(epsilon, 0.0, accused=1 - true) == pytest.approx(true)


@given(st.floats(0, 50), st.floats(0, 0.01), st.floats(0.001, 0.5))
def test_no_bound_is_worse_than_guessing_or_better_than_certainty(epsilon, delta, accused):
    assert accused <= found_at_most(epsilon, delta, accused) <= 1


def test_nothing_spent_means_nothing_said():
    assert "Nothing" in in_words(0.0, 1e-5, "patient")


def test_every_adjacency_has_words():
    assert set(ADJACENCY) == {"add_or_remove_one", "replace_one"}


def test_a_ledger_of_ten_thousand_entries_is_told_in_seconds():
    book = Book()
    mechanisms = [Mechanism(3 + number / 10, 0.03, 1000, 60) for number in range(5)]
    for number in range(20):
        book.run(f"run {number}", mechanisms[number % 5], fits=249, steps=2)
    assert len(book.entries) == 20 * 499
    started = time.process_time()
    page_of(facts_of(book))
    assert time.process_time() - started < 6  # 2 on a quiet machine; see the benchmark


def test_an_epsilon_without_bound_is_said_and_drawn_to_the_top():
    facts = facts_of(two_jobs())
    endless = replace(
        facts,
        spent=Epsilons(math.inf, None, None),
        committed=math.inf,
        moments=(
            *facts.moments[:-1],
            replace(facts.moments[-1], spent=math.inf, committed=math.inf),
        ),
    )
    words = Page(page_of(endless)).words
    assert "ε = without bound" in words
    assert "more than 99.9 %" in words
    assert json.loads(as_json(site_of(endless)))["datasets"][0]["spent"]["record"] == "infinite"


def test_almost_no_noise_is_counted_without_cross_checks_that_cannot_hold_it():
    book = Book()
    book.run("reckless", Mechanism(0.001, 1.0, 10, 10), fits=1)
    spent = facts_of(book).spent
    assert spent.record > 1e5
    assert spent.prv is spent.rdp is None
    assert "too much for a bound" in Page(page_of(facts_of(book))).words


SHARED = replace(STRONG, shares=4)


def test_epsilon_without_any_other_honest_site_stands_beside_shared_noise():
    book = Book()
    book.run("first", SHARED, fits=20)
    book.run("second", WEAK, fits=2)
    facts = facts_of(book)
    alone = together({replace(STRONG, noise_multiplier=1.0): 100}, {WEAK: 10})
    assert facts.own_noise == epsilon(alone, BUDGET.delta)
    assert facts.own_noise > facts.spent.record == epsilon({STRONG: 100, WEAK: 10}, BUDGET.delta)
    assert facts.shares == 4


def test_a_site_that_shared_nothing_rests_on_nobody():
    book = Book()
    book.run("first", STRONG, fits=2)
    assert facts_of(book).own_noise is None
    assert "Honest noise" not in page_of(facts_of(book))


def test_the_page_says_on_whom_shared_noise_rests():
    book = Book()
    book.run("first", SHARED, fits=20)
    text = page_of(facts_of(book))
    assert "Honest noise of other sites" in text
    assert "up to 4 sites, this one among them" in text
    assert shown(facts_of(book).own_noise) in text
    assert "2, made by 4 sites" in text
