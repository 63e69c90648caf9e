"""Why private fine-tuning refuses drop path: what the probe says of it."""

import pytest
import torch

from fedefm.errors import PrivacyError
from fedefm.finetune.diagnose import diagnosis_objective
from fedefm.model.drop_path import drop_path
from fedefm.model.foundation import build_foundation
from privacy.dp.probe import check_independence, random_batch


def test_draws_that_the_probe_cannot_repeat_look_like_samples_that_see_each_other() -> None:
    model = build_foundation("vit_micro", ("a", "b"), 16, "trainable", seed=1)
    batch = random_batch((1, 16, 16), 2)
    check_independence(model, diagnosis_objective, batch)
    with (
        drop_path(model, 0.5, torch.Generator().manual_seed(0)),
        pytest.raises(PrivacyError, match="no epsilon can be claimed"),
    ):
        check_independence(model, diagnosis_objective, batch)
