import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest
from rich.console import Console
from rich.progress import Progress
from support.commands import here, logging_as_it_was
from support.terminal import Done

from soulwatch import __version__
from soulwatch.commands.checks_of_files import examine_files
from soulwatch.commands.checks_of_house import examine_folder, examine_key_file
from soulwatch.commands.checks_of_machine import examine_clock, examine_machine, examine_python, examine_sqlite
from soulwatch.commands.demo import demo_overrides, known_port
from soulwatch.commands.given import Given
from soulwatch.commands.listening import listen, port_of
from soulwatch.commands.progress import Bars
from soulwatch.commands.root import COMMANDS, root
from soulwatch.commands.telling import columns, shown
from soulwatch.errors import SoulwatchError
from soulwatch.host.keys import parse_key
from soulwatch.host.settings import load_settings
from soulwatch.values import Event

__all__ = ["here", "logging_as_it_was"]

HEAVY = {"aiosqlite", "alembic", "cryptography", "httpx", "pydantic", "rich", "sqlalchemy", "starlette", "structlog"}


@pytest.fixture
def settings(tmp_path):
    def load(**overrides):
        return load_settings(overrides={"data_dir": str(tmp_path / "data"), **overrides}, env={}, cwd=tmp_path)

    return load


def test_the_version(here):
    assert here.run("--version") == Done(0, f"soulwatch {__version__}\n", "")


