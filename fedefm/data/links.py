"""Symbolic links in a source that lead out of it, to files that nobody named.

They are not followed: a folder that was sent by others could point at anything that its reader may
read. Links within the source are as good as copies, and the source itself may be one.
"""

import os
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.drawing import FilledOutline, Joined
from fedefm.data.readers import is_image_file

OUTWARD = (
    "it, or its mask, is a link to what lies outside of the source; copy that there to take it"
)


def without_outward(found: Iterable[Found], source: Path) -> tuple[list[Found], list[Path]]:
    """The frames whose files lie in ``source``, and what leads out: links, or images with masks."""
    inside: list[Found] = []
    out = dict.fromkeys(_outward_links(source))
    outward = cache(partial(leads_out, source))  # a file may have many frames
    for item in found:
        if not any(map(outward, (item.image, *_mask_files(item)))):
            inside.append(item)
        elif not any(path in out for path in (item.image, *item.image.parents)):
            out[item.image] = None
    return inside, list(out)


def _mask_files(item: Found) -> tuple[Path, ...]:
    """The frame's mask, or the files that it is drawn from."""
    if isinstance(item.drawn, Joined):
        return item.drawn.masks
    if isinstance(item.drawn, FilledOutline):
        return (item.drawn.outline,)
    return (item.mask,) if item.mask else ()


def _outward_links(source: Path) -> list[Path]:
    """Links of a folder to folders and images elsewhere, hidden ones aside, in order."""
    links = []
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in (*folders, *sorted(files)):
            path = Path(folder, name)
            link = path.is_symlink() and not name.startswith(".") and leads_out(source, path)
            if link and (path.is_dir() or is_image_file(path)):
                links.append(path)
    return links


def leads_out(source: Path, path: Path) -> bool:
    """Whether ``path``, in ``source``, is a link to what lies elsewhere, or below one.

    Masks may lie beside the source: in ``masks`` beside ``images``.
    """
    home = source if source.is_dir() else source.parent
    home = home if path.is_relative_to(home) else home.parent
    real, real_home = os.path.realpath(path), os.path.realpath(home)
    return path != source and os.path.commonpath([real, real_home]) != real_home
