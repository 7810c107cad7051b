"""docs/metrics.md is made from the table and says everything in it."""

from __future__ import annotations

from scripts import gen_metrics_page as page

from cotenant.export import text
from cotenant.export.families import ALL
from cotenant.model import Memory


def test_the_page_is_true():
    assert page.PAGE.read_text() == page.page(), f"docs/metrics.md is old; {page.COMMAND}"


def test_every_family_and_resource_is_on_it():
    written = page.page()
    for one in ALL:
        assert f"| `{one.name}` | {one.type} |" in written
        assert len(one.help) > 1, f"{one.name} has no help"
    for resource, _ in text.EBPF_MON + text.OURS:
        assert f"| `{resource}` |" in written


def test_every_memory_value_says_where_it_comes_from():
    assert set(page.MEMORY) == set(Memory.__struct_fields__)


def test_check_names_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(page, "PAGE", tmp_path / "metrics.md")
    monkeypatch.setattr("sys.argv", ["gen_metrics_page.py", "--check"])
    assert page.main() == 1
    assert page.COMMAND in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["gen_metrics_page.py"])
    assert page.main() == 0
    monkeypatch.setattr("sys.argv", ["gen_metrics_page.py", "--check"])
    assert page.main() == 0
