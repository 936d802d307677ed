"""`python -m stair.serve --model DIR_OR_RUN [--port 0] [--address-file F]`: serves a trained policy.

For a robot: `--mode robot` with either `--execute 8` or `--ensemble 7`. Clients of openpi, starVLA and
vla-eval are understood on the same port.
"""

from __future__ import annotations

import logging
import sys

from stair import console, settings
from stair.errors import UsageError
from stair.serve.config import ServeConfig, check_mode


def main() -> None:
    if "--help" in sys.argv or "-h" in sys.argv:
        console.show(f"{__doc__}\n\nSettings, as --name value, are those of stair/serve/config.py.")
        return
    tree = settings.override({}, settings.parse_overrides(sys.argv[1:]))
    config = settings.build(ServeConfig, tree)
    if not config.model:
        raise UsageError("which model?", hint="--model with a model folder or a run folder")
    check_mode(config)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)

    from stair.serve.server import run_server
    from stair.serve.trained import load_policy

    run_server(lambda: load_policy(config), config)


if __name__ == "__main__":
    sys.exit(console.run_command(main))
