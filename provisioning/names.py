"""How FLARE can call what people call by other names.

FLARE allows a site letters, digits, ``-`` and ``_``: dots divide its addresses. People are named
like e-mail addresses, the server like a host.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import count

FLARE_NAME = re.compile(r"[A-Za-z0-9_-]+")
ORGANIZATION = re.compile(r"[A-Za-z0-9_]+")
PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
PERSON = re.compile(r"[A-Za-z0-9._%+][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
LONGEST = 63  # a certificate holds 64 characters, a folder of FLARE's as well
LETTERS = str.maketrans(  # those that Unicode does not take apart
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"}
    | {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}
)
TAKEN = ("server", "relay", "admin", "all", "client")  # words of FLARE's commands


@dataclass(frozen=True)
class Hospital:
    """``written`` as people write it, ``name`` as FLARE knows it."""

    written: str
    name: str

    @property
    def organization(self) -> str:
        """FLARE's word for whom a site belongs to."""
        return re.sub(r"[^A-Za-z0-9_]", "_", self.name)


def hospital(written: str) -> Hospital:
    """``St. Mary's Hospital`` as FLARE can have it; ``St. Mary's Hospital=st-marys`` names it.

    What it gives may still be no FLARE name; ``site_problems`` says why.
    """
    said, equals, chosen = written.partition("=")
    said = " ".join(said.split())
    if equals:
        return Hospital(said or chosen.strip(), chosen.strip())
    as_it_is = FLARE_NAME.fullmatch(said) or said.startswith("-")  # the latter is then refused
    return Hospital(said, said if as_it_is else proposal(said))


def proposal(written: str) -> str:
    """A FLARE name in ASCII; empty where nothing of ``written`` is left."""
    plain = (
        unicodedata.normalize("NFKD", written.translate(LETTERS)).encode("ascii", "ignore").decode()
    )
    joined = re.sub(r"[^A-Za-z0-9_-]+", "-", re.sub(r"['`]", "", plain))
    return joined.strip("-")[:LONGEST].rstrip("-")


def free_name(name: str, taken: Iterable[str]) -> str:
    """``name`` with the first number that makes it one of its own."""
    known = {each.casefold() for each in taken}
    forms = (f"{name[: LONGEST - 5]}-{number}" for number in count(2))
    return next(form for form in forms if form.casefold() not in known)


def nearest(said: str, known: Iterable[str]) -> str:
    """The one of ``known`` that looks most like ``said``; empty where none does."""
    forms = {each.casefold(): each for each in known}
    for form in (said, proposal(said)):
        if found := get_close_matches(form.casefold(), forms, n=1, cutoff=0.6):
            return forms[found[0]]
    return ""


def do_you_mean(said: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known."""
    found = nearest(said, known)
    return f"; do you mean {found!r}?" if found else ""


def site_problems(site: Hospital) -> list[str]:
    """Why FLARE cannot know a site by this name: sentences, none where it can."""
    if not site.written:
        return ["a site has no name; say what people call it, as in --site 'City Clinic'"]
    if not site.name:
        return [
            f"site {site.written!r} has no letters that FLARE knows, which are a to z; name it "
            f"yourself, in the form NAME=FLARE_NAME, such as {site.written + '=hospital-a'!r}"
        ]
    for name in (site.written, site.name):
        if name.startswith("-"):
            return [
                f"site {name!r} begins with a dash, which commands take for an option; give it "
                "another name"
            ]
    if not FLARE_NAME.fullmatch(site.name):
        better = f"{site.written}={proposal(site.name) or 'hospital-a'}"
        return [
            f"site {site.name!r} cannot be a FLARE name, which has only letters, digits, - and _; "
            f"call it {better!r}"
        ]
    if len(site.name) > LONGEST:
        shorter = f"{site.written}={site.name[:24].rstrip('-')}"
        return [f"site {site.name!r} is longer than {LONGEST}; shorten it, as in {shorter!r}"]
    if site.name.lower() in TAKEN:
        return [f"site {site.name!r} is a word of FLARE's own commands; choose another name"]
    return []


def person_problems(name: str) -> list[str]:
    """Why ``name`` cannot be a person's."""
    if PERSON.fullmatch(name) and len(name) <= LONGEST:
        return []
    return [f"person {name!r} is not named like an e-mail address, such as 'name@hospital.org'"]
