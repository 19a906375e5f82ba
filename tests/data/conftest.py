"""A web server and small corpora for the tests of awd_jax.data."""

import dataclasses
import hashlib
import http.server
import io
import os
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest

from awd_jax.data import download
from awd_jax.data.catalogue import SOURCES, Member, Remote, Source
from tests.many import SECONDS


@dataclasses.dataclass
class Server:
    """Serves `files` by name, each without its last `num_held_back` bytes."""

    address: str
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    num_held_back: int = 0
    num_requests: int = 0


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "ANSWER_SECONDS", SECONDS)  # for a busy machine

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.num_requests += 1
            body = state.files.get(self.path.removeprefix("/"))
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - state.num_held_back])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state = Server(f"http://127.0.0.1:{httpd.server_port}/")
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


@pytest.fixture
def publish(server, monkeypatch):
    """Puts files on the server as those of a corpus, with the right checksums."""

    def put(name: str, files: dict[str, bytes], archive: str = "") -> Source:
        if archive:
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
                for path, body in files.items():
                    zipped.writestr(path, body)
            server.files[archive] = packed.getvalue()
            members = tuple(Member(path, md5(body)) for path, body in files.items())
            remotes = (Remote(server.address + archive, md5(packed.getvalue()), members),)
        else:
            server.files.update(files)
            remotes = tuple(
                Remote(server.address + file, md5(body), ()) for file, body in files.items()
            )
        source = SOURCES[name]._replace(remotes=remotes)
        monkeypatch.setitem(SOURCES, name, source)
        return source

    return put


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch, tmp_path):
    """Keeps the tests away from a user's own data."""
    monkeypatch.delenv("AWD_JAX_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where TFDS leaves files


@pytest.fixture
def real_data(monkeypatch) -> str:
    folders = ("penn", "wikitext-2")
    if REAL_DATA is None or not all(Path(REAL_DATA, folder).is_dir() for folder in folders):
        pytest.skip("AWD_JAX_DATA does not point at penn/ and wikitext-2/")
    monkeypatch.setenv("AWD_JAX_DATA", REAL_DATA)
    return REAL_DATA


REAL_DATA = os.environ.get("AWD_JAX_DATA")


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


@pytest.fixture
def write_splits():
    def write(directory: Path, train: str, valid: str, test: str) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        for split, text in (("train", train), ("valid", valid), ("test", test)):
            (directory / f"{split}.txt").write_bytes(text.encode())
        return directory

    return write