def test_help_names_every_command_and_where_to_begin(here):
    done = here.run("--help")
    assert done.code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", done.out, re.MULTILINE), name
    assert "soulwatch serve --demo" in done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_what_help_says_of_a_command_is_what_the_command_says_of_itself(name):
    command = root.get_command(root.make_context("soulwatch", [], resilient_parsing=True), name)
    assert command.help.partition("\n")[0] == COMMANDS[name][1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_shows_examples_of_it(here, name):
    done = here.run(name, "--help")
    assert done.code == 0
    assert re.search(rf"Examples:\n(.*\n)*.*soulwatch {name}", done.out)


def loaded_by(program):
    """The slow ones among the modules that a program loads."""
    asked = f"{program}\nimport sys\nprint(*sys.modules)"
    return HEAVY & set(subprocess.check_output([sys.executable, "-c", asked], text=True).splitlines()[-1].split())


@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_asking_what_there_is_loads_nothing_that_takes_long(asked):
    ask = f"from soulwatch.cli import main\ntry: main([{asked!r}])\nexcept SystemExit: pass"
    assert loaded_by(ask) == set()


@pytest.mark.parametrize(("missing", "extra"), [("click", "host"), ("sqlalchemy", "host"), ("asyncpg", "postgres")])
def test_without_the_extra_it_says_how_to_install_it(tmp_path, missing, extra):
    code = f"import sys; sys.modules[{missing!r}] = None; from soulwatch.cli import main; main(['connections'])"
    environment = {**os.environ, "HOME": str(tmp_path), "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f'This needs more than bare soulwatch: pip install "soulwatch[{extra}]"  (there is no module {missing!r})\n'
    )


def test_a_misspelt_command_is_answered_with_the_nearest(here):
    done = here.run("conections")
    assert done.code == 2
    assert "Did you mean `soulwatch connections`?" in done.err


def test_a_command_nobody_knows_is_answered_with_where_to_look(here):
    done = here.run("frobnicate")
    assert done.code == 2
    assert "`soulwatch --help` lists them" in done.err


def test_wrong_settings_are_told_without_a_traceback(here):
    here.set(SOULWATCH_PROT="8080")
    here.set(SOULWATCH_LEASE="soon")
    done = here.run("connections")
    assert (done.code, done.out) == (2, "")
    assert "SOULWATCH_PROT" in done.err
    assert "SOULWATCH_PORT" in done.err
    assert "SOULWATCH_LEASE" in done.err
    assert "Traceback" not in done.err


def test_a_data_directory_that_cannot_be_made_is_told_with_the_remedy(here):
    (here.folder / "file").touch()
    done = here.run("login-code", "--data-dir", "file/data")
    assert done.code == 2
    assert "SOULWATCH_DATA_DIR" in done.err
    assert "Traceback" not in done.err


def test_config_tells_each_value_and_where_from_and_no_secret(here):
    here.set(SPOTIFY_CLIENT_ID="our-client")
    here.set(SPOTIFY_CLIENT_SECRET="the secret canary")
    (here.folder / "other.toml").write_text("port = 4000\n")
    lines = [line.split(maxsplit=1) for line in here.run("config", "--config", "other.toml").out.splitlines()]
    told = {line[0]: line[1] for line in lines}
    assert re.fullmatch(r"4000 +other\.toml|4000 +.*/other\.toml", told["port"])
    assert re.fullmatch(r"127\.0\.0\.1 +default", told["host"])
    assert re.fullmatch(r"our-client +environment SPOTIFY_CLIENT_ID", told["clients.spotify.id"])
    assert told["clients.spotify.secret"].startswith("set (17 characters)")


def test_keygen_makes_a_key_that_can_be_used(here):
    done = here.run("keygen")
    assert (done.code, done.err) == (0, "")
    assert len(parse_key(done.out)) == 32


def test_keygen_makes_another_key_each_time(here):
    assert here.run("keygen").out != here.run("keygen").out


def test_plugins_are_listed_without_a_database(here):
    done = here.run("plugins", "--json")
    assert done.code == 0
    assert set(json.loads(done.out)) == {"plugins", "problems"}
    assert not list(here.folder.rglob("*.db"))


def test_a_plugin_that_is_switched_off_is_listed_with_the_reason(here):
    here.set(SOULWATCH_PLUGINS__DENY="sandbox")
    done = here.run("plugins")
    assert re.search(r"sandbox +soulwatch-sandbox +switched off by the settings", done.out)


def test_apikeys_are_made_listed_and_revoked(here):
    made = here.run("apikeys", "create", "a front end")
    assert re.fullmatch(r"sw_[\w-]{40,}\n", made.out)
    key_id = made.err.split()[-1]
    (listed,) = map(json.loads, here.run("apikeys", "list", "--json").out.splitlines())
    assert (listed["id"], listed["name"], listed["revoked_at"]) == (key_id, "a front end", None)
    assert made.out.strip() not in here.run("apikeys", "list").out
    assert here.run("apikeys", "revoke", key_id).code == 0
    again = here.run("apikeys", "revoke", key_id)
    assert (again.code, "There is no API key" in again.err) == (1, True)


def test_an_id_that_begins_with_a_dash_is_no_option(here):
    here.run("login-code")
    assert "There is no API key '-Fx_1nKp'" in here.run("apikeys", "revoke", "-Fx_1nKp").err


def test_a_login_code_comes_as_the_address_to_open(here):
    here.set(SOULWATCH_PUBLIC_URL="https://example.com/soulwatch")
    done = here.run("login-code")
    assert re.fullmatch(r"https://example\.com/soulwatch/sign-in#\w{4}-\w{4}-\w{4}\n", done.out)


@pytest.mark.parametrize(
    "words",
    [
        ("connections", "--user", "nobody"),
        ("connections", "--platform", "nothing"),
        ("poll", "--user", "nobody"),
        ("poll", "--connection", "none"),
        ("refresh", "--user", "nobody", "--platform", "spotify"),
        ("refresh", "--connection", "none"),
        ("data", "--user", "nobody"),
        ("disconnect", "--yes", "none"),
    ],
)
def test_who_is_unknown_is_told_in_one_line(here, words):
    here.run("login-code")
    done = here.run(*words)
    assert (done.code, done.out) == (1, "")
    assert re.search(r"^Error: .+\n\Z", done.err, re.MULTILINE)
    assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [("connections",), ("poll",), ("data",), ("apikeys", "list")])
def test_where_there_is_nothing_yet_it_says_so_and_all_is_well(here, words):
    here.run("login-code")
    done = here.run(*words)
    assert (done.code, done.out) == (0, "")
    assert "yet" in done.err


@pytest.mark.parametrize("words", [("connections",), ("data",), ("poll",), ("apikeys", "list"), ("disconnect", "x")])
def test_a_folder_that_was_mistyped_is_named_and_nothing_is_made_there(here, words):
    done = here.run(*words, "--data-dir", "tpyo")
    assert done.code == 1
    assert f"There is no soulwatch data at {here.folder}/tpyo/soulwatch.db" in done.err
    assert not (here.folder / "tpyo").exists()


