import socket
import threading
import zipfile

import pytest

from awd_jax.data import download
from awd_jax.data.catalogue import Member, Source
from awd_jax.data.download import fetch
from awd_jax.errors import InputError

FILES = {
    f"ptb.{split}.txt": f"{split} text\n".encode() * 9999 for split in ("train", "valid", "test")
}
MEMBERS = {
    f"wikitext-2/wiki.{split}.tokens": split.encode() for split in ("train", "valid", "test")
}


def files_in(directory) -> dict[str, bytes]:
    return (
        {path.name: path.read_bytes() for path in directory.iterdir()} if directory.exists() else {}
    )


def refused(source: Source, directory) -> str:
    """Checks that the download is refused and leaves nothing; returns the message."""
    with pytest.raises(InputError) as caught:
        fetch(source, directory)
    assert files_in(directory) == {}
    message = str(caught.value)
    assert message.startswith(source.remotes[0].address)
    for part in (
        str(directory),
        "train.txt, valid.txt, test.txt",
        "--config.data.dir",
        "$AWD_JAX_",
    ):
        assert part in message
    assert "\n" not in message
    return message


def change(source: Source, **fields) -> Source:
    return source._replace(remotes=(source.remotes[0]._replace(**fields), *source.remotes[1:]))


def test_files_arrive_whole(publish, tmp_path):
    fetch(publish("ptb", FILES), tmp_path / "new" / "penn")
    assert files_in(tmp_path / "new" / "penn") == FILES


def test_members_of_an_archive_arrive_without_it(publish, tmp_path):
    fetch(publish("wikitext2", MEMBERS, "w.zip"), tmp_path)
    assert files_in(tmp_path) == {path.split("/")[1]: body for path, body in MEMBERS.items()}


def test_a_wrong_checksum_is_refused_and_a_retry_works(publish, tmp_path):
    source = publish("ptb", FILES)
    message = refused(change(source, md5="0" * 32), tmp_path)
    assert "its md5 is" in message
    fetch(source, tmp_path)
    assert files_in(tmp_path) == FILES


def test_a_failure_leaves_what_was_whole_before(publish, tmp_path):
    (tmp_path / "ptb.train.txt").write_text("earlier")
    with pytest.raises(InputError):
        fetch(change(publish("ptb", FILES), md5="0" * 32), tmp_path)
    assert files_in(tmp_path) == {"ptb.train.txt": b"earlier"}


@pytest.mark.parametrize("archive", ["", "w.zip"])
def test_a_truncated_body_is_refused_and_a_retry_works(publish, server, tmp_path, archive):
    name, files = ("wikitext2", MEMBERS) if archive else ("ptb", FILES)
    # Without a checksum, so that only the length can show it.
    source = change(publish(name, files, archive), md5=None)
    server.num_held_back = 7
    assert "7 more expected" in refused(source, tmp_path)
    server.num_held_back = 0
    fetch(source, tmp_path)
    assert len(files_in(tmp_path)) == 3


def test_not_found_is_refused(publish, server, tmp_path):
    source = publish("ptb", FILES)
    del server.files["ptb.train.txt"]
    assert "404" in refused(source, tmp_path)


def test_an_address_where_nothing_listens_is_refused(publish, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        source = change(publish("ptb", FILES), address=f"http://127.0.0.1:{port}/ptb.train.txt")
        assert "refused" in refused(source, tmp_path)


def test_a_name_without_an_address_is_refused(publish, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)  # a resolver may be slow
    refused(change(publish("ptb", FILES), address="http://nothing.invalid/f"), tmp_path)


def test_a_server_that_never_answers_is_refused(publish, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        message = refused(change(publish("ptb", FILES), address=address), tmp_path)
    assert "no answer" in message or "timed out" in message
    for thread in set(threading.enumerate()) - before:
        thread.join()


def test_a_slow_look_up_of_a_name_is_given_up(publish, tmp_path, monkeypatch):
    """urllib's own timeout does not cover it."""
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)
    go_on = threading.Event()
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *a, **k: go_on.wait())
    assert "no answer within 0.2 s" in refused(publish("ptb", FILES), tmp_path)
    go_on.set()


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"path": "wikitext-2/none"}, "has no wikitext-2/none"), ({"md5": "0" * 32}, "its md5 is")],
)
def test_a_wrong_member_is_refused(publish, tmp_path, changed, message):
    source = publish("wikitext2", MEMBERS, "w.zip")
    members = source.remotes[0].members
    wrong = (members[0]._replace(**changed), *members[1:])
    assert message in refused(change(source, members=wrong), tmp_path)


def test_a_damaged_member_is_refused_without_a_checksum(publish, server, tmp_path):
    source = publish("wikitext2", {"wiki.train.tokens": b"text" * 999}, "w.zip")
    damaged = bytearray(server.files["w.zip"])
    damaged[60] ^= 0x55
    server.files["w.zip"] = bytes(damaged)
    member = Member("wiki.train.tokens", None)
    refused(change(source, md5=None, members=(member,)), tmp_path)


def test_a_page_instead_of_an_archive_is_refused(publish, server, tmp_path):
    source = publish("wikitext2", MEMBERS, "w.zip")
    server.files["w.zip"] = b"<html>Please log in</html>"
    assert "not a zip file" in refused(change(source, md5=None), tmp_path)


def test_only_expected_members_are_written(publish, tmp_path):
    source = publish("wikitext2", {**MEMBERS, "../../evil": b"x"}, "w.zip")
    members = source.remotes[0].members[:3]
    fetch(change(source, members=members), tmp_path / "a" / "b")
    assert len(files_in(tmp_path / "a" / "b")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_directory_that_cannot_be_written_is_refused(publish, server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be downloaded to .*file"):
        fetch(publish("ptb", FILES), tmp_path / "file")
    assert server.num_requests == 0


def test_a_full_disk_is_refused(publish, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_copy", full)
    assert "No space left" in refused(publish("ptb", FILES), tmp_path)


def test_an_interruption_leaves_nothing(publish, tmp_path, monkeypatch):
    def interrupted(stream, file, md5):
        file.write(b"half")
        raise KeyboardInterrupt

    for name, files, archive in (("ptb", FILES, ""), ("wikitext2", MEMBERS, "w.zip")):
        source = publish(name, files, archive)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(download, "_copy", interrupted)
            fetch(source, tmp_path)
        assert files_in(tmp_path) == {}


def test_the_damaged_byte_lies_in_the_data(publish, server):
    """What the test of a damaged member relies on: byte 60 is neither header nor directory."""
    publish("wikitext2", {"wiki.train.tokens": b"text" * 999}, "w.zip")
    assert zipfile.sizeFileHeader + len("wiki.train.tokens") < 60 < len(server.files["w.zip"]) - 22
