"""Machine code on disk, memory given back, and `tinycnn warmup`."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tinycnn as tc
from tinycnn.cli import main

ROOT = Path(__file__).parents[1]
USE = "import warnings, tinycnn as tc, numpy as np; tc.nn.functional.relu(tc.Tensor(np.ones((2, 3), 'f')))"


def copy(folder):
    """The package alone, without what was compiled in the checkout."""
    for name in ("kernels", "tinycnn"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(folder, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG", "PYTHON"))}
    return subprocess.run([sys.executable, "-c", USE], cwd=folder, text=True, capture_output=True,
                          env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **environment})


def folders(place):
    return sorted(path.name for path in place.rglob("kernels-*"))


def test_machine_code_lies_in_a_folder_named_after_all_sources(tmp_path):
    home = copy(tmp_path / "code")
    assert run(home).returncode == 0
    first = folders(home)
    with open(home / "kernels" / "cpu" / "microkernel.py", "a", encoding="utf-8") as f:
        f.write("# an edit in a file that other kernels take code from\n")
    assert run(home).returncode == 0
    assert len(first) == 1 and len(folders(home)) == 2
    for i in range(4):                               # the oldest are removed
        with open(home / "kernels" / "cpu" / "microkernel.py", "a", encoding="utf-8") as f:
            f.write(f"# {i}\n")
        assert run(home).returncode == 0
    assert len(folders(home)) == 3 and first[0] not in folders(home)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root writes everywhere")
def test_read_only_sources(tmp_path):
    home, cache = copy(tmp_path / "code"), tmp_path / "cache"
    for path in [home, *home.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    done = run(home, XDG_CACHE_HOME=str(cache))
    assert done.returncode == 0 and not done.stderr and len(folders(cache)) == 1
    done = run(home, XDG_CACHE_HOME=str(home / "nowhere"))
    assert done.returncode == 0 and "compiled in every process anew" in done.stderr


def test_where_nothing_can_be_written_it_says_so_and_runs(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    done = run(ROOT, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compiled in every process anew") == 1


def test_numbas_own_setting_is_left_alone():
    import numba
    from tinycnn.kernels import cpu  # noqa: F401
    assert numba.config.CACHE_DIR == os.environ.get("NUMBA_CACHE_DIR", "")


def test_empty_cache():
    tc.empty_cache()
    tc.empty_cache("cpu")
    with pytest.raises(ValueError, match="device"):
        tc.empty_cache("gpu")


def test_warmup(capsys):
    assert main(["warmup", "lenet"]) == 0
    assert "found on disk" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["warmup", "--dtype", "int8"])
    assert main(["warmup", "no_such_model"]) == 2
