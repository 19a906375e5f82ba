"""Downloads whose files appear whole and checked, or not at all."""

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
from awd_jax.data.sources import Remote, Source, placement
from awd_jax.errors import InputError, one_line
from awd_jax.files import whole_file

ANSWER_SECONDS = 8.0
_CHUNK_BYTES = 1 << 20
_FAILURES = (OSError, http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError)


def fetch(source: Source, directory: Path) -> None:
    """Downloads the files of a corpus into a directory.

    Raises:
      InputError: no answer within seconds, a refusal, a wrong checksum, a truncated or damaged
        file, or a directory that cannot be written. No part of the file in question is left.
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
        # Only the expected names are read: an archive cannot write anywhere else.
        for member in remote.members:
            name = PurePosixPath(member.path).name
            with zipped.open(member.path) as packed, whole_file(directory / name) as file:
                _copy(packed, file, member.md5)


def _copy_reply(reply: Any, file: IO[bytes], remote: Remote) -> None:
    _copy(reply, file, remote.md5)
    # http.client ends a body that breaks off like any other; what is missing stays in `length`.
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
    """The reply of an address.

    A thread, because urllib's timeout holds for each address of a host anew and not at all for
    its name look-up: behind some firewalls a refusal would take minutes.
    """
    # Some hosts refuse urllib's own name.
    request = urllib.request.Request(address, headers={"User-Agent": "awd_jax"})
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def answer() -> None:
        try:
            outcome.put(urllib.request.urlopen(request, timeout=ANSWER_SECONDS))
        except urllib.error.HTTPError as error:
            error.close()  # it is a reply too, with an open socket
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
