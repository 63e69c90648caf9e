"""The images that a model does best, as usual, and worst on, to look at."""

import json
from pathlib import Path

import numpy as np
import torch

from fedefm.data.dataset import FrameDataset
from fedefm.finetune.evaluate import batched_logits
from fedefm.finetune.overlay import draw_pair
from fedefm.model.segmenter import Segmenter


@torch.inference_mode()
def draw_examples(
    folder: Path,
    model: Segmenter,
    dataset: FrameDataset,
    image_dice: tuple[float, ...],
    count: int = 3,
) -> list[Path]:
    """Write ``best_N_row_R.png``, ``median_...`` and ``worst_...``: truth and prediction.

    The median ones are the middle of all images by Dice, where there are enough of them.
    ``scores.json`` beside them gives each picture its case and its Dice, for the report.

    ``image_dice`` is that of ``SegmentationScores``; images with neither a device nor a false alarm
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
    rows = torch.tensor(list(chosen.values()))
    shown = dataset.subset(rows)
    predicted = torch.cat(list(batched_logits(model, shown, len(rows)))).argmax(dim=1).cpu()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, (name, row) in enumerate(chosen.items()):
        image = shown.images[k, 0].numpy() / 255
        truth = dataset.masks[row].numpy()
        path = folder / f"{name}_row_{row}.png"
        draw_pair(image, truth, predicted[k].numpy(), dataset.classes).save(path)
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
