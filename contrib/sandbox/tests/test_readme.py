import re
import subprocess
import sys
from pathlib import Path

from soulwatch_sandbox.faults import KINDS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")

    subprocess.run([sys.executable, "-W", "error", str(script)], check=True)


def test_every_fault_is_described():
    assert [kind for kind in KINDS if f"`{kind}`" not in README] == []
