"""Secret draws: their distribution, and that nobody can repeat them."""

import ast
import copy
import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedefm.config import RunConfig, SiteConfig
from fedefm.errors import PrivacyError
from privacy.dp import randomness
from privacy.dp.randomness import SecretStream

REPOSITORY = Path(__file__).resolve().parents[3]
KEY = bytes(range(32))
CERTAIN = 1e-9  # a right stream fails a test about once in a billion runs


def test_the_stream_is_chacha20_as_rfc_8439_prints_it():
    # appendix A.1, test vectors 1 and 2: zero key, zero nonce, blocks 0 and 1
    stream = SecretStream(bytes(32))
    assert stream.take(16).hex() == "76b8e0ada0f13d90405d6ae55386bd28"
    stream.take(48)
    assert stream.take(16).hex() == "9f07e7be5551387a98ba977c732d080d"


@given(st.lists(st.integers(0, 300), max_size=8))
def test_pieces_are_the_whole(sizes):
    pieces, whole = SecretStream(KEY), SecretStream(KEY)
    assert b"".join(bytes(pieces.take(size)) for size in sizes) == whole.take(sum(sizes))


def test_streams_differ_unless_a_test_gives_the_key():
    assert SecretStream().take(32) != SecretStream().take(32)
    assert SecretStream(KEY).take(32) == SecretStream(KEY).take(32)
    assert not np.array_equal(SecretStream().normal(8), SecretStream().normal(8))


def test_the_seeds_of_torch_and_numpy_do_not_reach_it():
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)
        stream = SecretStream()
        drawn.append((*stream.normal(4), *torch.rand(4, generator=stream.generator()).tolist()))
    assert not set(drawn[0]) & set(drawn[1])


