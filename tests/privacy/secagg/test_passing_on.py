"""What goes from each owner through the receiver to all members."""

import json

import pytest

from fedefm.errors import ConfigError
from privacy.secagg.dealing import Dealing
from privacy.secagg.passing_on import Dealt, deal_bytes, dealt_to
from privacy.secagg.payload import MOST_BYTES
from privacy.secagg.plan import check_size
from privacy.secagg.sealing import SEALED_BYTES


def dealt_among(names: list[str], signature: int) -> dict[str, Dealt]:
    return {
        owner: Dealt(
            Dealing(owner, dict.fromkeys(names, bytes(64)), bytes(32), bytes(signature)),
            {holder: bytes(SEALED_BYTES) for holder in names if holder != owner},
        )
        for owner in names
    }


@pytest.mark.parametrize(
    "names", [["a", "b"], ["a", "bcd", 'e"f', "\N{LATIN SMALL LETTER U WITH DIAERESIS}"]]
)
@pytest.mark.parametrize("signature", [256, 512])
def test_no_deal_is_longer_than_was_reckoned_with(names: list[str], signature: int) -> None:
    dealt = dealt_among(names, signature)
    longest = max(len(dealt_to(name, dealt)) for name in names)
    assert json.loads(dealt_to(names[0], dealt))
    assert longest <= deal_bytes(names)
    if signature == 512:  # but for what is sealed to itself
        assert deal_bytes(names) < longest + 2 * SEALED_BYTES + 50


def test_as_many_as_fit_one_message_may_be_in_a_sum() -> None:
    names = [f"site-{number:03}" for number in range(170)]
    most = max(n for n in range(1, 170) if deal_bytes(names[:n]) <= MOST_BYTES)
    check_size(names[:most], "the sum")
    with pytest.raises(ConfigError, match=f"the sum is over {most + 1} members"):
        check_size(names[: most + 1], "the sum")
    assert len(dealt_to(names[0], dealt_among(names[:most], 512))) <= MOST_BYTES
    assert len(dealt_to(names[0], dealt_among(names[: most + 1], 512))) > MOST_BYTES - 400
