from fedefm.data.class_counts import MANY, NONE, classes_of, count_classes, missing_classes
from fedefm.data.manifest import Row

ROWS = [
    Row("a", 0, "p1", "lines", "NGT | CVC|CVC", split="train"),
    Row("b", 0, "p1", "lines", "CVC", split="train"),
    Row("c", 0, "p2", "lines", "", split="test"),
    Row("d", 0, "p3", "angio", "", split="test"),
]


def test_a_row_has_the_names_of_its_label_or_its_corpus() -> None:
    assert classes_of(ROWS) == [("NGT", "CVC"), ("CVC",), (NONE,), ("angio",)]


def test_images_and_patients_are_counted_for_each_class() -> None:
    counts = count_classes(ROWS)
    assert list(counts) == [NONE, "CVC", "NGT", "angio"]
    assert counts["CVC"].images == {"train": 2}
    assert counts["CVC"].patients == {"p1"}


def test_a_class_that_a_split_lacks_is_told_once() -> None:
    told = missing_classes(ROWS)
    assert len(told) == 4
    assert "class 'CVC' has no image in split 'test', but 2 images of 1 patient in all" in told
    assert missing_classes([Row("a", 0, "p", "c"), Row("b", 0, "q", "d")]) == []


def test_many_classes_that_a_split_lacks_are_one_sentence() -> None:
    """As where each label is a number to be told."""
    numbers = [
        Row(f"{k}.png", 0, f"p{k}", "head", f"{k}.5", split="train") for k in range(MANY + 1)
    ]
    told = missing_classes([*numbers, Row("x.png", 0, "q", "head", "0.5", split="test")])
    assert told == [
        f"class '{k}.5' has no image in split 'test', but 1 image of 1 patient in all"
        for k in sorted(range(1, MANY + 1), key=str)
    ]
    told = missing_classes([*numbers, Row("x.png", 0, "q", "head", "99.5", split="test")])
    assert told == [
        "class '99.5' has no image in split 'train', but 1 image of 1 patient in all",
        f"{MANY + 1} classes have no image in split 'test', as '0.5'",
    ]
