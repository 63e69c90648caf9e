"""With pins a certificate counts by what it is, and not by who issued it."""

from pathlib import Path

import pytest

from fedefm.errors import MessageRejected, ProvisionError
from privacy.identity import ThrowAwayRoot
from privacy.pins import Pins, fingerprint, fingerprint_of

PROJECT, DOUBLE = ThrowAwayRoot(), ThrowAwayRoot()  # who owns a root can issue any name again
PINS = Pins({"hosp-a": fingerprint(PROJECT.issue("hosp-a").certificate)})


def test_the_pinned_certificate_is_taken() -> None:
    PINS.check("hosp-a", PROJECT.issue("hosp-a").certificate)


def test_another_certificate_in_the_name_is_refused_and_both_are_told() -> None:
    double = DOUBLE.issue("hosp-a").certificate
    with pytest.raises(MessageRejected, match=r"^hosp-a: its certificate is") as refusal:
        PINS.check("hosp-a", double)
    told = str(refusal.value)
    assert fingerprint(double) in told
    assert fingerprint(PROJECT.issue("hosp-a").certificate) in told


def test_who_is_not_pinned_is_refused_whatever_it_has() -> None:
    with pytest.raises(MessageRejected, match=r"^hosp-b: the site file pins"):
        PINS.check("hosp-b", PROJECT.issue("hosp-a").certificate)


@pytest.mark.parametrize("garbage", [b"", b"\0", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(garbage: bytes) -> None:
    with pytest.raises(MessageRejected, match="is none"):
        PINS.check("hosp-a", garbage)


def test_the_first_of_a_chain_counts_as_it_is_the_one_that_signs() -> None:
    own, other = (PROJECT.issue(name).certificate for name in ("hosp-a", "hosp-b"))
    PINS.check("hosp-a", own + other)
    with pytest.raises(MessageRejected, match=r"^hosp-a: its certificate is"):
        PINS.check("hosp-a", other + own)


def test_a_place_without_one_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="is no kit"):
        fingerprint_of(tmp_path)
    for name in ("client.crt", "server.crt"):
        (tmp_path / name).write_bytes(PROJECT.issue("hosp-a").certificate)
    with pytest.raises(ProvisionError, match="and has 2"):
        fingerprint_of(tmp_path)
    assert fingerprint_of(tmp_path / "client.crt").startswith("sha256:")