def test_uniforms_are_uniform():
    drawn = SecretStream().uniform(200_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > CERTAIN
    assert np.array_equal(drawn * 2**53, np.rint(drawn * 2**53))


def test_normals_are_normal_and_independent():
    drawn = SecretStream().normal(400_001)  # odd, and several times what is drawn at once
    assert len(drawn) == 400_001
    assert stats.kstest(drawn, "norm").pvalue > CERTAIN
    size = len(drawn)
    assert abs(drawn.mean()) < 6 / size**0.5
    assert abs(drawn.var() - 1) < 6 * (2 / size) ** 0.5
    assert abs((drawn**4).mean() - 3) < 6 * (96 / size) ** 0.5
    # the two of a Box-Muller pair lie half a chunk apart, neighbors have different angles
    for lag in (1, randomness.NORMALS_AT_ONCE // 2, randomness.NORMALS_AT_ONCE):
        here, there = drawn[:-lag], drawn[lag:]
        assert abs((here * there).mean()) < 6 / len(here) ** 0.5
        assert abs((here**2 * there**2).mean() - 1) < 6 * (8 / len(here)) ** 0.5


def test_the_tail_has_the_mass_that_it_should():
    drawn = np.abs(SecretStream().normal(4_000_000))
    for edge in (3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(edge)
        found = int((drawn > edge).sum())
        assert stats.binomtest(found, len(drawn), expected).pvalue > CERTAIN


@pytest.mark.parametrize(("word", "radius"), [(0, 9.4926), (2**64 - 1, 0.0), (2**63, 1.1774)])
def test_no_word_of_the_cipher_makes_a_normal_that_is_not_finite(monkeypatch, word, radius):
    stream = SecretStream()
    monkeypatch.setattr(stream, "words", lambda count: np.full(count, word, dtype=np.uint64))
    drawn = stream.normal(2)
    assert np.hypot(*drawn) == pytest.approx(radius, abs=1e-4)


def test_a_key_is_left_long_before_its_block_counter_ends(monkeypatch):
    assert randomness.BYTES_PER_KEY < 64 * 2**32
    unbroken = SecretStream(KEY)
    expected = [unbroken.take(40), unbroken.take(40)]
    expected.append(SecretStream(bytes(unbroken.take(32))).take(40))
    monkeypatch.setattr(randomness, "BYTES_PER_KEY", 100)
    short = SecretStream(KEY)
    drawn = [bytes(short.take(40)) for _ in range(50)]
    assert drawn[:3] == expected
    assert len(set(drawn)) == 50


def test_threads_share_a_stream_without_drawing_the_same():
    stream, drawn = SecretStream(), []

    def draw():
        for _ in range(300):
            drawn.append(bytes(stream.take(16)))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 1200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_draws_something_else():
    stream, context = SecretStream(), multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(bytes(stream.take(32))))
    child.start()
    received = ours.recv()
    child.join()
    assert received != bytes(stream.take(32))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_cannot_be_copied(copied):
    with pytest.raises(PrivacyError, match="twice"):
        copied(SecretStream())


def test_generators_are_filled_with_secret_words_and_not_with_a_short_seed():
    stream = SecretStream()
    first, second = stream.generator(), stream.generator()
    assert not torch.equal(torch.rand(64, generator=first), torch.rand(64, generator=second))
    # equal low bits of the seed would make the rest of the state equal, too
    words = stream.generator().get_state()[24 : 24 + 624 * 8].view(torch.int64)
    seeded = torch.Generator().manual_seed(int(words[0])).get_state()
    assert not torch.equal(seeded[24 : 24 + 624 * 8].view(torch.int64)[1:], words[1:])
    assert 0 <= int(words.min()) <= int(words.max()) < 2**32
    assert len(words.unique()) > 600


def test_generators_draw_uniforms():
    stream = SecretStream()
    drawn = torch.cat([torch.rand(1000, generator=stream.generator()) for _ in range(100)])
    assert stats.kstest(drawn.double().numpy(), "uniform").pvalue > CERTAIN
    firsts = torch.stack([torch.rand(1, generator=stream.generator()) for _ in range(3000)])
    assert stats.kstest(firsts.flatten().double().numpy(), "uniform").pvalue > CERTAIN


def given_keys(source: str) -> list[int]:
    """Lines that build a SecretStream with an argument, or hand the class on with one bound."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and "SecretStream" in ast.unparse(node) and not is_plain(node)
    ]


def is_plain(call: ast.Call) -> bool:
    """Is every SecretStream in this call built without arguments?"""
    named = [n for n in ast.walk(call) if isinstance(n, ast.Name | ast.Attribute) and names_it(n)]
    built = [
        n.func
        for n in ast.walk(call)
        if isinstance(n, ast.Call) and names_it(n.func) and not n.args and not n.keywords
    ]
    return len(named) == len(built)


def names_it(node: ast.AST) -> bool:
    return "SecretStream" in (getattr(node, "id", ""), getattr(node, "attr", ""))


@pytest.mark.parametrize("folder", ["fedefm", "privacy", "nvflare_jobs", "provisioning"])
def test_no_source_gives_a_key(folder):
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        for line in given_keys(path.read_text(encoding="utf-8"))
    ]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "SecretStream(key)",
        "r.SecretStream(key=k)",
        "partial(SecretStream, k)",
        "f(SecretStream(k))",
    ],
)
def test_a_given_key_is_found(line):
    assert given_keys(line)
    assert not given_keys("x = f(SecretStream()) if y is None else randomness.SecretStream()")


def test_no_setting_of_a_file_is_named_like_a_key_or_a_seed_of_privacy():
    names = set(setting_names(RunConfig)) | set(setting_names(SiteConfig))
    assert "noise_multiplier" in names  # they are really read
    forbidden = ("key", "randomness", "random", "stream", "noise_seed")
    assert not [name for name in names if name in forbidden or name.endswith("_key")]
    assert [name for name in names if "seed" in name] == ["seed"]


def setting_names(section):
    for name, field in section.model_fields.items():
        yield name
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if hasattr(part, "model_fields"):
                yield from setting_names(part)
