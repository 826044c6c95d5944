"""README says what is so."""
import re
from pathlib import Path

from tinycnn.models import list_models, model_info

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_table_of_models_is_the_registry():
    table = re.search(r"<!-- models -->\n(.*)\n<!-- /models -->", TEXT, re.S)[1].split("\n")
    assert table == ["| model | parameters |", "|---|---:|",
                     *(f"| `{name}` | {model_info(name).parameters:,} |" for name in list_models())]
    assert f"{len(list_models())} models, one file per family" in TEXT


def test_the_files_of_the_tour_exist():
    tour = TEXT[TEXT.index("## How to read the code"):TEXT.index("## Design notes")]
    root = Path(__file__).parents[1]
    named = [path for path in re.findall(r"`([\w/.]+/[\w.]*)`", tour)]
    assert len(named) > 8 and not [p for p in named if not (root / p).exists()
                                   and not any((root / top / p).exists() for top in ("tinycnn", "kernels/cpu"))]


def test_two_commands_under_quick_start():
    section = re.search(r"^## Quick start$(.*?)^## ", TEXT, re.S | re.M)[1]
    assert len(re.findall(r"```bash\n(.*?)```", section, re.S)) == 2
