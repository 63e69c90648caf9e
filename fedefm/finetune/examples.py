"""The images that a model does best, as usual, and worst on, to look at."""

import json
from pathlib import Path

import numpy as np

from fedefm.data.dataset import FrameDataset
from fedefm.finetune.overlap import Labels
from fedefm.finetune.overlay import draw_pair


def draw_examples(
    folder: Path,
    predicted: Labels,
    dataset: FrameDataset,
    image_dice: tuple[float, ...],
    count: int = 3,
) -> list[Path]:
    """Write ``best_N_row_R.png``, ``median_...`` and ``worst_...``: truth and prediction.

    The median ones are the middle of all images by Dice, where there are enough of them.
    ``scores.json`` beside them gives each picture its case and its Dice, for the report.

    ``predicted`` are label maps ``(N, H, W)`` of ``dataset``, and ``image_dice`` is that of their
    ``SegmentationScores``; images with neither a device nor a false alarm
    are not drawn. R is the position in the dataset, so that no name tells a patient.
    """
    dice = np.array(image_dice)
    known = np.flatnonzero(~np.isnan(dice))
    order = known[np.argsort(dice[known], kind="stable")].tolist()
    count = min(count, len(order) // 2)
    chosen = {f"best_{n + 1}": order[-1 - n] for n in range(count)}
    middle = order[count : len(order) - count]
    usual = middle[max(0, (len(middle) - count) // 2) :][:count]
    chosen |= {f"median_{n + 1}": row for n, row in enumerate(usual)}
    chosen |= {f"worst_{n + 1}": order[n] for n in range(count)}
    if not chosen or dataset.masks is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, row in chosen.items():
        image = dataset.images[row, 0].numpy() / 255
        truth = dataset.masks[row].numpy()
        path = folder / f"{name}_row_{row}.png"
        draw_pair(image, truth, predicted[row], dataset.classes).save(path)
        paths.append(path)
    scores = [
        {
            "file": path.name,
            "case": name.partition("_")[0],
            "dice": {"mean over devices": round(float(dice[row]), 4)},
        }
        for path, (name, row) in zip(paths, chosen.items(), strict=True)
    ]
    (folder / "scores.json").write_text(json.dumps({"images": scores}, indent=2) + "\n")
    return paths
