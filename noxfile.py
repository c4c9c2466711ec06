"""The project's checks: ``nox`` runs all sessions."""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2026.4"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "interop"]
nox.options.error_on_external_run = True

PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(*names: str) -> list[str]:
    return [
        package for name in names for package in nox.project.dependency_groups(PYPROJECT, name)
    ]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, and the layers of the architecture."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", "src", "docs", "README.md", "changelog.d")
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy --strict and basedpyright, on the package and its public API in use."""
    session.install("-e", ".[k8s]", *group("type", "test"))
    session.run("mypy")
    # Named, or it would take a .venv it finds here for the one to look into.
    session.run("basedpyright", "--warnings", "--pythonpath", f"{session.bin}/python")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and integration tests under coverage, with the engines that Debian has.

    On Debian, as root or with sudo, missing engines are installed first, and from then on a
    missing one is a failure; elsewhere it is a skip that says so.
    """
    session.install("-e", ".[k8s]", *group("test", "notebooks"))
    if shutil.which("apt-get") and (os.geteuid() == 0 or shutil.which("sudo")):
        session.run("sh", "tests/provision.sh", external=True)
        session.env["BUILDPUSH_REQUIRE_ENGINES"] = "1"
    else:
        session.warn("cannot install engines here: integration tests that need them will skip")
    session.run("coverage", "erase")
    for old in Path().glob(".coverage.*"):
        old.unlink()
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or ["tests"]))
    session.run("coverage", "combine", "--quiet")
    # A run of chosen tests proves nothing about the whole.
    session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


@nox.session
def interop(session: nox.Session) -> None:
    """Logins to clouds with their own libraries, and to ECR against moto's server.

    The libraries and moto take 70 MB and nothing else needs them, so that the tests of logins run
    a second time here: 20 seconds of processor time. A library that is missing is a failure.
    """
    session.install("-e", ".[aws,gcp,azure]", *group("test", "interop"))
    session.env["BUILDPUSH_REQUIRE_EXTRAS"] = "1"
    session.run("pytest", *(session.posargs or ["tests/interop", "tests/unit/auth"]))
