import errno
import os

import pytest

from limelight.errors import InputError
from limelight.files import aside, forget_partial, write_whole


def test_what_is_written_is_there_and_nothing_else(tmp_path):
    path = write_whole(tmp_path / "new" / "a.txt", "ä")
    assert path.read_bytes() == "ä".encode()
    assert os.listdir(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    path = write_whole(tmp_path / "a.bin", b"old")
    with pytest.raises(type(error)), aside(path) as partial:
        partial.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_writer_may_go_by_the_ending(tmp_path):
    with aside(tmp_path / "a.png") as partial:
        assert partial.suffix == ".png"
        partial.touch()


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "may not be written"), (errno.EROFS, "read-only")],
)
def test_the_systems_refusals_say_what_to_do(tmp_path, code, said):
    with pytest.raises(InputError, match=f"a.txt can't be written: .*{said}"), aside(tmp_path / "a.txt"):
        raise OSError(code, os.strerror(code))
    assert not os.listdir(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path):
    write_whole(tmp_path / "a", "")
    with pytest.raises(InputError, match="can't be written"):
        write_whole(tmp_path / "a" / "b", "")


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path):
    with pytest.raises(ConnectionError), aside(tmp_path / "a.txt"):
        raise ConnectionError("lost")


def test_what_a_killed_writer_left_is_forgotten(tmp_path):
    write_whole(tmp_path / "deep" / "a.txt", "kept")
    if not os.fork():  # the child dies inside the block
        with aside(tmp_path / "deep" / "b.txt") as partial:
            partial.write_text("half")
            os._exit(9)
    os.wait()
    assert len(os.listdir(tmp_path / "deep")) == 2
    forget_partial(tmp_path)
    assert os.listdir(tmp_path / "deep") == ["a.txt"]
