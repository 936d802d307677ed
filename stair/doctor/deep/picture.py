"""`python -m stair.doctor.deep.picture nvidia|cpu [FILE.png]`: one picture by the SAPIEN that is here.

Runs in a process of its own, in each environment of the evaluation image. Prints what drew it, how varied it
is and how long it took as one line of JSON; a driver may just as well crash it or let it hang.
"""

from __future__ import annotations

import json
import os
import sys
import time

from stair.errors import StairError
from stair.sim.preflight import take_picture

WIDTH, HEIGHT = 320, 240


def main(choice: str, file: str = "") -> None:
    """Draws, saves and tells. Expected failures are told too."""
    started = time.monotonic()
    try:
        devices, pixels = take_picture(choice, WIDTH, HEIGHT)
    except StairError as error:
        print(json.dumps({"error": error.what, "hint": error.hint}), flush=True)
        return
    said = {
        "devices": devices,
        "spread": float(pixels.std()),
        "seconds": round(time.monotonic() - started, 2),
        "file": "",
        "file_error": "",
    }
    if file:
        try:
            import numpy as np
            from PIL import Image

            Image.fromarray((np.nan_to_num(pixels).clip(0, 1) * 255).astype("uint8")).save(file)
            said["file"] = file
        except (ImportError, OSError) as error:
            said["file_error"] = str(error)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Some drivers crash when they are unloaded, after the picture was good.
    sys.stdout.flush()
    os._exit(0)
