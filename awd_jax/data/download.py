"""Downloads corpora. A file appears only when it is complete and its checksum is right."""

import hashlib
import http.client
import queue
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from awd_jax import output
from awd_jax.data.catalogue import Remote, Source, placement
from awd_jax.errors import InputError, one_line
from awd_jax.files import whole_file

ANSWER_SECONDS = 8.0
_CHUNK_BYTES = 1 << 20
_FAILURES = (OSError, http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError)


def fetch(source: Source, directory: Path) -> None:
    """Downloads the files of a corpus into a directory.

    Raises:
      InputError: the server refuses or does not answer within `ANSWER_SECONDS`, a file is
        truncated, damaged or has the wrong checksum, or the directory cannot be written. Nothing
        is left of that file.
    """
    for remote in source.remotes:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _fetch_remote(remote, directory)
        except _FAILURES as error:
            raise InputError(
                remote.address,
                f"cannot be downloaded to {directory} ({one_line(error)})",
                placement(source),
            ) from error


def _fetch_remote(remote: Remote, directory: Path) -> None:
    with _open(remote.address) as reply:
        output.note(f"downloading {remote.address} to {directory}")
        if not remote.members:
            with whole_file(directory / PurePosixPath(remote.address).name) as file:
                _copy_reply(reply, file, remote)
            return
        with tempfile.TemporaryFile(dir=directory) as archive:
            _copy_reply(reply, archive, remote)
            _extract(archive, remote, directory)


def _extract(archive: IO[bytes], remote: Remote, directory: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        missing = {member.path for member in remote.members} - set(zipped.namelist())
        if missing:
            raise zipfile.BadZipFile(f"the archive has no {', '.join(sorted(missing))}")
        # Only expected members are extracted, by base name: an archive cannot write elsewhere.
        for member in remote.members:
            name = PurePosixPath(member.path).name
            with zipped.open(member.path) as packed, whole_file(directory / name) as file:
                _copy(packed, file, member.md5)


def _copy_reply(reply: Any, file: IO[bytes], remote: Remote) -> None:
    _copy(reply, file, remote.md5)
    # http.client reads a truncated body without an error; `length` is what is still missing.
    if reply.length:
        raise http.client.IncompleteRead(b"", reply.length)


def _copy(stream: Any, file: IO[bytes], md5: str | None) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        file.write(chunk)
    if md5 is not None and digest.hexdigest() != md5:
        raise OSError(f"its md5 is {digest.hexdigest()}, not {md5}")


def _open(address: str) -> Any:
    """Opens an address and returns the reply.

    In a thread, because urllib's timeout starts again for each IP address of a host and does not
    cover the look-up of its name: behind some firewalls a failure would take minutes.
    """
    # Some hosts refuse urllib's default User-Agent.
    request = urllib.request.Request(address, headers={"User-Agent": "awd_jax"})
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def answer() -> None:
        try:
            outcome.put(urllib.request.urlopen(request, timeout=ANSWER_SECONDS))
        except urllib.error.HTTPError as error:
            error.close()  # it holds an open socket, as a reply does
            outcome.put(error)
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=answer, daemon=True).start()
    try:
        reply = outcome.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from None
    if isinstance(reply, Exception):
        raise reply
    return reply
