"""What holds for every test: one thread, an empty home, no downloads."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

# Before torch is imported anywhere: several threads make small work slow, and sums depend on them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Weights come from the code or from files; a test that asks a hub for them is wrong.
os.environ["HF_HUB_OFFLINE"] = "1"
# With a new home for every test, matplotlib would search the machine's fonts each time.
os.environ.setdefault(
    "MPLCONFIGDIR", str(Path(tempfile.gettempdir(), f"fedefm-matplotlib-{os.getuid()}"))
)

# A busy machine makes an example slow, not wrong.
settings.register_profile("local", deadline=None, max_examples=30)
settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that start FLARE on one worker: each of them starts a process per site."""
    for item in items:
        if item.get_closest_marker("flare"):
            item.add_marker(pytest.mark.xdist_group("flare"))


@pytest.fixture(scope="session", autouse=True)
def home_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The home of what several tests share, such as a browser."""
    with pytest.MonkeyPatch.context() as patch:
        move_home(patch, tmp_path_factory.mktemp("home"))
        yield


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, so that no test reads or leaves anything in the real one."""
    folder = tmp_path_factory.mktemp("home")
    move_home(monkeypatch, folder)
    return folder


def move_home(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("HOME", str(folder))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        patch.delenv(name, raising=False)


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """By what the test starts: who runs the tests in the background of a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with sample sets of real images; the test is skipped where there is none."""
    named = os.environ.get("FEDEFM_SHARED_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no sample images at {folder}; name their folder in FEDEFM_SHARED_DATA")
    return folder
