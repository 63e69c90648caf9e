"""Masks of symphysis and head, drawn from a chosen angle of progression.

The head is put where it touches a line of that angle: the point of an ellipse with the outward
normal n is ``E n / sqrt(n E n)`` from its center, E being its shape matrix. Nothing here fits an
ellipse or looks for a tangent.
"""

from dataclasses import dataclass

import numpy as np

SIZE = 256


@dataclass(frozen=True)
class Scan:
    """Where things are, in units of which a frame is 256 wide and high; angles in degrees."""

    angle: float = 115.0
    turned: float = 0.0  # the whole scene; at 0 the symphysis lies level, its lower end right
    symphysis: tuple[float, float] = (24.0, 8.0)  # half axes
    head: tuple[float, float] = (62.0, 46.0)
    leaning: float = 40.0  # of the head's long axis
    away: float = 70.0  # from the lower end to where the skull is touched


def shape(half_axes, degrees):
    """E, with which an ellipse is all x with ``x E^-1 x <= 1``."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.diag(np.square(half_axes)) @ turn.T


def towards(degrees):
    """x and y of a direction that is turned from the right downwards."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


def parts(scan):
    """Center and E of symphysis and head, both relative to the lower end."""
    up = scan.turned + 180
    tangent, normal = up - scan.angle, up - scan.angle - 90  # the head is on the other side
    across = shape(scan.head, scan.leaning)
    n = towards(normal)
    head = scan.away * towards(tangent) - across @ n / np.sqrt(n @ across @ n)
    bone = scan.symphysis[0] * towards(up)
    return (bone, shape(scan.symphysis, scan.turned)), (head, across)


def inside(center, across, points):
    apart = points - center
    return np.einsum("...i,ij,...j", apart, np.linalg.inv(across), apart) <= 1


def bounds(scan):
    """The least x and y of the scene, and the largest."""
    sides = [(center, np.sqrt(np.diag(across))) for center, across in parts(scan)]
    low, high = (np.array([center + sign * side for center, side in sides]) for sign in (-1, 1))
    return low.min(axis=0), high.max(axis=0)


def draw_parts(scan, pixel):
    """Both masks, in the middle of a frame of pixels so high and wide."""
    rows, columns = (round(SIZE / side) for side in pixel)
    y, x = np.meshgrid(
        (np.arange(rows) + 0.5) * pixel[0], (np.arange(columns) + 0.5) * pixel[1], indexing="ij"
    )
    points = np.stack([x, y], -1) - (SIZE - sum(bounds(scan))) / 2
    return [inside(center, across, points) for center, across in parts(scan)]


def draw(scan, pixel=(1.0, 1.0)):
    bone, head = draw_parts(scan, pixel)
    return np.where(bone, 1, np.where(head, 2, 0))
