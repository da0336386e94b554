"""Everything one does with a checkout: `nox` runs every check, `nox -s serve` starts the host with its sandbox."""

import atexit
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
# Interpreters come from the machine; fetching them from elsewhere is not ours to decide.
nox.options.download_python = "never"
os.environ["UV_PYTHON_DOWNLOADS"] = "never"

HERE = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
SUPPORTED = nox.project.python_versions(PROJECT)
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
SIDE_BY_SIDE = ("--numprocesses", "auto", "--dist", "worksteal")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
NO_CHROMIUM = """no Chromium found for the browser tests.
  Debian, Ubuntu:  apt-get install chromium
  elsewhere:       install Chromium or Chrome and set CHROMIUM=/path/to/its/binary
  without it:      nox -s lint types tests plugins docs wheels"""

if sys.version_info < (3, 11):  # noqa: UP036  - nox may run on an older one
    sys.exit(f"soulwatch needs Python 3.11 or newer; {sys.executable} is {RUNNING}")


def runs(python: str, version: str) -> bool:
    """Say whether it starts and is what its name says: a pyenv shim may exist that starts nothing."""
    ask = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", ask], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.split() == ["cpython", version]


def find_python(version: str) -> str | None:
    """Find an interpreter of this version that runs: on PATH, or where pyenv and uv keep theirs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    kept_by_uv = Path.home() / ".local/share/uv/python"
    candidates = [
        shutil.which(f"python{version}"),
        *pyenv.glob(f"versions/{version}.*/bin/python"),
        *kept_by_uv.glob(f"cpython-{version}.*/bin/python{version}"),
    ]
    return next((str(found) for found in candidates if found and runs(str(found), version)), None)


def pythons() -> tuple[list[str], list[str]]:
    """Give the versions that run here, the one running nox first, and those that are missing."""
    here, missing = [RUNNING], []
    for version in SUPPORTED:
        if version == RUNNING:
            continue
        if found := find_python(version):
            here.append(version)
            os.environ["PATH"] += os.pathsep + str(Path(found).parent)  # nox looks on PATH only
        else:
            missing.append(version)
    return here, missing


PYTHONS, MISSING = pythons()
DISTRIBUTIONS = [
    folder.parent.relative_to(HERE)
    for where in ("plugins", "contrib")
    for folder in sorted(HERE.glob(f"{where}/*/pyproject.toml"))
]
SANDBOX_AND_PLATFORMS = [f"./{folder}" for folder in DISTRIBUTIONS if folder.parts[0] == "plugins"] + [
    "./contrib/sandbox"
]


def say_missing() -> None:
    """Say at the very end, after nox's own summary, what was not tried."""
    print(f"Pythons tried: {', '.join(PYTHONS)}; not found on this machine: {', '.join(MISSING) or 'none'}.")


def group(*names: str) -> tuple[str, ...]:
    """Give the requirements of dependency groups, since an older pip cannot read them itself."""
    return nox.project.dependency_groups(PROJECT, *names)


def install_all(session: nox.Session, *groups: str) -> None:
    """Install the host, every plugin and the named groups in one command, so the index is never asked for ours."""
    ours = [argument for folder in DISTRIBUTIONS for argument in ("-e", f"./{folder}")]
    session.install("-e", ".[postgres]", *ours, *group(*groups))
    if session.venv_backend == "uv":
        session.env["UV"] = nox.virtualenv.UV  # the packaging tests make scratch environments faster with it


def pytest(session: nox.Session, *default: str) -> None:
    """Run the named tests, or what stands after `--` on the command line."""
    session.run("pytest", *(session.posargs or default))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, and who may import whom."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "core"})


