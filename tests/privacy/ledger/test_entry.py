"""An entry's hash stands for all that it says and all that came before."""

import hashlib
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import LedgerCorrupt
from privacy.ledger import Budget, Dataset, RunLabel
from privacy.ledger.entry import Entry, read_entry
from privacy.mechanism import Mechanism

words = st.text(max_size=20)
mechanisms = st.builds(
    Mechanism,
    st.floats(0.01, 100),
    st.floats(1e-6, 1),
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.integers(1, 300),
)
entries = st.builds(
    Entry,
    kind=st.sampled_from(["plan", "reserve", "settle", "close", "refund"]),
    sequence=st.integers(1, 10**9),
    time=words,
    previous=words,
    dataset=st.builds(Dataset, words, st.sampled_from(["patient", "image"])),
    run=st.builds(RunLabel, words, words, words),
    mechanism=mechanisms,
    steps=st.integers(0, 10**9),
    refers=st.integers(0, 10**9),
    budget=st.none()
    | st.builds(
        Budget,
        st.none() | st.floats(0.01, 100),
        st.floats(1e-12, 0.1),
        st.sampled_from(["add_or_remove_one", "replace_one"]),
    ),
    reason=words,
)


@given(entry=entries)
def test_an_entry_reads_back_from_its_record(entry):
    again = read_entry(entry.record, "signature")
    assert again == entry
    assert again.hash == entry.hash
    assert again.signature == "signature"


@given(entry=entries, other=entries)
def test_no_part_can_change_without_the_hash(entry, other):
    for field in fields(Entry):
        changed = replace(entry, **{field.name: getattr(other, field.name)})
        same = changed == entry
        assert (changed.hash == entry.hash) == same, field.name


def test_an_entry_takes_its_place_behind_another():
    first = Entry("genesis").after(None, "today")
    second = Entry("plan").after(first, "tomorrow")
    assert (first.sequence, first.previous, first.time) == (1, "", "today")
    assert (second.sequence, second.previous) == (2, first.hash)


@pytest.mark.parametrize(
    "record",
    ["", "{", "[]", "7", "null", "{}", '{"kind":"plan","surprise":1}', '{"kind":["plan"]}'],
)
def test_what_is_no_record_is_refused(record):
    with pytest.raises(LedgerCorrupt):
        read_entry(record, "")


@given(entry=entries)
def test_another_text_of_the_same_entry_is_refused(entry):
    with pytest.raises(LedgerCorrupt, match="not in canonical form"):
        read_entry(" " + entry.record, "")


# As ledgers hold it from before noise could be shared.
OLD_PLAN = (
    '{"dataset":{"name":"chest","unit":"patient"},"kind":"plan","mechanism":{"batch_cap":30,'
    '"dataset_size":100,"noise_multiplier":1.0,"sampling_rate":0.1},"previous":"","reason":"",'
    '"refers":0,"run":{"job":"job-1","name":"first","run_id":"id"},"sequence":2,"steps":20,'
    '"time":"today"}'
)
SHARED = '"noise_multiplier":1.0,"sampling_rate":0.1,"shares":%d'


def test_an_entry_from_before_noise_could_be_shared_keeps_its_hash():
    entry = read_entry(OLD_PLAN, "")
    assert entry.mechanism == Mechanism(1.0, 0.1, 100, 30)
    assert entry.hash == hashlib.sha256(OLD_PLAN.encode()).hexdigest()


def test_the_shares_of_the_noise_are_part_of_the_hash():
    shared = OLD_PLAN.replace('"noise_multiplier":1.0,"sampling_rate":0.1', SHARED % 4)
    entry = read_entry(shared, "")
    assert entry.mechanism == Mechanism(1.0, 0.1, 100, 30, shares=4)
    assert entry.hash == hashlib.sha256(shared.encode()).hexdigest()


def test_one_share_has_one_way_to_be_written():
    with pytest.raises(LedgerCorrupt, match="not in canonical form"):
        read_entry(OLD_PLAN.replace('"noise_multiplier":1.0,"sampling_rate":0.1', SHARED % 1), "")