@pytest.mark.parametrize("name", ["", " ", "a" * 201, "a\nb"])
def test_an_api_key_needs_a_name(here, name):
    done = here.run("apikeys", "create", name)
    assert done.code == 2
    assert "1 to 200" in done.err


@pytest.mark.parametrize(
    "words", [(), ("--user", "ada"), ("--platform", "spotify"), ("--connection", "c", "--user", "a", "--platform", "p")]
)
def test_refresh_has_to_be_told_which_connection(here, words):
    here.run("login-code")
    done = here.run("refresh", *words)
    assert done.code == 2
    assert "Say which" in done.err


@pytest.mark.parametrize("message", ["{", "[]", '"text"', "{}", '{"type": "new_data"}'])
def test_a_message_that_cannot_be_sent_is_told_why(here, message):
    here.run("login-code")
    done = here.run("message", "ada", message)
    assert done.code == 2
    assert "Invalid value for JSON" in done.err


def test_the_installation_is_named_again_where_another_command_is_advised(tmp_path, monkeypatch):
    on_path = tmp_path / "bin" / "soulwatch"
    on_path.parent.mkdir()
    on_path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(on_path.parent))
    given = Given(tmp_path / "my data", None, is_demo=True, more={"port": 3017})
    assert given.command("login-code") == (
        f"SOULWATCH_PORT=3017 soulwatch login-code --demo --data-dir '{tmp_path}/my data'"
    )


def test_a_program_that_is_not_on_the_path_is_named_by_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Given().command("doctor").endswith("/soulwatch doctor")


def test_a_relative_data_directory_is_meant_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Given(data_dir=tmp_path.__class__("data")).overrides == {"data_dir": str(tmp_path / "data")}


# Listening


def test_a_port_in_use_is_told_with_the_remedy():
    with listen("127.0.0.1", 0) as sockets:
        port = port_of(sockets)
        with pytest.raises(SoulwatchError, match=rf"Port {port} on 127\.0\.0\.1 is in use.*--port {port + 1}"):
            listen("127.0.0.1", port).__enter__()


def test_an_address_of_another_machine_is_told_with_the_remedy():
    with pytest.raises(SoulwatchError, match="SOULWATCH_HOST"):
        listen("192.0.2.1", 0).__enter__()


def test_a_name_of_no_machine_is_told_with_the_remedy():
    with pytest.raises(SoulwatchError, match="is no address of this machine"):
        listen("nowhere.invalid", 0).__enter__()


def test_all_addresses_of_a_name_are_on_one_port():
    with listen("localhost", 0) as sockets:
        assert {one.getsockname()[1] for one in sockets} == {port_of(sockets)}


def test_small_answers_leave_at_once():
    # asyncio sets TCP_NODELAY only on sockets that name their protocol.
    with listen("127.0.0.1", 0) as sockets:
        assert {one.proto for one in sockets} == {socket.IPPROTO_TCP}


# The demonstration


def test_the_demonstration_has_data_of_its_own(settings):
    real = settings(database_url="postgresql://real@db.example/real")
    shown = settings(**{"database_url": "postgresql://real@db.example/real", **demo_overrides(real, 4000)})
    assert shown.data_dir == real.data_dir / "demo"
    assert shown.database_url == f"sqlite+aiosqlite:///{real.data_dir}/demo/soulwatch.db"


def test_the_demonstration_has_clients_and_addresses_for_the_sandbox_and_its_poses(settings):
    shown = settings(**demo_overrides(settings(), 4000))
    assert shown.platform("sandbox").api_url == shown.platform("sandbox").oauth_url == "http://127.0.0.1:4000"
    assert shown.platform("spotify").api_url == "http://127.0.0.1:4000/spotify"
    assert {"sandbox", "spotify", "github"} <= set(shown.clients)


def test_a_platform_with_a_client_of_its_own_stays_itself_in_the_demonstration(settings):
    own = {"clients.spotify.id": "ours", "clients.spotify.secret": "our own"}
    shown = settings(**own, **demo_overrides(settings(**own), 4000))
    assert shown.clients["spotify"].id == "ours"
    assert shown.platform("spotify").api_url is None


