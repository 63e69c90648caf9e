"""Generators of bad inputs: files of every kind that are damaged, hostile or merely odd.

A function writes one input; its name in a table tells what is wrong with it.
"""

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from fedefm.data.manifest import COLUMNS

HUGE = 60_000  # pixels a side
MARKER = "executed"  # a file of this name would mean that an input was run
HEADER = ",".join(COLUMNS)

Write = Callable[[Path], None]  # gets a folder


def pixels(side: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)


def picture_bytes(kind: str) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels()).save(file, kind)
    return file.getvalue()


def numpy_bytes(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def nifti_bytes() -> bytes:
    return nibabel.Nifti1Image(pixels()[..., None].astype(np.int16), np.eye(4)).to_bytes()


def dicom_bytes(**changes: object) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = changes.pop("syntax", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": "1.2.3",
        "Modality": "OT",
        "PatientID": "secret-id",
        "PatientName": "Secret^Name",
        "BurnedInAnnotation": "NO",
        "Rows": 48,
        "Columns": 48,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": pixels().tobytes(),
    } | changes
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset["PixelData"].VR = "OB"
    if meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        dataset["PixelData"].is_undefined_length = True
    file = BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


GOOD: dict[str, Callable[[], bytes]] = {
    ".png": lambda: picture_bytes("PNG"),
    ".jpg": lambda: picture_bytes("JPEG"),
    ".tif": lambda: picture_bytes("TIFF"),
    ".gif": lambda: picture_bytes("GIF"),
    ".pgm": lambda: picture_bytes("PPM"),
    ".bmp": lambda: picture_bytes("BMP"),
    ".npy": lambda: numpy_bytes(pixels()),
    ".nii": nifti_bytes,
    ".nii.gz": lambda: gzip.compress(nifti_bytes()),
    ".dcm": dicom_bytes,
}

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "a single byte": lambda good: good[:1],
    "its first 12 bytes": lambda good: good[:12],
    "zeros": lambda good: bytes(len(good)),
    "text": lambda good: b"Patient: secret-id\n" * 40,
    "a script": lambda good: f"#!/bin/sh\ntouch {MARKER}\n".encode(),
    "a page": lambda good: b"<html><script>alert(1)</script></html>" * 20,
    "an archive": lambda good: b"PK\3\4" + good,
    "a program": lambda good: b"\x7fELF" + good,
    "noise": lambda good: np.random.default_rng(1).bytes(3000),
    "half of it": lambda good: good[: len(good) // 2],
    "a part of its header": lambda good: good[: min(len(good) // 20, 60)],
    "PostScript": lambda good: (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n"
        + f"(%pipe%touch {MARKER}) (w) file\n".encode()
    ),
}


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png_bomb() -> bytes:
    head = struct.pack(">IIBBBBB", HUGE, HUGE, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20))
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in chunks)


def png_text_bomb() -> bytes:
    good = picture_bytes("PNG")
    text = b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9)
    return good[:33] + _png_chunk(b"zTXt", text) + good[33:]


def tiff_bomb(width: int = HUGE, height: int = HUGE) -> bytes:
    entries = (
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1),
        (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, 48),
    )  # fmt: skip
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0)


def tiff_tile_bomb() -> bytes:
    """A page of 48 x 48 pixels that is cut from one huge tile."""
    body = zlib.compress(bytes(1 << 24), 9)
    entries = (
        (256, 4, 48), (257, 4, 48), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, 40_000), (323, 4, 40_000), (324, 4, 134), (325, 4, len(body)),
    )  # fmt: skip
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + body


def tiff_loop() -> bytes:
    """Pages that follow each other in a circle."""
    good = bytearray(picture_bytes("TIFF"))
    start = struct.unpack_from("<I", good, 4)[0]
    count = struct.unpack_from("<H", good, start)[0]
    struct.pack_into("<I", good, start + 2 + 12 * count, start)
    return bytes(good)


def gif_bomb() -> bytes:
    good = bytearray(picture_bytes("GIF"))
    struct.pack_into("<HH", good, 6, HUGE, HUGE)
    return bytes(good)


def jpeg_bomb() -> bytes:
    good = bytearray(picture_bytes("JPEG"))
    place = good.index(b"\xff\xc0")
    struct.pack_into(">HH", good, place + 5, HUGE, HUGE)
    return bytes(good)


