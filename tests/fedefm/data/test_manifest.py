from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedefm.data.manifest import (
    COLUMNS,
    Manifest,
    Row,
    has_control,
    is_formula,
    path_verdicts,
    read_manifest,
    write_manifest,
)
from fedefm.errors import DataError

HEADER = ",".join(COLUMNS)
letters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))
cell = st.text(letters).filter(
    lambda text: text == text.strip() and not is_formula(text) and not has_control(text)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png", "grün и 図.png"):
        (tmp_path / name).write_bytes(b"image")
    return tmp_path


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def problems_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    return str(caught.value)


def test_what_is_written_reads_back(folder: Path) -> None:
    rows = (
        Row("a.png", 3, "p1", "angio", "wire", "b.png", "train", "0" * 64),
        Row("grün и 図.png", patient_id="p,2", corpus='say "x"'),
    )
    write_manifest(folder / "manifest.csv", rows)
    manifest = read_manifest(folder / "manifest.csv")
    assert manifest.rows == rows
    assert manifest.folder == folder.resolve()
    assert not list(folder.glob(".manifest-*"))


@example(patient="p\u20281", corpus="c\u2029c", label="a\u2028b")  # lines, but not of CSV
@given(patient=cell.filter(bool), corpus=cell.filter(bool), label=cell)
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, patient: str, corpus: str, label: str
) -> None:
    folder = tmp_path_factory.mktemp("m")
    (folder / "a.png").touch()
    row = Row("a.png", 0, patient, corpus, label)
    write_manifest(folder / "m.csv", [row])
    assert read_manifest(folder / "m.csv").rows == (row,)