def test_who_allows_some_plugins_only_has_the_sandbox_in_the_demonstration_all_the_same(settings):
    some = {"plugins.allow": ["spotify"]}
    assert settings(**{**some, **demo_overrides(settings(**some), 1)}).plugins.allow == ("spotify", "sandbox")


def test_the_demonstration_says_how_to_install_the_sandbox(tmp_path):
    code = "import sys; sys.modules['soulwatch_sandbox'] = None; from soulwatch.cli import main; "
    code += "main(['serve', '--demo', '--port', '0'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install soulwatch-sandbox" in done.stderr


@pytest.mark.parametrize("command", ["connections", "config", "doctor", "login-code"])
def test_where_no_demonstration_ever_ran_it_says_how_to_begin_one(here, command):
    done = here.run(command, "--demo")
    assert (done.code, done.out) == (1, "")
    assert "`soulwatch serve --demo` begins one" in done.err


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"port": "x"}', '{"port": 70000}', '{"port": -1}'])
def test_a_port_that_was_kept_badly_is_forgotten(settings, kept):
    made = settings()
    (made.data_dir / "demo").mkdir(parents=True)
    (made.data_dir / "demo" / "sandbox.json").write_text(kept)
    assert known_port(made) == 0


# Examining


def test_doctor_says_ok_of_a_new_installation_and_changes_nothing(here):
    here.set(SOULWATCH_PORT="0")
    done = here.run("doctor", "--data-dir", "data")
    assert done.code == 0, done.out
    titles = re.findall(r"^(?:ok|warn) +([A-Z][\w ]+):", done.out, re.MULTILINE)
    assert {"Python", "SQLite", "Clock", "Settings", "Data directory", "Encryption key", "Database"} <= set(titles)
    assert not (here.folder / "data").exists()


def test_doctor_fails_with_the_remedy_where_the_key_is_another(here):
    here.run("apikeys", "create", "first")
    here.set(ENCRYPTION_KEY=here.run("keygen").out.strip())
    done = here.run("doctor")
    assert done.code == 1
    assert re.search(r"^fail +Database.*\n +ENCRYPTION_KEY is not the key", done.out, re.MULTILINE)


def test_doctor_fails_where_the_database_is_none(here):
    (here.folder / "bad.db").write_text("this is no database, " * 1000)
    here.set(DATABASE_URL="sqlite:///bad.db")
    done = here.run("doctor")
    assert done.code == 1
    assert re.search(r"^fail +Database: ", done.out, re.MULTILINE)
    assert "Traceback" not in done.err


def test_doctor_fails_where_another_program_has_the_port(here):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def hang_up():
            other.accept()[0].close()

        hangs_up = threading.Thread(target=hang_up)
        hangs_up.start()
        here.set(SOULWATCH_PORT=str(other.getsockname()[1]))
        done = here.run("doctor")
        hangs_up.join()
    assert done.code == 1
    assert re.search(r"^fail +Address: .*\n.* is in use", done.out, re.MULTILINE)


def test_doctor_tells_wrong_settings_and_goes_no_further(here):
    here.set(SOULWATCH_PORT="many")
    done = here.run("doctor")
    assert done.code == 1
    assert re.search(r"^fail +Settings: .*\n.*\n +port", done.out, re.MULTILINE)


def test_a_key_file_that_others_may_read_fails(settings):
    made = settings()
    made.data_dir.mkdir()
    path = made.data_dir / "encryption.key"
    path.write_text("x")
    path.chmod(0o640)
    found = examine_key_file(made)
    assert (found.level, found.remedy) == ("fail", f"chmod 600 {path}")


def test_a_settings_file_with_secrets_that_others_may_read_is_a_warning(here):
    here.run("login-code")
    (here.folder / ".env").write_text("CRON_SECRET=invented-and-long-enough-for-this\nSPOTIFY_CLIENT_ID=ours\n")
    (here.folder / "soulwatch.toml").write_text('port = 0\n[clients.spotify]\nsecret_file = "spotify.secret"\n')
    (here.folder / "spotify.secret").write_text("invented")
    for name in (".env", "soulwatch.toml", "spotify.secret"):
        (here.folder / name).chmod(0o644)
    told = here.run("doctor").out
    assert f"warn  Settings file: others may read {here.folder}/.env (mode 0644), which holds cron_secret\n" in told
    assert f"        chmod 600 {here.folder}/.env\n" in told
    assert f"{here.folder}/spotify.secret (mode 0644), which holds clients.spotify.secret\n" in told
    assert "soulwatch.toml" not in told
    for name in (".env", "spotify.secret"):
        (here.folder / name).chmod(0o600)
    assert "Settings file" not in here.run("doctor").out