def jpeg_2000_bomb() -> bytes:
    file = BytesIO()
    Image.fromarray(pixels()).save(file, "JPEG2000", no_jp2=True)
    good = bytearray(file.getvalue())
    for place in (8, 24):  # the image's own size, and that of its tiles
        struct.pack_into(">II", good, place, HUGE, HUGE)
    return bytes(good)


def inner_bomb(syntax: str, frame: bytes) -> bytes:
    """DICOM of 48 x 48 pixels, whose compressed frame says something else."""
    return dicom_bytes(syntax=syntax, PixelData=pydicom.encaps.encapsulate([frame]))


def bmp_bomb() -> bytes:
    good = bytearray(picture_bytes("BMP"))
    struct.pack_into("<ii", good, 18, HUGE, HUGE)
    return bytes(good)


def numpy_head(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (117 - len(head)) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode()


def nifti_head(*shape: int) -> bytes:
    head = nibabel.Nifti1Header()
    head.set_data_dtype(np.uint8)
    head.set_data_shape([min(side, 32_000) for side in shape])
    head["magic"], head["vox_offset"] = b"n+1", 352
    return head.binaryblock + bytes(4)


def nifti_2_head(*shape: int) -> bytes:
    head = nibabel.Nifti2Header()
    head.set_data_dtype(np.uint8)
    head.set_data_shape(shape)
    head["vox_offset"] = 544
    return head.binaryblock + bytes(4)


def metaimage_bomb(*sides: int) -> bytes:
    """A volume of zeros, of which 16 MB are there."""
    head = f"NDims = {len(sides)}\nDimSize = {' '.join(map(str, sides))}\nCompressedData = True\n"
    head += "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    return head.encode() + zlib.compress(bytes(1 << 24), 9)


def gzip_bomb() -> bytes:
    """A volume of 2 GB zeros in 2 MB."""
    file = BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
        packed.write(nifti_head(1000, 1000, 2000))
        block = bytes(1 << 24)
        for _ in range(125):
            packed.write(block)
    return file.getvalue()


def rle_bomb() -> bytes:
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 2000
    return dicom_bytes(
        syntax=RLELossless,
        Rows=HUGE,
        Columns=HUGE,
        PixelData=pydicom.encaps.encapsulate([frame]),
    )


BOMBS: dict[str, Callable[[], bytes]] = {
    "size.png": png_bomb,
    "text.png": png_text_bomb,
    "size.tif": tiff_bomb,
    "long.tif": lambda: tiff_bomb(48, 2_097_200),  # found by fuzzing
    "tile.tif": tiff_tile_bomb,
    "loop.tif": tiff_loop,
    "size.gif": gif_bomb,
    "size.jpg": jpeg_bomb,
    "size.bmp": bmp_bomb,
    "size.pgm": lambda: f"P5\n{HUGE} {HUGE}\n255\n".encode(),
    "size.npy": lambda: numpy_head((HUGE, HUGE)),
    "frames.npy": lambda: numpy_head((10**9, 48, 48)) + bytes(9999),
    "overflow.npy": lambda: numpy_head((2**62, 2**62)),
    "negative.npy": lambda: numpy_head((-1, 48)),
    "size.nii": lambda: nifti_head(32_000, 32_000, 1),
    "slices.nii": lambda: nifti_head(512, 512, 30_000),
    "size.nii.gz": lambda: gzip.compress(nifti_head(32_000, 32_000, 1)),
    "zeros.nii.gz": gzip_bomb,
    "size.dcm": lambda: dicom_bytes(Rows=HUGE, Columns=HUGE),
    "frames.dcm": lambda: dicom_bytes(NumberOfFrames=2_000_000_000),
    "rle.dcm": rle_bomb,
    "jpeg.dcm": lambda: dicom_bytes(
        syntax=JPEGBaseline8Bit,
        Rows=HUGE,
        Columns=HUGE,
        PixelData=pydicom.encaps.encapsulate([jpeg_bomb()]),
    ),
    "inner jpeg.dcm": lambda: inner_bomb(JPEGBaseline8Bit, jpeg_bomb()),
    "inner jpeg 2000.dcm": lambda: inner_bomb(JPEG2000, jpeg_2000_bomb()),
    "bits.dcm": lambda: dicom_bytes(BitsAllocated=64, Rows=HUGE, Columns=HUGE),
    "size.mhd": lambda: (
        f"ObjectType = Image\nNDims = 2\nDimSize = {HUGE} {HUGE}\n"
        "ElementType = MET_UCHAR\nElementDataFile = size.raw\n"
    ).encode(),
    "packed.mha": lambda: metaimage_bomb(HUGE, HUGE),
    "slices.mha": lambda: metaimage_bomb(1000, 1000, 4000),
    "size 2.nii": lambda: nifti_2_head(HUGE, HUGE, 1),
}


class Runs:
    """Unpickling this leaves a mark."""

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {MARKER}",)


def odd(array: np.ndarray, **settings: bool) -> Callable[[], bytes]:
    def write() -> bytes:
        file = BytesIO()
        np.save(file, array, **settings)
        return file.getvalue()

    return write


def zipped_arrays() -> bytes:
    file = BytesIO()
    np.savez(file, pixels())
    return file.getvalue()


VALUES: dict[str, Callable[[], bytes]] = {
    "not a number.npy": odd(np.full((9, 9), np.nan)),
    "one not a number.npy": odd(np.where(np.eye(9) > 0, np.nan, 0.5)),
    "infinite.npy": odd(np.where(np.eye(9) > 0, np.inf, 0.5)),
    "a pickle.npy": odd(np.array([Runs()], dtype=object), allow_pickle=True),
    "pickles.npy": odd(np.array([[Runs(), 1], [2, 3]], dtype=object), allow_pickle=True),
    "archive of arrays.npy": zipped_arrays,
    "complex.npy": odd(np.full((9, 9), 1j)),
    "words.npy": odd(np.full((9, 9), "secret-id")),
    "dates.npy": odd(np.zeros((9, 9), "datetime64[s]")),
    "records.npy": odd(np.zeros((9, 9), [("a", "f4")])),
    "a number.npy": odd(np.array(3.0)),
    "a line.npy": odd(np.zeros(9)),
    "four axes.npy": odd(np.zeros((2, 2, 2, 2))),
    "no pixels.npy": odd(np.zeros((0, 0))),
    "no rows.npy": odd(np.zeros((0, 9))),
    "no frames.npy": odd(np.zeros((0, 9, 9))),
    "no channels.npy": odd(np.zeros((3, 9, 0))),
    "no rows.dcm": lambda: dicom_bytes(Rows=0),
    "no frames.dcm": lambda: dicom_bytes(NumberOfFrames=0, PixelData=b""),
    "fewer frames.dcm": lambda: dicom_bytes(NumberOfFrames=3),
    "minus frames.dcm": lambda: dicom_bytes(NumberOfFrames=-3),
    "no bits.dcm": lambda: dicom_bytes(BitsAllocated=0),
    "odd bits.dcm": lambda: dicom_bytes(BitsAllocated=13),
    "no kind.dcm": lambda: dicom_bytes(PhotometricInterpretation=None),
    "odd kind.dcm": lambda: dicom_bytes(PhotometricInterpretation="=cmd"),
    "no window.dcm": lambda: dicom_bytes(WindowWidth=0, WindowCenter=0),
    "short pixels.dcm": lambda: dicom_bytes(PixelData=b"\0" * 9),
    "unknown syntax.dcm": lambda: dicom_bytes(
        syntax=pydicom.uid.UID("1.2.3.4.5"), PixelData=pydicom.encaps.encapsulate([b"12"])
    ),
    "palette.dcm": lambda: dicom_bytes(PhotometricInterpretation="PALETTE COLOR"),
}
MAY_BE_READ = ("no window.dcm", "no frames.dcm", "minus frames.dcm", "fewer frames.dcm", "loop.tif",
               "text.png", "odd kind.dcm", "no kind.dcm")  # fmt: skip

MASKS: dict[str, np.ndarray] = {
    "wider": np.zeros((48, 49), np.uint8),
    "of one pixel": np.zeros((1, 1), np.uint8),
    "turned": np.zeros((47, 48), np.uint8),
    "of two frames of another size": np.zeros((2, 4, 4), np.uint8),
    "empty": np.zeros((0, 0)),
    "not a number": np.full((48, 48), np.nan),
    "infinite": np.full((48, 48), np.inf),
    "halves": np.full((48, 48), 0.5),
    "negative": np.full((48, 48), -1),
    "beyond": np.full((48, 48), 2.0**70),
    "words": np.full((48, 48), "x"),
    "complex": np.full((48, 48), 1j),
    "color": np.stack([pixels(), pixels().T, pixels()], axis=-1),
    "four axes": np.zeros((2, 2, 48, 48)),
}


def _row(**cells: str) -> str:
    values = {"path": "a.png", "frame": "0", "patient_id": "secret-p", "corpus": "c"} | cells
    return ",".join(values.get(column, "") for column in COLUMNS)


def table(*rows: str, header: str = HEADER) -> bytes:
    return ("\n".join([header, *rows]) + "\n").encode()


MANIFESTS: dict[str, bytes] = {
    "empty": b"",
    "only a newline": b"\n",
    "without rows": table(),
    "a binary": b"\0\1\2",
    "a picture": picture_bytes("PNG"),
    "UTF-16": table(_row()).decode().encode("utf-16"),
    "Latin-1": table(_row(corpus="größe")).decode().encode("latin-1"),
    "a page": b"<html></html>",
    "JSON": b'{"path": "a.png"}',
    "a column missing": table("a.png,0,p,c,,,", header=",".join(COLUMNS[:-1])),
    "a column twice": table(_row() + ",p", header=f"{HEADER},path"),
    "columns in another order": table(_row(), header=",".join(reversed(COLUMNS))),
    "semicolons": table(_row().replace(",", ";"), header=HEADER.replace(",", ";")),
    "too few cells": table("a.png,0,p"),
    "too many cells": table(_row() + ",,,,"),
    "an open quote": table('"a.png,0,p,c,,,,'),
    "a line of a million": b"x" * 1_000_000,
    "a cell of a million": table(_row(label="x" * 1_000_000)),
    "no path": table(_row(path="")),
    "no patient": table(_row(patient_id="")),
    "no corpus": table(_row(corpus="")),
    "a word for a frame": table(_row(frame="first")),
    "a frame below 0": table(_row(frame="-1")),
    "half a frame": table(_row(frame="0.5")),
    "a frame that is not there": table(_row(frame="7")),
    "a frame beyond all numbers": table(_row(frame="9" * 40)),
    "Arabic digits": table(_row(frame="٣")),
    "an unknown split": table(_row(split="dev")),
    "a short digest": table(_row(sha256="abc")),
    "the same frame twice": table(_row(), _row()),
    "a patient in two splits": table(_row(split="train"), _row(path="b.png", split="test")),
    "a missing image": table(_row(path="none.png")),
    "a missing mask": table(_row(mask_path="none.png")),
    "a path upward": table(_row(path="../a.png")),
    "a path through upward": table(_row(path="x/../../a.png")),
    "an absolute path": table(_row(path="/etc/passwd")),
    "a drive": table(_row(path="C:\\a.png")),
    "a share": table(_row(path="\\\\host\\a.png")),
    "backward slashes": table(_row(path="..\\a.png")),
    "an address": table(_row(path="https://example.org/a.png")),
    "the manifest itself": table(_row(path="manifest.csv")),
    "a folder": table(_row(path="folder")),
    "a device": table(_row(path="device.png")),
    "a pipe": table(_row(path="pipe.png")),
    "a link outward": table(_row(path="outward.png")),
    "a folder linked outward": table(_row(path="outside/o.png")),
    "a link in a circle": table(_row(path="circle.png")),
    "a dangling link": table(_row(path="dangling.png")),
    "a mask linked outward": table(_row(mask_path="outward.png")),
    "a name without end": table(_row(path="n" * 5000)),
    "a formula as corpus": table(_row(corpus="=cmd|' /C calc'!A0")),
    "a formula as label": table(_row(label="@SUM(1+9)*cmd")),
    "a formula as patient": table(_row(patient_id="+HYPERLINK(1)")),
    "a formula as path": table(_row(path="=a.png")),
    "a formula after a dash": table(_row(label='"-2+3+cmd|x"')),
    "a formula after a blank": table(_row(label='" =1+1"')),
}


def folder_of(home: Path) -> None:
    """What the rows of MANIFESTS speak of, beside a place that they may not reach."""
    home.mkdir(parents=True)
    for name in ("a.png", "b.png", "=a.png"):
        Image.fromarray(pixels()).save(home / name)
    outside = home.parent / "outside"
    outside.mkdir()
    Image.fromarray(pixels()).save(outside / "o.png")
    (home / "folder").mkdir()
    (home / "outward.png").symlink_to(outside / "o.png")
    (home / "outside").symlink_to(outside)
    (home / "device.png").symlink_to("/dev/zero")
    (home / "circle.png").symlink_to("circle.png")
    (home / "dangling.png").symlink_to("nothing")
    os.mkfifo(home / "pipe.png")


def dicom_example() -> bytes:
    return Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
