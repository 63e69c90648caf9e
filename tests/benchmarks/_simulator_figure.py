"""Real against simulated fluoroscopy, in pictures."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from _simulator_frames import GRAYS, Array, Device, Measured
from matplotlib.axes import Axes

REAL, OTHERS = "black", plt.get_cmap("tab10").colors


def draw(real: list[Measured], simulated: list[Measured], devices: dict[str, list[Device]],
         path: Path) -> None:  # fmt: skip
    """Histograms, noise against gray level, autocorrelation, spectra, profiles."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 8.4), layout="constrained")
    rows = [(row, REAL, 2.2) for row in real]
    rows += [(row, OTHERS[k % 10], 1.2) for k, row in enumerate(simulated)]
    for number, (row, color, width) in enumerate(rows):
        style = {"color": color, "lw": width, "label": row.name}
        style |= {"ls": "--"} if color == REAL and number else {}
        _histogram(axes[0, 0], row, style)
        _noise(axes[0, 1], row, style)
        axes[0, 2].plot(row.correlation, marker=".", **style)
        axes[1, 0].semilogy(row.spectrum[0], row.spectrum[1] / row.spectrum[1].max(), **style)
    _titles(axes)
    _profiles(axes[1, 1], devices, ("real", "catheter"), "Across catheters")
    _profiles(axes[1, 2], devices, ("guidewire",), "Across bare guidewires")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path)
    plt.close(figure)


def draw_frames(real: dict[str, Array], simulated: dict[str, list[Array]], path: Path) -> None:
    """A frame of each run beside frames of each domain."""
    shown = {name: frames[len(frames) // 2] for name, frames in real.items()}
    shown |= {name: runs[k][0] for name, runs in simulated.items() for k in range(1)}
    columns = min(5, len(shown))
    lines = -(-len(shown) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3 * columns, 3.2 * lines), squeeze=False,
                                layout="constrained")  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, frame) in zip(axes.flat, shown.items(), strict=False):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=255)
        axis.set_title(name)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _histogram(axis: Axes, row: Measured, style: dict[str, object]) -> None:
    axis.plot(np.arange(2, 256, 4), row.histogram * 100, **style)


def _noise(axis: Axes, row: Measured, style: dict[str, object]) -> None:
    middle = [(low + high) / 2 for low, high in GRAYS]
    axis.plot(middle, [median for _, median in row.noise], marker="o", **style)


def _titles(axes: np.ndarray) -> None:
    words = (
        ("Gray levels in the field of view", "gray level", "% of pixels per gray level"),
        ("Noise between frames (median of tiles)", "gray level", "standard deviation, gray levels"),
        ("Autocorrelation of the noise", "distance, px", "correlation"),
        ("Noise power spectrum", "frequency, cycles per px", "power / largest power"),
    )
    for axis, (title, x, y) in zip(axes.flat, words, strict=False):
        axis.set(title=title, xlabel=x, ylabel=y)
        axis.grid(alpha=0.3)
    axes[0, 1].set_ylim(0, None)
    axes[0, 0].set_ylim(0, 3)


def _profiles(
    axis: Axes, devices: dict[str, list[Device]], kinds: tuple[str, ...], title: str
) -> None:
    others = iter(OTHERS[k % 10] for k in range(100))
    for name, found in devices.items():
        real = name.startswith("real")
        color = REAL if real else next(others)
        for device in (device for device in found if device.name in kinds):
            across = device.profiles / np.median(device.profiles, axis=1, keepdims=True)
            x = (np.arange(across.shape[1]) - across.shape[1] // 2) / 2 * device.pixel
            axis.plot(x, np.median(across, axis=0), color=color, lw=2.2 if real else 1.2)
    axis.set(
        title=title,
        xlabel="distance from the axis, px of a 300 px frame",
        ylabel="gray level / background",
        xlim=(-8, 8),
    )
    axis.grid(alpha=0.3)
