"""The deployment files pass the validators of the tools that will read them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
BIN = Path(sys.executable).parent
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = sorted(DEPLOY.glob("compose*.yaml"))
MOST_EXPOSED = 2.0
"""Of `systemd-analyze security`: 0 is a locked cell, 10 an open field."""


def passes(*argv: object) -> str:
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def check_compose(*files: Path) -> str:
    return passes(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


@pytest.fixture
def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    return found


def test_everything_is_there():
    assert [file.name for file in DOCKERFILES] == ["detector.Dockerfile", "tracker.Dockerfile"]
    assert [file.name for file in UNITS] == [
        "backslide-detector.service",
        "backslide-tracker.service",
    ]
    assert len(COMPOSE) == 2


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_the_dockerfiles_lint_clean_and_end_without_root(file):
    assert passes(BIN / "hadolint", "--failure-threshold", "style", file) == ""
    assert re.findall(r"^USER (.*)$", file.read_text(), re.MULTILINE) == ["10001:10001"]


def test_hadolint_can_fail(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN cd /tmp && pip install numpy\n")
    with pytest.raises(AssertionError, match="DL3006"):
        passes(BIN / "hadolint", bad)


def test_the_compose_files_are_valid():
    check_compose(*COMPOSE)


def test_the_compose_check_can_fail(tmp_path):
    bad = tmp_path / "compose.yaml"
    bad.write_text((DEPLOY / "compose.yaml").read_text().replace("depends_on:", "depend_on:"))
    with pytest.raises(AssertionError, match="depend_on"):
        check_compose(bad)


def test_every_container_is_locked_down_and_published_on_loopback_only():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"tracker", "detector", "postgres"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        variables = service.get("environment", {})
        secret = [key for key in variables if re.search("PASSWORD|SECRET|_URI_FILE", key)]
        assert all(variables[key].startswith("/run/secrets/") for key in secret)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_units_verify_and_are_hardened(unit, systemd_analyze, tmp_path):
    placed = tmp_path / unit.name
    # `verify` wants the program to exist on this machine.
    placed.write_text(unit.read_text().replace("/opt/backslide/bin/backslide", "/bin/true"))
    assert passes(systemd_analyze, "verify", placed) == ""
    report = passes(systemd_analyze, "security", "--offline=true", "--no-pager", placed)
    (exposure,) = re.findall(r"exposure level for \S+: (\d+\.\d)", report)
    assert float(exposure) <= MOST_EXPOSED


def test_the_unit_check_can_fail(systemd_analyze, tmp_path):
    bad = tmp_path / "bad.service"
    bad.write_text("[Service]\nExecStart=/bin/true\nProtectSytem=strict\n")
    with pytest.raises(AssertionError, match="ProtectSytem"):
        assert passes(systemd_analyze, "verify", bad) == ""


@pytest.mark.parametrize("file", [*DOCKERFILES, *UNITS], ids=lambda file: file.name)
def test_the_commands_in_them_exist(file):
    """A renamed option must not be noticed in production first."""
    text = file.read_text()
    if file in UNITS:
        (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        words = line.split()[1:]
    else:
        (line,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", text, re.MULTILINE)
        words = re.findall(r'"([^"]*)"', line)[1:]
    command = [word for word in words if re.fullmatch("[a-z]+", word)]
    if command[0] == "detector":
        pytest.importorskip("backslide_detector.cli", reason="the detector is not installed")
    page = passes(sys.executable, "-m", "backslide.cli", *command, "--help")
    for option in (word for word in words if word.startswith("--")):
        assert option in page