def test_a_password_of_the_database_is_a_secret_too(settings, tmp_path):
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://sw:secret@localhost/sw\n")
    (tmp_path / ".env").chmod(0o640)
    (found,) = examine_files(settings())
    assert (found.level, found.remedy) == ("warn", f"chmod 600 {tmp_path}/.env")
    assert "database_url" in found.what


def test_on_postgresql_nothing_is_said_of_sqlite():
    assert "SQLite" in {one.title for one in examine_machine(uses_sqlite=True)}
    assert "SQLite" not in {one.title for one in examine_machine(uses_sqlite=False)}


def test_doctor_asks_the_settings_which_database_it_is(here):
    here.set(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", SOULWATCH_PORT="0")
    assert "SQLite" not in here.run("doctor").out


@pytest.mark.parametrize(("free", "level"), [(0, "fail"), (50_000_000, "warn"), (500_000_000, "ok")])
def test_a_disk_without_room_fails_and_one_with_little_is_a_warning(tmp_path, monkeypatch, free, level):
    usage = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert examine_folder(tmp_path).level == level


def test_what_the_demonstration_decides_is_not_said_to_be_typed(here):
    (here.folder / "data" / "demo").mkdir(parents=True)
    (here.folder / "data" / "demo" / "sandbox.json").write_text('{"port": 4999}')
    told = here.run("config", "--demo", "--data-dir", "data").out
    assert "command line" not in told
    assert re.search(r"^environment +demonstration +--demo$", told, re.MULTILINE)
    assert re.search(r"^clients\.sandbox\.id +sandbox-demo +--demo$", told, re.MULTILINE)


def test_a_folder_that_is_a_file_fails(tmp_path):
    (tmp_path / "file").touch()
    assert examine_folder(tmp_path / "file" / "data").level == "fail"


@pytest.mark.fault("F43")
@pytest.mark.parametrize(
    ("version", "level"), [((3, 40, 1), "warn"), ((3, 51, 2), "warn"), ((3, 51, 3), "ok"), ((3, 44, 6), "ok")]
)
def test_an_sqlite_that_can_corrupt_its_log_is_a_warning(version, level):
    assert examine_sqlite(version).level == level


@pytest.mark.parametrize(("version", "level"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 14), "ok")])
def test_a_python_too_old_fails(version, level):
    assert examine_python(version).level == level


@pytest.mark.parametrize(("year", "level"), [(1970, "fail"), (2025, "fail"), (2027, "ok")])
def test_a_clock_before_this_was_written_fails(year, level):
    assert examine_clock(datetime(year, 1, 1, tzinfo=UTC)).level == level


# Progress


def test_progress_has_a_bar_for_each_poll_of_many_pages_while_it_lasts():
    progress = Progress(console=Console(file=io.StringIO()))
    bars = Bars(progress, total=2)

    def shown():
        return [(task.description, task.completed, task.total) for task in progress.tasks]

    said = {"dataType": "archive", "done": 100, "total": 250}
    bars.on_event(Event("extraction_progress", "ada", "sandbox", "c1", said))
    bars.on_event(Event("new_data", "ada", "sandbox", "c1", {"dataType": "archive", "count": 100}))
    assert shown() == [("polling", 0, 2), ("sandbox archive", 100, 250)]
    bars.done("c1", "archive")
    bars.done("c1", "mood")
    assert shown() == [("polling", 2, 2)]


# Telling


def test_columns_stand_under_their_heads(capsys):
    columns(("name", "made"), [("ada", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)), ("grace", None)])
    assert capsys.readouterr().out == "NAME   MADE\nada    2026-01-02 03:04:05Z\ngrace  -\n"


def test_a_terminal_obeys_nothing_that_a_platform_says():
    assert shown("\x1b]0;owned\x07name\n") == "\\x1b]0;owned\\x07name\\n"