@nox.session
def types(session: nox.Session) -> None:
    """Strict types over the core, the plugins and contrib."""
    install_all(session, "types")
    session.env["MYPYPATH"] = os.pathsep.join(["core", *map(str, DISTRIBUTIONS)])
    session.run("mypy", *session.posargs, "core", *map(str, DISTRIBUTIONS))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Everything on the Python that runs nox; units and flows, without the slow, on the others."""
    atexit.unregister(say_missing)
    atexit.register(say_missing)
    install_all(session, "test")
    if session.python == RUNNING:
        elsewhere = [f"--ignore=tests/{name}" for name in ("browser", "bench", "docs")]
        pytest(session, "tests", *elsewhere, *SIDE_BY_SIDE)
    else:
        stories = "tests/sim/test_stories.py"  # on another loop than under 3.11: see tests/sim/loop.py
        session.env.setdefault("SIM_SEEDS", "3")
        pytest(session, "tests/unit", "tests/flows", stories, "-m", "not slow", *SIDE_BY_SIDE)


@nox.session(python=PYTHONS)
@nox.parametrize("folder", [nox.param(folder, id=folder.name) for folder in DISTRIBUTIONS])
def plugins(session: nox.Session, folder: Path) -> None:
    """Each plugin alone: only itself, the bare core and what its own tests ask for."""
    own = nox.project.load_toml(HERE / folder / "pyproject.toml")
    extra = nox.project.dependency_groups(own, "test") if "test" in own.get("dependency-groups", {}) else ()
    session.install("-e", ".", "-e", f"./{folder}", *group("plugin-test"), *extra)
    pytest(session, f"{folder}/tests")


@nox.session
def docs(session: nox.Session) -> None:
    """What the documents say is so."""
    install_all(session, "test")
    pytest(session, "tests/docs")


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Every test that shows how a fault ends; writes docs/reference/faults.md of what it saw."""
    install_all(session, "test")
    elsewhere = [f"--ignore=tests/{name}" for name in ("browser", "bench", "docs")]
    page = "--fault-table=docs/reference/faults.md"
    patient = ("--override-ini", "faulthandler_timeout=900")  # some play hours of ten thousand connections
    session.run("pytest", "tests", *elsewhere, page, *patient, *SIDE_BY_SIDE, *session.posargs)


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """The long form: hundreds of seeds and kills; `nox -s soak -- 500` plays 500 seeds of each story."""
    install_all(session, "test")
    [seeds] = session.posargs or ["300"]
    session.env.update(
        SIM_SEEDS=seeds,
        TEST_KILLS="500",
        TEST_CONNECTIONS="10000",
        TEST_EVERY_BYTE="1",
    )
    patient = ("--override-ini", "faulthandler_timeout=3600")
    session.run("pytest", "tests/sim", "tests/faults", "--durations=20", *patient, *SIDE_BY_SIDE)


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and sdist of each distribution, checked."""
    session.install(*group("build"))
    dist = HERE / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    builder = ("uv", "build", "--out-dir") if session.venv_backend == "uv" else ("python", "-m", "build", "--outdir")
    for folder in (".", *DISTRIBUTIONS):
        session.run(*builder, str(dist), str(folder), silent=True)
    session.run("twine", "check", "--strict", *map(str, sorted(dist.glob("*-*"))))
    if odd := [wheel.name for wheel in dist.glob("*.whl") if not wheel.name.endswith("-py3-none-any.whl")]:
        session.error(f"not for every Python 3, is requires-python set? {odd}")


@nox.session(requires=["build"])
def wheels(session: nox.Session) -> None:
    """Install from the wheels that `build` made, with no source tree in sight, and ask for the plugins."""
    built = sorted(HERE.glob("dist/*.whl"))
    session.install(*(f"{wheel}[host]" if wheel.name.startswith("soulwatch-") else str(wheel) for wheel in built))
    elsewhere = session.create_tmp()
    with session.chdir(elsewhere):
        listed = session.run("soulwatch", "plugins", "--json", env={"SOULWATCH_DATA_DIR": elsewhere}, silent=True)
    in_use = {plugin["distribution"] for plugin in json.loads(str(listed))["plugins"]}
    if unseen := {f"soulwatch-{folder.name}" for folder in DISTRIBUTIONS} - in_use:
        session.error(f"installed from their wheels, but not in use: {', '.join(sorted(unseen))}\n{listed}")


@nox.session
def browser(session: nox.Session) -> None:
    """A real Chromium walks through the page."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if not found:
        # A newcomer's machine may have none; CI installs it and must not pass without.
        (session.error if os.environ.get("CI") else session.skip)(NO_CHROMIUM)
    install_all(session, "test", "browser")
    session.env["CHROMIUM"] = found
    pytest(session, "tests/browser")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """How fast records come in, and ten thousand connections; one of the two where its name stands after `--`.

    nox -s bench -- ten_thousand --hours 2
    """
    install_all(session, "test")
    benches = ("one_stream", "ten_thousand")
    named, options = session.posargs[:1], session.posargs[1:]
    for bench in named or benches:
        if bench not in benches:
            session.error(f"there is no bench {bench!r}, only {' and '.join(benches)}")
        session.run("python", f"tests/bench/{bench}.py", *options)


@nox.session(default=False, reuse_venv=True)
def serve(session: nox.Session) -> None:
    """Start the host with its sandbox platform; what stands after `--` goes to `soulwatch serve`."""
    session.install(".[host]", *SANDBOX_AND_PLATFORMS)
    # Beside the checkout and not in .nox, so that data outlive the virtual environment.
    place = [] if "SOULWATCH_DATA_DIR" in os.environ else ["--data-dir", str(HERE / ".soulwatch")]
    command = [str(Path(session.bin) / "soulwatch"), "serve", "--demo", *place, *session.posargs]
    if os.name == "nt":
        session.run(*command, interrupt_timeout=15)
        return
    # Taking nox's place lets Ctrl+C and SIGTERM reach the host itself, which then ends its polls in order.
    sys.stdout.flush()
    os.execve(command[0], command, {**os.environ, **{k: v for k, v in session.env.items() if v is not None}})
