"""Another user of the machine, who tries what the folders of a session allow: nothing. Root alone can become one."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ffe.config import Settings, load_secrets
from ffe.errors import ConfigError
from ffe.live import control
from ffe.live.accounts import Known, locked, mark_of, permit_of, take_over
from ffe.live.task import Task
from ffe.private import own_folder, state_folder

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="to become another user takes root")

NOBODY = 65_534
ONE = Known(mark_of("one"))


def as_another(act: Callable[[], object]) -> str:
    """What came of it, done by another user in a process of its own: "done", or the error's name."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = "done"
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            act()
        except BaseException as error:
            said = type(error).__name__
        with suppress(OSError):
            os.write(writing, json.dumps(said).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return str(json.loads(pipe.read()))


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place that everybody may enter, with a home and a data folder in it; the umask hides nothing."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    (place / "home").mkdir(mode=0o755)
    entry = pwd.getpwuid(os.getuid())
    fields = [str(place / "home") if value == entry.pw_dir else value for value in entry]
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(fields))
    before = os.umask(0)
    yield place
    os.umask(before)
    shutil.rmtree(place)


@pytest.fixture
def data(public: Path) -> Path:
    """A session's data folder and the state of its account, as a start makes them."""
    folder = own_folder(public / "data")
    with locked(folder, [ONE]):
        take_over(folder, [ONE], True)
        Task(strategy="a test", symbols=["EUR/USD"], interval="1h", settings=Settings(data_folder=folder)).keep(folder)
    return folder


def hold(path: Path) -> None:
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)


def test_another_user_is_another(public: Path) -> None:
    """What follows would pass for want of one."""
    (public / "open").mkdir(mode=0o777)
    (public / "open").chmod(0o777)
    assert as_another(lambda: (public / "open" / "file").write_text("here")) == "done"
    assert (public / "open" / "file").stat().st_uid == NOBODY


ACTS: dict[str, Callable[[Path], object]] = {
    "list": lambda path: list(path.parent.iterdir()),
    "read": lambda path: path.read_bytes(),
    "write": lambda path: path.write_text("x"),
    "hold its lock": hold,
    "remove": lambda path: path.unlink(),
    "put another in its place": lambda path: Path("/etc/hostname").replace(path),
    "link": lambda path: path.with_name("link").symlink_to("/etc/passwd"),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("name", ["permit", "live.lock", "task.json"])
def test_another_user_has_no_say_in_the_data_folder(data: Path, name: str, act: str) -> None:
    assert (data / name).exists()
    assert as_another(lambda: ACTS[act](data / name)) in ("PermissionError", "OSError")
    assert permit_of(data, [ONE]).is_given


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("name", ["permit", "data_folder"])
def test_another_user_has_no_say_in_the_account(data: Path, name: str, act: str) -> None:
    assert (ONE.root / name).exists()
    assert as_another(lambda: ACTS[act](ONE.root / name)) in ("PermissionError", "OSError")
    assert as_another(lambda: hold(state_folder() / f"{ONE.mark}.lock")) == "PermissionError"


def test_another_user_cannot_ask_a_supervisor(data: Path) -> None:
    def ask() -> None:
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(str(control.socket_folder() / control.name_of(data)))

    with control.listening(data):
        assert as_another(ask) == "PermissionError"
        link = control.call(data)
        assert link is not None
        link.close()


def test_another_user_cannot_take_the_sockets_place_beforehand(public: Path, data: Path) -> None:
    """In /tmp anybody could, and start, status and stop failed."""
    assert as_another(lambda: control.socket_folder().mkdir(parents=True)) == "PermissionError"
    assert not str(control.socket_folder()).startswith(tempfile.gettempdir() + "/ffe-")


@pytest.mark.parametrize("name", ["data", "home/.local/state/ffe"])
def test_folder_that_belongs_to_another_user_is_refused(public: Path, data: Path, name: str) -> None:
    os.chown(public / name, NOBODY, NOBODY)
    with (
        pytest.raises(ConfigError, match=f"{public / name} belongs to another user.*sudo chown -R 0"),
        locked(data, [ONE]),
    ):
        pass


def test_lock_in_a_folder_that_is_open_could_be_held_and_so_it_is_refused(data: Path) -> None:
    data.chmod(0o755)
    (data / "live.lock").chmod(0o644)
    assert as_another(lambda: hold(data / "live.lock")) == "done"
    with pytest.raises(ConfigError, match=f"chmod -R go= {data}"), locked(data, [ONE]):
        pass


@pytest.mark.parametrize(
    ("mode", "owner", "said"),
    [(0o666, 0, "chmod 600 .env"), (0o644, 0, "chmod 600 .env"), (0o600, NOBODY, "belongs to another user")],
)
def test_keys_are_read_from_no_file_of_another_users(
    public: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owner: int, said: str
) -> None:
    monkeypatch.chdir(public)
    Path(".env").write_text("OANDA_API_KEY=x\n")
    Path(".env").chmod(mode)
    os.chown(".env", owner, owner)
    with pytest.raises(ConfigError, match=said):
        load_secrets()