def test_tolerates_what_spreadsheets_do(folder: Path) -> None:
    text = f"{HEADER}\r\na.png,,p1,angio,,,,\r\n\r\n b.png ,2, p2 ,angio,,,test,\r\n"
    (folder / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    first, second = read_manifest(folder / "m.csv").rows
    assert first == Row("a.png", 0, "p1", "angio")
    assert second == Row("b.png", 2, "p2", "angio", split="test")


def test_reports_all_problems_at_once_by_row(folder: Path) -> None:
    message = problems_of(
        write(
            folder,
            "a.png,-1,p1,angio,,,,",
            ",0,p2,angio,,,,",
            "b.png,0,,,,,training,xyz",
            "missing.png,0,p3,angio,,gone.png,,",
            "c.png,0",
        )
    )
    for expected in (
        "row 2: frame '-1' is not a whole number",
        "row 3: path is empty",
        "row 4: patient_id is empty",
        "row 4: corpus is empty",
        "row 4: split 'training' is not train, validation, test or empty",
        "row 4: sha256 is not 64 hexadecimal digits",
        "row 5: image 'missing.png' does not exist",
        "row 5: mask 'gone.png' does not exist",
        "row 6: has 2 cells instead of 8",
    ):
        assert expected in message


@pytest.mark.parametrize("path", ["../x.png", "a/../../x.png", "/etc/hosts", "C:\\x.png", "..\\x"])
@pytest.mark.parametrize("column", ["image", "mask"])
def test_paths_may_not_leave_the_folder(folder: Path, path: str, column: str) -> None:
    row = f"{path},0,p1,angio,,,," if column == "image" else f"a.png,0,p1,angio,,{path},,"
    message = problems_of(write(folder, row))
    assert f"{column} {path!r}" in message
    assert "absolute" in message or "'..' is not allowed" in message


def test_links_may_not_leave_the_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    outside.write_bytes(b"image")
    (folder / "link.png").symlink_to(outside)
    (folder / "inner").symlink_to(folder / "a.png")
    assert "leaves the manifest's folder" in problems_of(write(folder, "link.png,0,p,c,,,,"))
    assert read_manifest(write(folder, "inner,0,p,c,,,,")).rows  # a link within is fine


def test_a_patient_in_two_splits_is_refused_without_naming_the_patient(folder: Path) -> None:
    message = problems_of(
        write(folder, "a.png,0,secret-id,c,,,train,", "b.png,0,secret-id,c,,,test,")
    )
    assert "row 3 (b.png): its patient is in split 'test' here and in 'train' in row 2" in message
    assert "secret-id" not in message


def test_a_frame_listed_twice_is_refused(folder: Path) -> None:
    message = problems_of(write(folder, "a.png,1,p,c,,,,", "a.png,2,p,c,,,,", "a.png,1,p,c,,,,"))
    assert "row 4 (a.png): frame 1 is listed already in row 2" in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "columns"),
        (b"name,age\n", "columns 'name,age'; they must be path,frame,patient_id"),
        (HEADER.encode() + b"\n", "lists no images"),
        (b"\x89PNG\0\0\0", "is a binary file"),
        ("größe".encode("latin-1"), "is not UTF-8 text"),
        (HEADER.encode() + b'\n"a.png,0,p,c\n', "is not CSV"),
        (HEADER.encode() + b"\n" + b"x" * 200_000, "is not CSV"),
        (b"x" * 500_000, "is not CSV"),
    ],
)
def test_what_is_no_manifest_is_named_in_one_sentence(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    message = problems_of(path)
    assert sentence in message
    assert "\n" not in message
    assert len(message) < 500


def test_a_missing_manifest_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "does not exist" in problems_of(tmp_path / "none.csv")
    assert "is a folder" in problems_of(tmp_path)


def test_a_spacing_is_a_column_of_its_own_where_a_frame_has_one(folder: Path) -> None:
    rows = (Row("a.png", 0, "p1", "angio", spacing_mm=0.278875), Row("b.png", 0, "p2", "angio"))
    write_manifest(folder / "m.csv", rows)
    assert (folder / "m.csv").read_text().splitlines()[0] == f"{HEADER},spacing_mm"
    assert read_manifest(folder / "m.csv").rows == rows
    write_manifest(folder / "m.csv", rows[1:])
    assert (folder / "m.csv").read_text().splitlines()[0] == HEADER


@pytest.mark.parametrize("spacing", ["0", "-0.1", "nan", "inf", "1e999", "0,3", "0.3 mm"])
def test_a_spacing_that_is_no_length_is_refused(folder: Path, spacing: str) -> None:
    line = f'a.png,0,p,c,,,,,"{spacing}"'
    message = problems_of(write(folder, line, header=f"{HEADER},spacing_mm"))
    assert "row 2: spacing_mm" in message
    assert "is not a number above 0" in message


def test_rows_are_as_wide_as_their_header(folder: Path) -> None:
    assert "has 9 cells instead of 8" in problems_of(write(folder, "a.png,0,p,c,,,,,0.3"))
    wide = write(folder, "a.png,0,p,c,,,,", header=f"{HEADER},spacing_mm")
    assert "has 8 cells instead of 9" in problems_of(wide)


def test_a_failed_write_leaves_the_old_manifest(folder: Path) -> None:
    path = write(folder, "a.png,0,p,c,,,,")
    before = path.read_text()
    with pytest.raises(UnicodeEncodeError):
        write_manifest(path, [Row("a.png", 0, "p", "\ud800")])
    assert path.read_text() == before
    assert not list(folder.glob(".manifest-*"))


def test_links_are_followed_as_far_as_the_folder_reaches(tmp_path):
    folder, outside = tmp_path / "m", tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    for path in (folder / "sub" / "a.png", outside / "b.png"):
        path.touch()
    (folder / "inner").symlink_to("sub")
    (folder / "file").symlink_to("sub/a.png")
    (folder / "outer").symlink_to(outside)
    (folder / "stolen").symlink_to(outside / "b.png")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nothing")
    told = {
        "sub/a.png": "",
        "inner/a.png": "",
        "file": "",
        "outer/b.png": "is a link that leaves the manifest's folder",
        "stolen": "is a link that leaves the manifest's folder",
        "loop": "cannot be looked up",
        "dangling": "does not exist",
        "sub": "does not exist",
        "sub/a.png/x": "does not exist",
        "n" * 300: "cannot be looked up",
        "a\0b": "cannot be looked up",
    }
    rows = tuple(Row(path, patient_id="p", corpus="c") for path in told)
    assert path_verdicts(Manifest(folder, rows)) == told


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-2+3", "@SUM(1)", "  =1", "-", "--1", "+1e5", "＝1+1"]
)
def test_what_a_spreadsheet_would_run_is_refused(folder: Path, text: str) -> None:
    assert is_formula(text)
    message = problems_of(write(folder, f"a.png,0,p,c,{text},,,"))
    assert "row 2: label starts with" in message
    assert "as a formula" in message


@pytest.mark.parametrize("text", ["", "-1", "+7", "-0.5", "-2,5", "a=b", "wire", "1-2"])
def test_numbers_and_words_are_no_formulas(text: str) -> None:
    assert not is_formula(text)
