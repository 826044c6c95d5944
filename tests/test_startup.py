"""Machine code on disk, memory given back, and `tinycnn warmup`."""
import os
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import tinycnn as tc
from tinycnn.cli import main

ROOT = Path(__file__).parents[1]
USE = "import tinycnn as tc, numpy as np; tc.nn.functional.relu(tc.Tensor(np.ones((2, 3), 'f')))"


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """kernels/cpu elsewhere, without what was compiled, and its module cache.py."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    home = tmp_path / "cpu"
    shutil.copytree(ROOT / "kernels" / "cpu", home, ignore=shutil.ignore_patterns("__pycache__"))
    spec = spec_from_file_location("cache_of_a_copy", home / "cache.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return home, module


def edit(home, text):
    with open(home / "microkernel.py", "a", encoding="utf-8") as f:
        f.write(f"# {text}\n")


def test_machine_code_lies_in_a_folder_named_after_all_sources(copied):
    home, cache = copied
    first = cache._folder("")
    assert first.parent == home / "__pycache__" and cache._folder("") == first
    edit(home, "in a file that other kernels take code from")
    assert cache._folder("") != first and first.is_dir()
    for i in range(3):                               # the oldest are removed
        edit(home, i)
        cache._folder("")
    assert len(list(first.parent.iterdir())) == cache.KEPT and not first.exists()


def test_a_folder_that_the_user_chose(copied, tmp_path):
    _, cache = copied
    assert cache._folder(str(tmp_path / "mine")).parent == tmp_path / "mine"


def test_sources_that_cannot_be_written_beside(copied, tmp_path, monkeypatch):
    home, cache = copied
    (home / "__pycache__").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache._folder("").parent == tmp_path / "home" / "tinycnn"


def test_the_users_own_folders_stay(copied, tmp_path):
    home, cache = copied
    others = [tmp_path / "mine" / name for name in ("kernels-old", "kernels-2024", "kernels-0123456789abcdef.bak")]
    for path in others:
        path.mkdir(parents=True)
    for i in range(5):
        edit(home, i)
        cache._folder(str(tmp_path / "mine"))
    assert all(path.is_dir() for path in others) and len(list((tmp_path / "mine").iterdir())) == 3 + cache.KEPT


def test_a_user_without_a_home(copied, monkeypatch):
    home, cache = copied
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache._folder("").parent == home / "__pycache__"


def homeless():
    raise RuntimeError("Could not determine home directory.")          # as Path.home()


@pytest.mark.parametrize("temporary", [True, False])
def test_where_nothing_can_be_written_it_says_so_and_runs(tmp_path, temporary):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    (tmp_path / "tmp").mkdir()
    folder = tmp_path / ("tmp" if temporary else "file")
    done = subprocess.run([sys.executable, "-c", f"import tempfile; tempfile.tempdir = {str(folder)!r}; {USE}"],
                          cwd=ROOT, text=True, capture_output=True,
                          env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "file")})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compiled in every process anew") == 1
    assert not list((tmp_path / "tmp").iterdir())    # gone with the process


def test_numbas_own_setting_is_left_alone():
    import numba
    from tinycnn.kernels import cpu  # noqa: F401
    assert numba.config.CACHE_DIR == os.environ.get("NUMBA_CACHE_DIR", "")


def test_the_ladders_machine_code_lies_there_too():
    cpu, ladder = (import_module(f"tinycnn.kernels.{name}") for name in ("cpu.max_pool", "ladder"))
    usual = Path(cpu._max_windows.kernel.stats.cache_path)
    modules = [import_module(f"{ladder.__name__}.{name}") for name in ("conv", "norm", "peak", "pool")]
    own = [Path(getattr(f, "kernel", f).stats.cache_path) for module in modules for f in vars(module).values()
           if getattr(f, "__module__", None) == module.__name__ and hasattr(getattr(f, "kernel", f), "stats")]
    assert len(own) > 4 and {path.parent for path in own} == {usual.parent}      # Numba adds a folder per package


def test_empty_cache():
    tc.empty_cache()
    tc.empty_cache("cpu")
    with pytest.raises(ValueError, match="device"):
        tc.empty_cache("gpu")


def test_empty_cache_where_cupy_is_there_and_no_gpu(monkeypatch):
    def none(device):
        raise RuntimeError("no GPU")
    backend = import_module("tinycnn.backend")
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
    monkeypatch.setattr(backend, "_cupy", lambda: none("cuda"))
    tc.empty_cache()
    with pytest.raises(RuntimeError, match="no GPU"):
        tc.empty_cache("cuda")


def test_warmup(capsys):
    assert main(["warmup", "lenet"]) == 0
    out, err = capsys.readouterr()
    assert "found on disk" in out and err == "1/1 lenet\n"
    with pytest.raises(SystemExit):
        main(["warmup", "--dtype", "int8"])
    assert main(["warmup", "no_such_model"]) == 2
