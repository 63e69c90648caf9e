"""One ingest, ours or a plain loop of pydicom and Pillow, in a process of its own.

``python _data_ingest.py ours SOURCE OUT auto|png PROCESSES`` or
``python _data_ingest.py loop SOURCE OUT auto|png FIRST STEP``: the files FIRST, FIRST + STEP, ...
Prints JSON: frames, seconds, CPU seconds, and those of this process without its workers.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

EFFORT = 1  # of zlib: the loop is not to lose by Pillow's default, which takes five times as long


def ours(source: Path, out: Path, files: str, processes: int) -> Callable[[], int]:
    """What ``fedefm data ingest`` calls."""
    from fedefm.data.ingest import ingest  # not in the workers

    return lambda: len(ingest(source, out, files=files, processes=processes).rows)


def loop(source: Path, out: Path, files: str, first: int, step: int) -> Callable[[], int]:
    """What one would write in an afternoon: every frame as 8-bit PNG, or a copy with its digest.

    It finds no masks, leaves nothing out, tells of nothing, and cannot go on where it was stopped.
    """
    import numpy as np
    import pydicom.pixels.decoders.base
    from PIL import Image
    from pydicom import dcmread
    from pydicom.pixels import apply_voi_lut

    def dicom(path: Path) -> Iterator[np.ndarray]:
        header = dcmread(path)
        pixels = header.pixel_array
        top = 2**header.BitsStored - 1
        for frame in pixels if pixels.ndim == 3 else pixels[None]:
            shown = apply_voi_lut(frame, header)
            yield np.rint(shown * (255 / top)).astype(np.uint8)

    def write(pixels: np.ndarray, path: Path) -> str:
        Image.fromarray(pixels).save(path, compress_level=EFFORT)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def copied(path: Path, target: Path) -> str:
        Image.open(path).load()  # whether it can be read
        shutil.copyfile(path, target)
        return hashlib.sha256(target.read_bytes()).hexdigest()

    def run() -> int:
        out.mkdir(parents=True)
        rows = []
        paths = sorted(path for path in source.rglob("*") if path.is_file())
        for number, path in list(enumerate(paths, start=1))[first::step]:
            if path.suffix == ".dcm":
                for frame, pixels in enumerate(dicom(path)):
                    name = f"{number:06d}-{frame:04d}.png"
                    rows.append((name, write(pixels, out / name)))
            elif files == "png":
                name = f"{number:06d}-0000.png"
                rows.append((name, write(np.asarray(Image.open(path).convert("L")), out / name)))
            else:
                rows.append((path.name, copied(path, out / path.name)))
        (out / "manifest.csv").write_text("\n".join(map(",".join, rows)))
        return len(rows)

    pydicom.pixels.decoders.base.get_decoder("1.2.840.10008.1.2.4.80")  # decoders load before
    return run


def main() -> None:
    way, source, out, files, *numbers = sys.argv[1:]
    prepare = {"ours": ours, "loop": loop}[way]
    work = prepare(Path(source), Path(out), files, *map(int, numbers))
    started, before = time.perf_counter(), os.times()
    frames = work()
    seconds, after = time.perf_counter() - started, os.times()
    own = after.user + after.system - before.user - before.system
    workers = after.children_user + after.children_system  # there were none before
    took = {"seconds": seconds, "cpu_s": own + workers, "own_cpu_s": own}
    print(json.dumps({"frames": frames, **took}))


if __name__ == "__main__":
    main()
