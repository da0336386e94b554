"""A sandbox that has already granted access many times; it forgets nothing and ends with its standard input.

python tests/bench/sandbox_of.py GRANTS FILE      (writes them to the file, prints its address)
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from support.many import LIFE, granted_by

from soulwatch_sandbox import Sandbox, running_in_thread


def main(grants: str, file: str) -> None:
    with Sandbox(token_life=LIFE.total_seconds(), rotation="strict", item_every=None) as sandbox:
        granted = [asdict(one) for one in granted_by(sandbox, int(grants))]
        Path(file).write_text(json.dumps(granted))
        with running_in_thread(sandbox) as url:
            print(url, flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
