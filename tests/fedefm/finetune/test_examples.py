import json

import torch
from PIL import Image

from fedefm.finetune.examples import draw_examples


def test_the_best_the_usual_and_the_worst_are_drawn_with_their_scores(lines, tmp_path):
    dice = (0.5, float("nan"), 0.9, 0.1, 0.7, 0.6)
    paths = draw_examples(
        tmp_path / "e", lines.masks.numpy(), lines.subset(torch.arange(6)), dice, count=2
    )
    names = [path.name for path in paths]
    assert names == [
        "best_1_row_2.png",
        "best_2_row_4.png",
        "median_1_row_5.png",
        "worst_1_row_3.png",
        "worst_2_row_0.png",
    ]
    assert all(Image.open(path).width > 2 * 32 for path in paths)
    listed = json.loads((tmp_path / "e" / "scores.json").read_text())["images"]
    assert {entry["file"] for entry in listed} == set(names)
    assert [next(iter(entry["dice"].values())) for entry in listed] == [0.9, 0.7, 0.6, 0.1, 0.5]
    assert [entry["case"] for entry in listed] == ["best", "best", "median", "worst", "worst"]


def test_the_usual_ones_are_the_middle_of_all(lines, tmp_path):
    many = lines.subset(torch.arange(9) % len(lines))
    paths = draw_examples(
        tmp_path / "e", many.masks.numpy(), many, tuple(k / 10 for k in range(9)), count=1
    )
    assert [path.name for path in paths] == [
        "best_1_row_8.png",
        "median_1_row_4.png",
        "worst_1_row_0.png",
    ]


def test_nothing_to_compare_draws_nothing(lines, tmp_path):
    one = lines.subset(torch.arange(1))
    assert draw_examples(tmp_path / "e", one.masks.numpy(), one, (0.5,)) == []
    assert not (tmp_path / "e").exists()
