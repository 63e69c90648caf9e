"""What lies around the vessels: soft tissue, lungs, diaphragm, spine, ribs, gas and skull.

Everything is drawn once per patient as attenuation (the integral of mu along the ray) on a grid
that does not depend on the frame's size; a frame shows a crop of it, moved a little by breathing.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from fedefm.data.xray_raster import Float, Range, Tube, path_lengths, smooth_field, tube

GRID = 160


@dataclass(frozen=True)
class Anatomy:
    """How strong each structure is, in attenuation; a range is drawn from once per patient."""

    tissue: Range = (0.2, 0.4)
    texture: float = 0.035
    spine: Range = (0.0, 0.0)
    spine_at: Range = (0.35, 0.65)
    ribs: Range = (0.0, 0.0)
    rib_pairs: tuple[int, int] = (4, 6)
    lungs: Range = (0.0, 0.0)
    diaphragm: Range = (0.0, 0.0)
    gas: tuple[int, int] = (0, 0)
    skull: Range = (0.0, 0.0)
    leads: tuple[int, int] = (0, 0)


def draw_anatomy(anatomy: Anatomy, rng: np.random.Generator) -> Float:
    """Attenuation of one patient, (GRID, GRID), without vessels and devices."""
    y, x = ((np.mgrid[:GRID, :GRID] + 0.5) / GRID).astype(np.float32)
    body = soft_tissue(rng, rng.uniform(*anatomy.tissue), anatomy.texture)
    body += rng.uniform(*anatomy.lungs) * lungs(rng, x, y)
    body += rng.uniform(*anatomy.diaphragm) * diaphragm(rng, x, y)
    body += rng.uniform(*anatomy.spine) * spine(rng, x, y, rng.uniform(*anatomy.spine_at))
    body += rng.uniform(*anatomy.ribs) * ribs(rng, int(rng.integers(*anatomy.rib_pairs)))
    body += rng.uniform(*anatomy.skull) * skull(rng, x, y)
    for _ in range(rng.integers(anatomy.gas[0], anatomy.gas[1] + 1)):
        body -= gas_bubble(rng, x, y)
    return body.astype(np.float32)


def draw_leads(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Tube, ...]:
    """Monitoring leads that end in an electrode: thin and dark like a wire, and never labeled."""
    bodies = []
    for _ in range(rng.integers(anatomy.leads[0], anatomy.leads[1] + 1)):
        start, end = rng.uniform(-0.05, 1.05, 2), rng.uniform(0.05, 0.95, 2)
        start[rng.integers(2)] = rng.choice((-0.03, 1.03))
        t = np.linspace(0, 1, 20)[:, None]
        sag = rng.normal(0, 0.12, 2) * 4 * t * (1 - t)
        bodies.append(tube(start + (end - start) * t + sag, rng.uniform(0.0012, 0.0018)))
        bodies.append(tube(np.stack([end, end + 0.002]), rng.uniform(0.007, 0.011)))
    return tuple(bodies)


def soft_tissue(rng: np.random.Generator, strength: float, texture: float) -> Float:
    """The body's thickness, organs with a visible border, strands of fat, the grain of muscle."""
    organs = sum(_step(smooth_field(rng, GRID, cells) / 0.12) for cells in (3, 5, 5, 8))
    strands = _strands(rng, 8) + _strands(rng, 14)
    grain = smooth_field(rng, GRID, 10) + smooth_field(rng, GRID, 30) + smooth_field(rng, GRID, 64)
    return strength * smooth_field(rng, GRID, 3) + texture * (1.2 * organs - strands + 0.6 * grain)


def lungs(rng: np.random.Generator, x: Float, y: Float) -> Float:
    """Air beside a mediastinum with a bulging heart (negative: bright), and vessels."""
    center, half = rng.uniform(0.5, 0.75), rng.uniform(0.13, 0.22)
    bulge = rng.uniform(0.05, 0.2) * np.exp(-(((y - rng.uniform(0.6, 0.85)) / 0.25) ** 2))
    wobble = 0.012 * smooth_field(rng, GRID, 5)
    left = _step((center - half - bulge + wobble - x) / rng.uniform(0.008, 0.03))
    right = _step((x - center - half * 0.9 - wobble) / rng.uniform(0.008, 0.03))
    vessels = 0.12 * _strands(rng, 9) + 0.1 * _strands(rng, 18) + 0.05 * smooth_field(rng, GRID, 8)
    return np.asarray(-(left + right) * (1 - vessels - 0.25 * y), np.float32)


def diaphragm(rng: np.random.Generator, x: Float, y: Float) -> Float:
    """The dome of the liver that darkens the lower part of the frame."""
    top, apex = rng.uniform(0.72, 0.95), rng.uniform(0.2, 0.8)
    edge = top + rng.uniform(0.2, 0.7) * (x - apex) ** 2
    return _step((y - edge) / 0.012)


