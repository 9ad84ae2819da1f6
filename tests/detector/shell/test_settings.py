"""Flags before environment before file, and a clear line for every mistake."""

import pytest

from backslide_detector.errors import UserError
from backslide_detector.settings import Settings, load


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "BACKSLIDE_EVERY", "BACKSLIDE_SPOOL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_defaults_need_nothing(nothing_set):
    settings = load()
    assert settings.tracking_uri == "http://127.0.0.1:5000"
    assert settings.state == f"sqlite:///{nothing_set}/state/backslide/ledger.db"
    assert settings.every == 30.0


def test_flags_beat_variables_and_variables_beat_the_file(nothing_set, monkeypatch):
    (nothing_set / "backslide.toml").write_text("every = 1\nmargin = 0.01\nworkers = 3\n")
    monkeypatch.setenv("BACKSLIDE_EVERY", "2")
    monkeypatch.setenv("BACKSLIDE_MARGIN", "0.02")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000/")
    settings = load(every=3.0, margin=None)
    assert (settings.every, settings.margin, settings.workers) == (3.0, 0.02, 3)
    assert settings.tracking_uri == "http://elsewhere:5000"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_any_postgresql_url_names_the_driver_that_is_installed(nothing_set, scheme):
    state = load(state=f"{scheme}://me@db/ledger").state
    assert state == "postgresql+psycopg2://me@db/ledger"


def test_lists_and_mappings_can_be_written_in_either_place(nothing_set, monkeypatch):
    (nothing_set / "backslide.toml").write_text('[metrics]\n"test/error" = "my_err"\n')
    monkeypatch.setenv("BACKSLIDE_EXPERIMENTS", "digits, cats")
    settings = load()
    assert settings.metrics == {"test/error": "my_err"}
    assert settings.experiments == ("digits", "cats")


@pytest.mark.parametrize(
    ("file", "variable", "said"),
    [
        ("evrey = 3", None, "unknown setting 'evrey'"),
        ("every = 'often'", None, "setting every:"),
        ("every = ", None, "backslide.toml"),
        ("margin = 0", None, "setting margin:"),
        ('webhook_secret = "whsec_x"', None, "a secret does not belong here"),
        ('tracking_uri = "sqlite:///x"', None, "setting tracking_uri:"),
        ("", ("BACKSLIDE_EVREY", "3"), "unknown setting BACKSLIDE_EVREY"),
        ("", ("BACKSLIDE_WORKERS", "none"), "setting workers:"),
        ("", ("BACKSLIDE_METRICS", "no json"), "metrics"),
        ("", ("BACKSLIDE_WEBHOOK_URL", "ftp://x"), "setting webhook_url:"),
    ],
)
def test_each_mistake_is_one_line(nothing_set, monkeypatch, file, variable, said):
    (nothing_set / "backslide.toml").write_text(file)
    if variable is not None:
        monkeypatch.setenv(*variable)
    with pytest.raises(UserError) as error:
        load()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_belongs_to_other_rooms_is_left_alone(nothing_set, monkeypatch):
    (nothing_set / "backslide.toml").write_text("[tracker]\nport = 1\n[sdk]\noverhead = 0.1\n")
    monkeypatch.setenv("BACKSLIDE_SPOOL_DIR", "/somewhere")
    monkeypatch.setenv("BACKSLIDE_OFFLINE", "1")
    monkeypatch.setenv("BACKSLIDE_TRACKER_ROOT", "/somewhere")
    assert load().every == 30.0


def test_a_secret_comes_from_a_file_and_is_never_shown(nothing_set):
    (nothing_set / "key").write_text("whsec_geheim\n")
    settings = load(webhook_secret_file=nothing_set / "key")
    assert settings.secret() == "whsec_geheim"
    assert "geheim" not in repr(load(webhook_secret="whsec_geheim"))
    with pytest.raises(UserError, match="No such file"):
        load(webhook_secret_file=nothing_set / "none").secret()
    with pytest.raises(UserError, match="not both"):
        load(webhook_secret="x", webhook_secret_file=nothing_set / "key")


def test_every_setting_is_documented():
    for name in Settings.model_fields:
        assert f"{name}" in (Settings.__doc__ or ""), name
