"""Scripts are those of here: bound into an image, or written out where they came as text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import stair
from stair.cluster.container import ContainerConfig
from stair.doctor.deep import picture
from stair.doctor.deep.inside import Place, package_of
from stair.doctor.luggage import modules_below
from stair.doctor.traveller import pack

PACKAGE = Path(stair.__file__).parent


def test_in_an_image_this_package_lies_over_its_own():
    container = ContainerConfig(binds=("/data:/data:ro",), keep=("WANTED",))
    argv, variables = Place("/x.sif", container=container).start(
        picture,
        ["cpu"],
        python="/opt/stair/sapien2/bin/python",
        variables={"A": "1"},
        folders=["/pictures"],
        host={"PATH": "/bin", "WANTED": "2", "OTHER": "3"},
    )
    assert argv[:2] == ("apptainer", "exec")
    assert f'type=bind,"source={PACKAGE}","destination=/opt/stair/src/stair",ro' in argv
    assert 'type=bind,"source=/pictures","destination=/pictures"' in argv
    assert 'type=bind,"source=/data","destination=/data",ro' in argv
    assert "--nv" not in argv
    script = "stair.doctor.deep.picture"
    inside = ("/x.sif", "/opt/stair/sapien2/bin/python", "-W", "ignore", "-m", script, "cpu")
    assert argv[-len(inside) :] == inside
    assert variables["APPTAINERENV_A"] == "1"
    assert variables["APPTAINERENV_WANTED"] == "2"
    assert "OTHER" not in variables


def test_gpus_are_given_to_an_image_only_where_there_are_some():
    assert "--nv" in Place("/x.sif", gpus=True).start(picture, [], host={})[0]


def test_without_an_image_this_python_finds_the_script_from_anywhere():
    argv, variables = Place().start(picture, ["cpu"], host={"PATH": "/bin", "PYTHONPATH": "/mine"})
    assert argv == (sys.executable, "-W", "ignore", "-m", "stair.doctor.deep.picture", "cpu")
    assert variables["PYTHONPATH"] == f"{PACKAGE.parent}{os.pathsep}/mine"


def test_files_on_a_disk_are_used_as_they_lie():
    assert package_of("stair.doctor.deep.picture") == PACKAGE


def test_modules_that_came_as_text_are_written_out_run_and_removed(tmp_path):
    """As on a node that shares no folder with us: traveller.py, and our modules from memory."""
    sources = modules_below("stair.doctor.deep.peer")
    program = tmp_path / "program.py"
    program.write_text(
        sources["stair.doctor.traveller"]
        + f"\nsys.meta_path.insert(0, Luggage(unpack({pack(sources)!r})))\n"
        + "from stair.doctor.deep import summing\n"
        + "from stair.doctor.deep.inside import Place, package_of\n"
        + "argv, variables = Place().start(summing, ['gloo', '0', '127.0.0.1', '1', 'no number'])\n"
        + "done = subprocess.run(argv, env=variables, stdout=subprocess.PIPE, cwd='/')\n"
        + "print(json.dumps([str(package_of('stair.doctor.deep.summing')), done.stdout.decode()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", str(program)], capture_output=True, text=True, cwd="/", check=True
    )
    folder, said = json.loads(done.stdout)
    assert "no number" in json.loads(said)["error"]
    assert folder != str(PACKAGE)
    assert not Path(folder).exists()
