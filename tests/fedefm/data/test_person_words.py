import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from fedefm.data.person_words import CALLED, names_person, person_words


def header(**attributes: object) -> Dataset:
    made = Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("folder", "person"),
    [
        ("export_MILLER", {"PatientName": "Miller^Zoé"}),
        ("Zoe Miller", {"PatientName": "Miller^Zoé"}),
        ("MillerZoe", {"PatientName": "Miller^Zoé"}),
        (unicodedata.normalize("NFD", "MÜLLER"), {"PatientName": "Müller"}),
        ("mueller", {"PatientName": "MÜLLER^"}),
        ("MÜLLER", {"PatientName": "Mueller"}),
        ("soerensen", {"PatientName": "Sørensen"}),
        ("weiss", {"PatientName": "Weiß"}),
        ("Li_Xu", {"PatientName": "Li^Xu"}),
        ("xa-4711-b", {"PatientID": "4711"}),
        ("MAIDEN", {"PatientBirthName": "Maiden"}),
        ("maiden", {"OtherPatientNames": ["Else", "Maiden"]}),
        ("acc4711", {"AccessionNumber": "ACC4711"}),
        ("1948-03-12", {"PatientBirthDate": "19480312"}),
        ("born19480312", {"PatientBirthDate": "19480312"}),
        ("77-12", {"OtherPatientIDsSequence": [header(PatientID="77-12")]}),
        ("山田", {"PatientName": "Yamada^Tarou=山田^太郎"}),
    ],
)
def test_people_are_found_in_the_names_of_folders(folder: str, person: dict[str, object]) -> None:
    assert names_person(folder, person_words(header(**person)))


@pytest.mark.parametrize("folder", ["stenosis", "0", "12", "li", "class 1", "images", "", "--"])
def test_names_of_classes_stay(folder: str) -> None:
    known = header(PatientName="Li^Xu", PatientID="12", StudyID="1", PatientBirthDate="19480312")
    assert not names_person(folder, person_words(known))


@given(st.sampled_from([name for name in CALLED if "Date" not in name]), st.text(min_size=1))
def test_whatever_stands_in_a_header_is_compared(element: str, text: str) -> None:
    known = person_words(header(**{element: text.replace("\\", "")}))
    assert all(names_person(f"a {word} b", known) for word in known if len(word) > 2)


def test_a_header_without_a_person_names_nobody() -> None:
    assert not names_person("anything", person_words(header()))
