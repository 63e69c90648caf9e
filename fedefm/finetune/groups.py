"""The same answers judged apart: by corpus, and by the site whose images they are about."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedefm.data.dataset import FrameDataset, Origins
from fedefm.finetune.card import Scores
from fedefm.finetune.task import Answers, Judge


def by_corpus(
    judge: Judge, answers: Answers, dataset: FrameDataset, seed: int = 0
) -> dict[str, Scores]:
    """Scores of each corpus in ``dataset``; nothing where there is one only, or nobody said."""
    origins = dataset.origins
    present = [] if origins is None else origins.corpora.unique().tolist()
    if origins is None or len(present) < 2:
        return {}
    rows = {origins.names[k]: (origins.corpora == k).nonzero().flatten() for k in present}
    return {
        name: judge.score(answers[some.numpy()], dataset.subset(some), seed)
        for name, some in rows.items()
    }


def pooled(
    answers: Mapping[str, Answers], datasets: Mapping[str, FrameDataset]
) -> tuple[Answers, FrameDataset]:
    """The answers about all sites' images, and those images. A patient counts apart at each site.

    All datasets come from one judge: they have the same classes and size, and masks or none.
    """
    sites = list(datasets.values())
    first = sites[0]
    return np.concatenate(list(answers.values())), FrameDataset(
        images=torch.cat([site.images for site in sites]),
        labels=torch.cat([site.labels for site in sites]),
        patients=_apart([site.patients for site in sites]),
        classes=first.classes,
        masks=None if first.masks is None else torch.cat([s.masks for s in sites]),  # type: ignore[misc]
        origins=_joined([site.origins for site in sites if site.origins is not None], len(sites)),
    )


def _apart(patients: list[Tensor]) -> Tensor:
    moved, offset = [], 0
    for codes in patients:
        moved.append(codes + offset)
        offset += int(codes.max()) + 1
    return torch.cat(moved)


def _joined(origins: list[Origins], sites: int) -> Origins | None:
    """None where a site does not know."""
    if len(origins) < sites:
        return None
    names = tuple(sorted({name for one in origins for name in one.names}))
    places = [torch.tensor([names.index(name) for name in one.names]) for one in origins]
    corpora = [place[one.corpora] for place, one in zip(places, origins, strict=True)]
    return Origins(
        names,
        torch.cat(corpora),
        shrunk=torch.cat([one.shrunk for one in origins]),
        spacing=torch.cat([one.spacing for one in origins]),
    )
