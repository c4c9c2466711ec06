"""What importing buildpush costs."""

import subprocess
import sys

import pytest

HEAVY = {
    "backports.zstd",
    "httpx",
    "isal",
    "IPython",
    "python_on_whales",
    "rich",
    "tenacity",
    "yaml",
}


@pytest.mark.parametrize(
    "statement", ["import buildpush", "from buildpush import BuildAndPushStep, CancelToken"]
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    """Start-up pays for what is used: no HTTP client, no YAML, no engines."""
    code = f"{statement}; import sys; print(*sys.modules)"

    modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert set(modules) & HEAVY == set()


def test_the_command_line_loads_only_what_its_command_needs() -> None:
    """Reading the arguments imports no validation, no HTTP client and no step."""
    code = (
        "import sys, buildpush.cli\n"
        "try: buildpush.cli.main(['push', '--help'])\n"
        "except SystemExit: print(*sys.modules)"
    )

    modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    unwanted = {*HEAVY, "pydantic", "buildpush.step", "buildpush.backends", "buildpush.publishing"}
    assert set(modules) & unwanted == set()


def test_the_bare_import_loads_no_third_party_module() -> None:
    """`import buildpush` is free: every name is imported when first used."""
    code = "import sys; old = set(sys.modules); import buildpush; print(*set(sys.modules) - old)"

    added = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert {n.partition(".")[0] for n in added} - set(sys.stdlib_module_names) == {"buildpush"}


def test_every_public_name_can_be_had() -> None:
    """The front door lists nothing it does not have."""
    import buildpush

    assert [name for name in buildpush.__all__ if not hasattr(buildpush, name)] == []
    assert set(buildpush.__all__) <= set(dir(buildpush))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy front door behaves like any module."""
    import buildpush

    with pytest.raises(AttributeError, match="nothing_here"):
        _ = buildpush.nothing_here
