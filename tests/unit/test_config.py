"""Configuration: what a file may say, and what is said about one that is wrong."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cotenant.config import NamedTenant, Settings, described, duration, load, parse
from cotenant.config.profile import Profiling
from cotenant.config.read import LONGEST
from cotenant.config.toml import check, takes
from cotenant.config.write import default_file, toml_value
from cotenant.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parents[2]
KEYS = [setting.key for setting in described()]
SIMPLE = [key for key in KEYS if key not in ("tenant", "profile")]


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(text, "c.toml")
    assert raised.value.exit_code == 2
    assert raised.value.hint
    return str(raised.value)


def test_without_a_file_every_setting_has_its_default_and_says_so():
    settings = parse("", None)
    assert settings.interval_s == 1.0
    assert settings.http == "127.0.0.1:7070"
    assert settings.tenants == ()
    inside = {f"profile.{setting.field}" for setting in described(Profiling)}
    assert set(settings.sources) == {setting.field for setting in described()} | inside
    assert set(settings.sources.values()) == {"default"}


def test_each_value_tells_where_it_comes_from():
    text = (
        '# a comment\ninterval_s = 2\n\nruntime_labels = [\n  "a", # b\n  "c",\n]\ntier = "files"\n'
    )
    settings = parse(text, "c.toml", {"tier": "iterator", "http": None})
    assert settings.interval_s == 2.0
    assert settings.runtime_labels == ("a", "c")
    assert settings.tier == "iterator"
    assert settings.sources["interval_s"] == "c.toml:2"
    assert settings.sources["runtime_labels"] == "c.toml:4"
    assert settings.sources["tier"] == "flag"
    assert settings.sources["http"] == "default"


def test_tenants_get_names_of_their_own():
    text = (
        '[[tenant]]\nname = "db"\npid = 12\n\n[[tenant]]\nname = "배치"\ncgroup = "/jobs/batch"\n'
    )
    settings = parse(text, "c.toml")
    assert settings.tenants == (
        NamedTenant(name="db", pid=12),
        NamedTenant(name="배치", cgroup="/jobs/batch"),
    )
    assert settings.sources["tenants"] == "c.toml:1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "\nintervall_s = 2",
            'c.toml:2: unknown setting "intervall_s"; the nearest is "interval_s".',
        ),
        (
            '[[tenant]]\nname="a"\npid=3\n[[tenant]]\nnam = "b"',
            'c.toml:5: unknown key "tenant.nam"; the nearest is "name".',
        ),
        (
            'interval_s = "1s"',
            'c.toml:1: "interval_s" takes a number of seconds from 0.1 to 3,600, '
            'not the text "1s".',
        ),
        (
            "keep_finals_s = nan",
            'c.toml:1: "keep_finals_s" takes a number of seconds from 0 to 86,400, not nan.',
        ),
        (
            'tier = "fast"',
            'c.toml:1: "tier" takes one of "auto", "kfunc", "iterator", "files", '
            'not the text "fast".',
        ),
        (
            'http = "0.0.0.0:70000"',
            'c.toml:1: "http" takes ADDRESS:PORT or "off", not the text "0.0.0.0:70000".',
        ),
        ("[http]\nport = 3", 'c.toml:1: "http" takes ADDRESS:PORT or "off", not a table.'),
        (
            'http_hosts = [\n"a",\n3]',
            'c.toml:1: "http_hosts" takes a list of texts, ["like", "this"], '
            "not a list with 3 in it.",
        ),
        ('[[tenant]]\nname = "a"', "c.toml:1: [[tenant]] takes either pid or cgroup."),
        (
            '[[tenant]]\nname="a"\npid=1\ncgroup="/a"',
            "c.toml:1: [[tenant]] takes either pid or cgroup.",
        ),
        ("\n[[tenant]]\npid = 3", 'c.toml:2: [[tenant]] lacks "name".'),
        ('tenant = [{name="x", pid=0}]', 'c.toml:1: "tenant.pid" takes a process id, not 0.'),
        (
            "tenant = 3",
            'c.toml:1: "tenant" takes tables, each under a heading in [[ ]], not 3.',
        ),
        ("a = [1,\n2", "c.toml:2: not TOML: unclosed array."),
        ("tier = 1\ntier = 2", "c.toml:2: not TOML: cannot overwrite a value."),
        ("sources = {}", 'c.toml:1: unknown setting "sources"; the nearest is "socket".'),
        ('socket = "run"', 'c.toml:1: "socket" takes a path that starts with "/", '
                           'of at most 100 letters, not the text "run".'),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_key_line_and_what_would_be_right(text, sentence):
    assert problem(text) == sentence


def test_several_mistakes_are_counted_and_told_by_line():
    text = "z = 1\ninterval_s = 0\ny = 1\n"
    assert "(2 more like it" in problem(text)
    assert [one.line for one in check(text, Settings).problems] == [1, 2, 3]


def typo(key: str, place: int, letter: str) -> str:
    at = place % len(key)
    return key[:at] + letter + key[at + 1 :]


@given(
    key=st.sampled_from(SIMPLE),
    place=st.integers(0, 40),
    letter=st.sampled_from("abcdefghijklmnopqrstuvwxyz"),
    before=st.integers(0, 20),
)
def test_any_one_letter_typo_names_the_line_and_the_key_that_was_meant(key, place, letter, before):
    wrong = typo(key, place, letter)
    if wrong in KEYS:
        return
    found = check("# line\n" * before + f"{wrong} = 1\n", Settings).problems
    assert [one.line for one in found] == [before + 1]
    assert f'unknown setting "{wrong}"' in found[0].sentence
    assert f'the nearest is "{key}"' in found[0].sentence


wrong_values = {
    "true or": st.one_of(st.integers(), st.text(max_size=5), st.just([])),
    "a whole": st.one_of(st.floats(0.1, 0.9), st.text(max_size=5), st.booleans(), st.just(-1)),
    "a number": st.one_of(st.text(max_size=5), st.booleans(), st.just([])),
    "one of": st.one_of(st.integers(), st.just("no such"), st.booleans()),
    "a list": st.one_of(st.integers(), st.text(max_size=5), st.just([1])),
    "": st.one_of(st.integers(), st.booleans(), st.just([]), st.just("\0")),
}


@given(data=st.data(), setting=st.sampled_from([s for s in described() if s.key in SIMPLE]))
def test_any_wrong_value_names_the_key_the_line_and_what_is_expected(data, setting):
    expected = takes(setting)
    sort = next(start for start in wrong_values if expected.startswith(start))
    value = data.draw(wrong_values[sort])
    if setting.key in ("runtime_labels", "socket_group") and value == "\0":
        return
    shown = toml_value(tuple(value)) if isinstance(value, list) else toml_value(value)
    found = check(f"\n\n{setting.key} = {shown}", Settings).problems
    if isinstance(value, str) and not found:
        assert setting.key == "socket_group"  # any name may be a group
        return
    assert [one.line for one in found] == [3]
    assert f'"{setting.key}" takes {expected}, not ' in found[0].sentence


@given(st.text(max_size=200))
def test_no_text_at_all_does_more_than_raise_a_sentence(text):
    try:
        parse(text, "c.toml")
    except ConfigError as error:
        assert str(error).startswith("c.toml")


@given(
    st.lists(
        st.sampled_from(
            [
                "interval_s = 2", "http_hosts = [\n'a',\n\n'b' ]", "# x", "", "  ",
                "socket_group = '''a\nb]\n'''", 'host_root = """\\\n  /x"""', "tier = 'files'  # ]",
                'log_level = "debug"\r',
            ]
        ),
        unique=True,
    )
)  # fmt: skip
def test_lines_are_right_whatever_stands_around(statements):
    text = "\n".join(statements) + "\n"
    found = check(text, Settings)
    lines = text.split("\n")
    assert set(found.lines) == set(tomllib.loads(text))
    for key, line in found.lines.items():
        assert lines[line - 1].startswith(key)


def test_a_named_file_must_be_there_and_readable(tmp_path):
    with pytest.raises(ConfigError, match="There is no configuration file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"Cannot read .*: Is a directory"):
        load(tmp_path)
    odd = tmp_path / "odd.toml"
    odd.write_bytes(b"interval_s = 1\n# \xff\n")
    with pytest.raises(ConfigError, match=r"odd.toml:2: TOML is UTF-8"):
        load(odd)
    odd.write_bytes(b"#" * (LONGEST + 1))
    with pytest.raises(ConfigError, match="longer than"):
        load(odd)


def test_the_default_file_may_be_absent(tmp_path, monkeypatch):
    monkeypatch.setattr("cotenant.config.read.DEFAULT_PATH", tmp_path / "none.toml")
    assert load().path is None
    (tmp_path / "none.toml").write_text("interval_s = 3\n")
    assert load().interval_s == 3.0
    assert load().path == str(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"http": "x"}, '--http takes ADDRESS:PORT or "off", not the text "x".'),
        ({"interval_s": 0.0}, "--interval takes a number of seconds from 0.1 to 3,600, not 0.0."),
    ],
)
def test_a_wrong_flag_is_told_by_its_name(flags, sentence):
    with pytest.raises(UsageError) as raised:
        parse("", None, flags)
    assert str(raised.value) == sentence


def test_lengths_of_time():
    assert [duration(word) for word in ("500ms", "60s", "5m", "1h", "2", "0.5s")] == [
        0.5, 60.0, 300.0, 3600.0, 2.0, 0.5,
    ]  # fmt: skip
    for word in ("", "s", "-1s", "1 day", "1e3", "nan", "٣s"):
        with pytest.raises(UsageError):
            duration(word)


def test_the_file_to_begin_with_is_the_defaults_once_its_marks_are_taken_away():
    text = default_file()
    assert check(text, Settings).problems == []
    lines = [
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines()
    ]
    either = ("pid =", "bearer_token_file =", "debuginfod =")
    lines = [line for line in lines if not line.startswith(either)]
    settings = parse("\n".join(lines), "c.toml")
    defaults = Settings()
    for setting in described():
        if setting.default is not None and setting.key in SIMPLE:
            assert getattr(settings, setting.field) == getattr(defaults, setting.field)
    assert replace(settings.profile, push=(), pull=()) == defaults.profile
    assert [target.title for target in settings.profile.push] == ["central"]
    assert [target.tenant for target in settings.profile.pull] == ["shop/*"]
    assert settings.tenants == (NamedTenant(name="batch", cgroup="/jobs/batch"),)


def test_the_example_is_in_order():
    settings = load(ROOT / "examples" / "cotenant.toml")
    assert settings.tenants


def test_values_are_shown_as_a_file_has_them():
    value = (NamedTenant(name='a"b', pid=3), "x", 1.5, 31_536_000.0, True)
    assert toml_value(value) == '[{name = "a\\"b", pid = 3}, "x", 1.5, 31536000.000000, true]'


def test_every_setting_has_a_description_that_is_no_sentence_fragment_of_another():
    descriptions = [setting.description for setting in described()]
    assert len(set(descriptions)) == len(descriptions)
    for setting in described():
        assert setting.description[0].isupper() and not setting.description.endswith(".")
        assert (setting.unit == "s") == setting.key.endswith("_s")


def test_the_reference_page_is_true():
    script = ROOT / "scripts" / "gen_config_page.py"
    subprocess.run([sys.executable, script, "--check"], check=True)
