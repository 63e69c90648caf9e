"""A card explains the scores that it has, and no others."""

import pytest

from fedefm.finetune.card import INTERVALS, ModelCard


def card(**scores: str) -> str:
    facts = {"task": "t", "backbone": "vit_micro", "image_size": 64, "classes": ("a", "b")}
    told = {name.replace("_", " "): value for name, value in scores.items()}
    return ModelCard(**facts, trained_from="scratch", scores=told, scored_on="x").markdown()


@pytest.mark.parametrize(
    ("name", "explained", "unsaid"),
    [
        ("explained_variance", "plain gray", "Jaccard"),
        ("mean_AUROC", INTERVALS, "HD95"),
        ("mIoU", "Jaccard is IoU", "tip distances"),
        ("HD95_in_pixels,_wire", "diagonal of the frame", "progression is absolute"),
        ("error_of_the_angle_of_progression_in_degrees", "is absolute", "plain gray"),
    ],
)
def test_it_says_what_its_scores_mean(name: str, explained: str, unsaid: str) -> None:
    told = card(**{name: "0.500"})
    assert explained in told
    assert unsaid not in told


def test_data_that_was_not_told_leaves_no_empty_table() -> None:
    assert "## Data\n\nNot told." in card()
