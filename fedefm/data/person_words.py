"""By which words a DICOM header calls its patient, and whether the name of a folder has them.

Exports are filed under names, numbers and dates of birth, written as people write: ``MUELLER`` for
Müller, ``MillerAnna``, ``1948-03-12``. So two texts are compared without case and accents.
"""

import re
import unicodedata
from collections.abc import Iterator

from pydicom.dataset import Dataset

CALLED = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "OtherPatientIDs",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientBirthDate",
    "ResponsiblePerson",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
)
SPELLINGS = {"æ": "a", "œ": "o", "ø": "o", "ł": "l", "đ": "d"} | {
    "ae": "a",  # as ä is written without dots
    "oe": "o",
    "ue": "u",
}


def person_words(header: Dataset) -> frozenset[str]:
    """All words by which the patient and the visit are called."""
    return frozenset(word for text in _texts(header) for word in _words(text))


def names_person(name: str, called: frozenset[str]) -> bool:
    """Whether one of the words is in a folder's ``name``, or it consists of nothing else.

    Words of one or two letters tell somebody only together: classes are called so, too.
    """
    words = _words(name)
    if any(map(_tells_alone, words & called)):
        return True
    if len(words) > 1 and words <= called and any(map(str.isalpha, words)):
        return True
    joined = "".join(re.findall(r"[^\W_]+", _plain(name)))
    return any(word in joined for word in called if _tells_inside(word))


def _words(text: str) -> frozenset[str]:
    """Its words and numbers, and all of its digits as one number, as a date has them."""
    digits = re.sub(r"\D", "", text)
    return frozenset(re.findall(r"[^\W_]+", _plain(text))) | ({digits} if digits else set())


def _plain(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    for spelled, short in SPELLINGS.items():
        plain = plain.replace(spelled, short)
    return plain


def _tells_alone(word: str) -> bool:
    """Many Chinese names have two signs."""
    return len(word) >= (3 if word.isascii() else 2)


def _tells_inside(word: str) -> bool:
    """Whether a word tells somebody inside of a longer one, as in ``MillerAnna``."""
    if word.isdecimal():
        return len(word) >= 6
    return len(word) >= (4 if word.isascii() else 2)


def _texts(header: Dataset) -> Iterator[str]:
    for holder in (header, *(header.get("OtherPatientIDsSequence") or [])):
        yield from (str(holder.get(name)) for name in CALLED if holder.get(name))