def spine(rng: np.random.Generator, x: Float, y: Float, center: float) -> Float:
    """A column of vertebrae: blocks with end plates, bright disks, pedicles, spinous processes."""
    tilt, bend = rng.normal(0, 0.12), rng.normal(0, 0.15)
    axis = center + tilt * (y - 0.5) + bend * (y - 0.5) ** 2
    half, period = rng.uniform(0.075, 0.11), rng.uniform(0.15, 0.2)
    across = (x - axis) / half
    level = (y + tilt * (x - axis) + period * rng.uniform()) / period
    along = 2 * (level - np.floor(level)) - 1  # -1 and 1 are the disks' middles
    waist = np.abs(across) / (0.88 + 0.12 * along**2)
    # Disks are seen at changing angles, so that their gaps differ in width and sharpness.
    depth = (0.84 - np.abs(along) + 0.05 * smooth_field(rng, GRID, 6)) / rng.uniform(0.05, 0.11)
    block = _step((1 - waist) / 0.07) * _step(depth)
    plates = np.exp(-((depth - 1.2) ** 2)) * _step((1 - waist) / 0.07)
    rims = np.exp(-(((waist - 0.92) / 0.08) ** 2)) * _step(depth)
    spongy = block * (0.5 * smooth_field(rng, GRID, 40) + smooth_field(rng, GRID, 16))
    pedicles = _ring((np.abs(across) - 0.62) / 0.2, (along + 0.25) / 0.3)
    process = np.exp(-((across / 0.13) ** 2) - ((along - 0.35) / 0.35) ** 2)
    muscle = _step((1.7 - np.abs(across)) / 0.4)
    column = 0.4 * block + 0.2 * plates + 0.15 * rims + 0.2 * pedicles + 0.2 * process
    column += 0.04 * spongy
    return np.asarray(gaussian_filter(column + 0.4 * muscle, 0.9), np.float32)


def ribs(rng: np.random.Generator, pairs: int) -> Float:
    """Hollow curved bars: posterior ribs that fall outward and fainter anterior ones that rise."""
    lift, start = rng.uniform(0.05, 0.16), rng.uniform(-0.15, 0.05)
    across = np.linspace(-0.05, 1.05, 24)
    bones = np.zeros((GRID, GRID), np.float32)
    for pair in range(pairs):
        height = start + pair * 1.1 / pairs + rng.normal(0, 0.012)
        for slope, weight in ((1.0, 1.0), (-1.6, 0.5)):
            line = height + slope * lift * (4 * (across - 0.45) ** 2 - 0.5) + 0.06 * across
            radius = rng.uniform(0.014, 0.02)
            bar = path_lengths(GRID, [tube(np.stack([across, line], 1), radius)], lumen=0.78)
            bones += np.float32(weight / radius) * bar
    return np.asarray(gaussian_filter(bones, 0.7), np.float32)


def gas_bubble(rng: np.random.Generator, x: Float, y: Float) -> Float:
    """One pocket of bowel gas: a bright ellipsoid with a lumpy outline."""
    (at_x, at_y), width = rng.uniform(0.05, 0.95, 2), rng.uniform(0.03, 0.1)
    u, v = (x - at_x) / width, (y - at_y) / (width * rng.uniform(0.5, 1.0))
    turn = rng.uniform(0, np.pi)
    u, v = np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u
    inside = np.clip(1 - u * u - v * v + 0.25 * smooth_field(rng, GRID, 14), 0, 1)
    bubble: Float = rng.uniform(0.15, 0.4) * np.sqrt(inside)
    return np.asarray(gaussian_filter(bubble, 0.6), np.float32)


def skull(rng: np.random.Generator, x: Float, y: Float) -> Float:
    """Vault, orbits and the dense base of the skull, seen from the front."""
    center, width = rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.52)
    middle = rng.uniform(0.45, 0.55)
    rim = np.hypot((x - center) / width, (y - middle) / (width * 1.15))
    vault = np.exp(-(((rim - 1) / 0.05) ** 2)) + 0.5 * _step((1 - rim) / 0.03)
    eyes = sum(
        _ring((x - center - side * 0.19) / 0.12, (y - middle - 0.2) / 0.1) for side in (-1, 1)
    )
    petrous = np.exp(-(((y - middle - 0.3 + 0.4 * np.abs(x - center)) / 0.05) ** 2))
    return np.asarray((vault + 0.5 * eyes + 0.5 * petrous), np.float32)


def _strands(rng: np.random.Generator, cells: int) -> Float:
    """Thin wandering lines, from 0 to 1: where a random field passes through zero."""
    return np.asarray(np.exp(-((smooth_field(rng, GRID, cells) / 0.12) ** 2)), np.float32)


def _step(u: Float) -> Float:
    """A smooth edge: 0 far below, 1 far above."""
    return 1 / (1 + np.exp(-np.clip(u, -30, 30)))


def _ring(u: Float, v: Float) -> Float:
    """The dense outline of an ellipse."""
    return np.exp(-(((np.hypot(u, v) - 0.85) / 0.25) ** 2))
