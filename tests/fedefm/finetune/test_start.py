"""Where fine-tuning may start."""

import pytest

from fedefm.errors import ConfigError
from fedefm.finetune.start import Start


@pytest.mark.parametrize("size", [-3, 8, 100_000])
def test_an_image_size_out_of_reach_is_refused(size):
    with pytest.raises(ConfigError, match=f"image size {size} is not between"):
        Start(None, "resnet_micro", size).segmenter(3, seed=1)
