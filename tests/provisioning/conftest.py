"""Kits as `nvflare provision` makes them, and a listening socket that stands for the server."""

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

BUILDERS = [
    {"path": "nvflare.lighter.impl.workspace.WorkspaceBuilder"},
    {
        "path": "nvflare.lighter.impl.static_file.StaticFileBuilder",
        "args": {"config_folder": "config", "scheme": "grpc"},
    },
    {"path": "nvflare.lighter.impl.cert.CertBuilder"},
    {"path": "provisioning.builders.HardenedKitBuilder"},
]


def provision(folder: Path, port: int) -> Path:
    """The folder of the kits of a small project."""
    project = {
        "api_version": 3,
        "name": "small",
        "participants": [
            {"name": "localhost", "type": "server", "org": "hub", "fed_learn_port": port},
            {"name": "hosp-a", "type": "client", "org": "a"},
            {"name": "lead@hub.org", "type": "admin", "org": "hub", "role": "lead"},
        ],
        "builders": BUILDERS,
    }
    folder.mkdir()
    (folder / "project.yml").write_text(yaml.safe_dump(project))
    nvflare = str(Path(sys.executable).parent / "nvflare")
    command = [nvflare, "provision", "-p", "project.yml", "-w", "kits"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "kits" / "small" / "prod_00"


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kits of a project; nobody may change them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return provision(tmp_path_factory.mktemp("project") / "small", port)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kits of another project with the same names."""
    return provision(tmp_path_factory.mktemp("stranger") / "small", 1)


@pytest.fixture
def kits(provisioned: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(provisioned, tmp_path / "kits")
    return tmp_path / "kits"


Listen = Callable[..., None]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """``listen(port, startup)``: a server with the certificate of ``startup/server.crt``.

    It takes clients with certificates of the project's root only, as FLARE's does; without
    ``startup`` it speaks no TLS at all.
    """
    open_sockets: list[socket.socket] = []

    def start(port: int, startup: Path | None = None) -> None:
        listener = socket.create_server(("127.0.0.1", port))
        open_sockets.append(listener)
        context = None if startup is None else _context(startup)
        threading.Thread(target=_serve, args=(listener, context), daemon=True).start()

    yield start
    for each in open_sockets:
        each.shutdown(socket.SHUT_RDWR)  # else its thread goes on accepting
        each.close()


def _context(startup: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(startup / "server.crt", startup / "server.key")
    context.load_verify_locations(startup / "rootCA.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        try:
            if context is None:
                plain.sendall(b"SSH-2.0-other\r\n")
                plain.close()
                continue
            with context.wrap_socket(plain, server_side=True) as secure:
                secure.sendall(b"\0\0\0\4\0\0\0\0\0")
                secure.recv(64)
        except OSError:
            plain.close()
