"""Atomic writes, and files that say when they are damaged."""

import errno
import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from metarl import storage
from metarl.errors import InputError, RunError

ARRAYS = {
    "parameters": np.linspace(-1.0, 1.0, 7, dtype=np.float32),
    "table": np.arange(6).reshape(2, 3).T,  # not contiguous
    "empty": np.zeros((0, 3)),
    "scalar": np.array(3),
}
SETTINGS = {"seed": 3, "hidden_sizes": [4, 5], "name": "\u03b7"}


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "run.npz"
    storage.write_bytes(storage.pack_arrays(ARRAYS, SETTINGS), path)
    return path


def assert_one_line(error, path):
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message


def test_write_makes_the_folder_and_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    storage.write_bytes(b"old and longer", path)
    storage.write_bytes(b"new", path)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


def test_write_text_is_utf_8(tmp_path):
    storage.write_text("\u03b8' = \u03b8 + \u03b7 g\n", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == "\u03b8' = \u03b8 + \u03b7 g\n".encode()


def test_write_honours_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        storage.write_bytes(b"", tmp_path / "file")
    finally:
        after = os.umask(before)
    assert after == 0o027  # the write put it back
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), RunError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failing_write_leaves_the_old_file_alone(tmp_path, monkeypatch, failing, error, raised):
    def fail(*arguments):
        raise error

    path = tmp_path / "file"
    storage.write_bytes(b"old", path)
    monkeypatch.setattr(storage.os, failing, fail)
    with pytest.raises(raised):
        storage.write_bytes(b"new", path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_size_limit_is_one_line_and_leaves_the_old_file_alone(tmp_path):
    """In a process of its own, which may write files of 4 KiB."""
    path = tmp_path / "file"
    storage.write_bytes(b"old", path)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from metarl import errors, storage\n"
        "try:\n"
        f"    storage.write_bytes(bytes(10**5), {str(path)!r})\n"
        "except errors.RunError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1 and "File too large" in done.stdout
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_next_write_removes_what_a_killed_one_left(tmp_path):
    """A process that kills itself in the middle of its write; another path's and a live process's
    stay."""
    path = tmp_path / "file"
    code = (
        "import os, signal; from metarl import storage\n"
        "storage.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"storage.write_bytes(b'half', {str(path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    other, alive = storage._temporary(tmp_path / "other", 1), storage._temporary(path, os.getppid())
    other.touch()
    alive.touch()
    storage.write_bytes(b"new", path)
    assert sorted(tmp_path.iterdir()) == sorted([path, other, alive])
    assert left not in (other, alive)


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null", "/dev/stdout"):
        with pytest.raises(InputError, match="device or a pipe"):
            storage.require_writable(path)
    with pytest.raises(InputError, match="takes no new files"):
        storage.require_writable("/proc/run.parquet")


def test_outputs_are_neither_each_other_nor_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").touch()
    (tmp_path / "link").symlink_to("p")
    storage.write_bytes(b"through", "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "p").read_bytes() == b"through"
    storage.require_writable("x", "y", inputs=["p"])
    with pytest.raises(InputError, match="another output has this path"):
        storage.require_writable("x", "./x")
    with pytest.raises(InputError, match="another output has the path of its folder"):
        storage.require_writable("x", "x/y")
    with pytest.raises(InputError, match="another output is to be in a folder of this path"):
        storage.require_writable("x/y/z", "x")
    storage.require_writable("x/y", "x/z", inputs=["x/p"])
    for path in ("p", "./p", "link", tmp_path / "p"):
        with pytest.raises(InputError, match="an input too"):
            storage.require_writable("x", path, inputs=["p"])


def test_the_data_is_on_disk_before_it_replaces_the_old_file(tmp_path, monkeypatch):
    calls = []

    def fsync(descriptor):
        calls.append(("fsync", os.fstat(descriptor).st_size))

    def replace(source, target, original=os.replace):
        calls.append(("replace", os.path.dirname(source) == os.path.dirname(target)))
        original(source, target)

    monkeypatch.setattr(storage.os, "fsync", fsync)
    monkeypatch.setattr(storage.os, "replace", replace)
    storage.write_bytes(b"12345", str(tmp_path / "file"))
    assert calls == [("fsync", 5), ("replace", True)]


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "below", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="cannot write") as error:
            storage.write_bytes(b"data", path)
        assert_one_line(error, path)
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_for_results_is_required_beforehand(tmp_path):
    (tmp_path / "file").touch()
    storage.require_writable(tmp_path / "file", tmp_path / "new" / "deeper" / "file")
    for path, reason in (
        (tmp_path, "it is a folder"),
        (tmp_path / "file" / "x" / "y", "not a folder"),
    ):
        with pytest.raises(InputError, match=reason):
            storage.require_writable(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_too_long_is_noticed_beforehand(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        storage.require_writable(tmp_path / ("x" * 1000))


def test_parquet_round_trip(tmp_path):
    frame = pd.DataFrame({"seed": [1, 2], "name": ["a", "b"], "value": [0.1, np.nan]}, index=[7, 9])
    storage.write_parquet(frame, tmp_path / "frame.parquet")
    read = pd.read_parquet(tmp_path / "frame.parquet")
    pd.testing.assert_frame_equal(read, frame.reset_index(drop=True))


def test_arrays_round_trip(packed):
    arrays, settings = storage.unpack_arrays(packed)
    assert settings == SETTINGS
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_the_same_arrays_pack_into_the_same_bytes():
    turned = dict(reversed(SETTINGS.items()))
    assert storage.pack_arrays(ARRAYS, SETTINGS) == storage.pack_arrays(ARRAYS, turned)


def test_an_absent_file(tmp_path):
    for path in (tmp_path / "absent.npz", tmp_path):
        with pytest.raises(InputError, match="no file") as error:
            storage.unpack_arrays(path)
        assert_one_line(error, path)


def test_every_truncation_is_refused(packed):
    data = packed.read_bytes()
    for size in [*range(0, len(data), 7), len(data) - 1]:
        packed.write_bytes(data[:size])
        with pytest.raises(InputError, match="write it anew") as error:
            storage.unpack_arrays(packed)
        assert_one_line(error, packed)


def test_every_damaged_byte_is_harmless_or_refused(packed):
    """A flip in the archive's own bookkeeping (a date, say) changes nothing; others are refused."""
    data = packed.read_bytes()
    refused = 0
    for position in range(len(data)):
        packed.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            arrays, settings = storage.unpack_arrays(packed)
        except InputError:
            refused += 1
            continue
        assert settings == SETTINGS
        assert arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert refused > sum(array.nbytes for array in ARRAYS.values())


def test_contents_exchanged_behind_the_archives_back_are_refused(packed):
    with np.load(packed) as file:
        contents = {name: file[name] for name in file.files}
    contents["parameters"] = contents["parameters"][::-1]
    np.savez(packed, **contents)
    with pytest.raises(InputError, match="does not match its checksum") as error:
        storage.unpack_arrays(packed)
    assert_one_line(error, packed)


def foreign_text(path):
    path.write_text("iteration,return\n0,1\n")


def foreign_npy(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def foreign_npz(path):
    np.savez(path, parameters=np.ones(3))


def foreign_objects(path):
    np.savez(path, sha256=np.array([{}], dtype=object))


def foreign_parquet(path):
    pd.DataFrame({"a": [1]}).to_parquet(path)


@pytest.mark.parametrize(
    "write", [foreign_text, foreign_npy, foreign_npz, foreign_objects, foreign_parquet]
)
def test_a_foreign_file_is_refused(tmp_path, write):
    path = tmp_path / "foreign.npz"
    write(path)
    with pytest.raises(InputError, match="not a readable metarl file") as error:
        storage.unpack_arrays(path)
    assert_one_line(error, path)
