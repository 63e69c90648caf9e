import numpy as np
import torch

from fedefm.data.dataset import FrameDataset, Origins
from fedefm.finetune.corpora import CorpusRecognition
from fedefm.finetune.groups import by_corpus, pooled

CLASSES = ("a", "b", "c")


def frames(labels, corpora, patients=None):
    names = tuple(sorted(set(corpora)))
    codes = torch.tensor([names.index(name) for name in corpora])
    shrunk = 1.0 + torch.arange(2 * len(labels)).view(-1, 2)
    return FrameDataset(
        torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8),
        torch.tensor(labels),
        torch.arange(len(labels)) if patients is None else torch.tensor(patients),
        CLASSES,
        origins=Origins(names, codes, shrunk, shrunk * float("nan")),
    )


def test_each_corpus_is_judged_by_its_own_images():
    dataset = frames([0, 1, 2, 1], ["x", "y", "x", "y"])
    groups = by_corpus(CorpusRecognition(CLASSES), np.array([0, 0, 2, 1]), dataset)
    assert {name: (s.images, s.accuracy.value) for name, s in groups.items()} == {
        "x": (2, 1.0),
        "y": (2, 0.5),
    }


def test_one_corpus_or_none_known_is_no_group():
    judge, answers = CorpusRecognition(CLASSES), np.array([0, 1])
    assert by_corpus(judge, answers, frames([0, 1], ["x", "x"])) == {}
    unknown = frames([0, 1], ["x", "y"])
    unknown.origins = None
    assert by_corpus(judge, answers, unknown) == {}


def test_the_images_of_all_sites_are_judged_together_and_patients_stay_apart():
    here, there = frames([0, 1], ["x", "y"], [0, 1]), frames([2, 2, 0], ["y", "z", "z"], [0, 0, 1])
    answers = {"here": np.array([0, 1]), "there": np.array([2, 0, 0])}
    said, images = pooled(answers, {"here": here, "there": there})
    assert said.tolist() == [0, 1, 2, 0, 0]
    assert images.patients.tolist() == [0, 1, 2, 2, 3]
    assert [images.origins.names[k] for k in images.origins.corpora] == ["x", "y", "y", "z", "z"]
    assert images.origins.shrunk[:, 0].tolist() == [1, 3, 1, 3, 5]
    assert images.origins.spacing.isnan().all()
    scores = CorpusRecognition(CLASSES).score(said, images)
    assert (scores.images, scores.patients, scores.accuracy.value) == (5, 4, 0.8)
