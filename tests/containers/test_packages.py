import configparser
from pathlib import Path

import pytest

from containers.packages import build_variables, lay_out, pass_on, read_settings

LISTING = """\
:env:.find-links='/env/wheels'
global.cert='/global/ca.crt'
global.find-links='/global/wheels'
global.extra-index-url='\\nhttps://one/simple\\nhttps://two/simple'
global.timeout='5'
install.timeout='9'
install.user='true'
download.timeout='1'
not a setting
"""


def test_the_environment_beats_the_install_section_beats_the_global_one():
    settings = read_settings(LISTING)
    assert settings["find-links"] == "/env/wheels"
    assert settings["timeout"] == "9"
    assert settings["extra-index-url"].split() == ["https://one/simple", "https://two/simple"]


def test_only_where_packages_are_is_passed_on():
    passed = pass_on({"user": "true", "target": "/x", "timeout": "9", "require-virtualenv": "true"}, {})
    assert set(passed.settings) - {"cert"} == {"timeout"}


def test_local_places_are_bound_and_renamed_and_remote_ones_stay(tmp_path: Path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "pypi" / "simple").mkdir(parents=True)
    passed = pass_on(
        {
            "find-links": f"{tmp_path}/wheels https://remote/links",
            "extra-index-url": f"file://{tmp_path}/pypi/simple https://remote/simple",
        },
        {},
    )
    assert passed.settings["find-links"] == "/mnt/packages0 https://remote/links"
    # the folder around an index is bound, since its pages link to ../../files
    assert passed.settings["extra-index-url"] == "file:///mnt/packages1/simple https://remote/simple"
    assert passed.binds == ((tmp_path / "wheels", "packages0"), (tmp_path / "pypi", "packages1"))


def test_a_place_that_is_not_there_is_passed_as_it_is(tmp_path: Path):
    passed = pass_on({"find-links": str(tmp_path / "absent")}, {})
    assert (passed.settings["find-links"], passed.binds) == (str(tmp_path / "absent"), ())


@pytest.mark.parametrize("first", ["PIP_CERT", "cert", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_first_certificate_bundle_that_exists_is_taken(tmp_path: Path, first: str):
    order = ["PIP_CERT", "cert", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"]
    environment, settings = {}, {}
    for name in order:
        path = tmp_path / name
        if order.index(name) >= order.index(first):
            path.write_text(name)
        (settings if name == "cert" else environment)[name] = str(path)
    passed = pass_on(settings, environment)
    assert passed.ca == tmp_path / first
    assert passed.settings["cert"] == "/mnt/ca.crt"


def test_what_is_laid_out_is_a_configuration_that_only_its_owner_reads(tmp_path: Path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "ca").write_text("certificates")
    passed = pass_on(
        {"find-links": str(tmp_path / "wheels"), "timeout": "9"}, {"PIP_CERT": str(tmp_path / "ca")}
    )
    words = lay_out(passed, tmp_path / "mnt")
    config = configparser.ConfigParser(interpolation=None)
    config.read(tmp_path / "mnt" / "pip.conf")
    assert dict(config["global"]) == {"cert": "/mnt/ca.crt", "find-links": "/mnt/packages0", "timeout": "9"}
    assert (tmp_path / "mnt" / "ca.crt").read_text() == "certificates"
    assert (tmp_path / "mnt").stat().st_mode & 0o077 == 0
    assert (tmp_path / "mnt" / "pip.conf").stat().st_mode & 0o077 == 0
    assert words == [
        *("--bind", f"{tmp_path}/mnt:/mnt:ro"),
        *("--bind", f"{tmp_path}/wheels:/mnt/packages0:ro"),
    ]
    assert (tmp_path / "mnt" / "packages0").is_dir()  # nested binds need their mount point


def test_passwords_are_not_shown(tmp_path: Path):
    (tmp_path / "wheels").mkdir()
    passed = pass_on(
        {"index-url": "https://me:secret@host/simple", "find-links": str(tmp_path / "wheels")}, {}
    )
    assert "secret" in passed.pip_conf
    assert "secret" not in passed.shown
    assert "https://***@host/simple" in passed.shown
    assert str(tmp_path / "wheels") in passed.shown


def test_proxies_reach_the_build_and_nothing_else_does():
    variables = build_variables({"HTTPS_PROXY": "http://proxy:1", "PIP_INDEX_URL": "x", "SECRET": "y"})
    assert variables == {
        "APPTAINERENV_PIP_CONFIG_FILE": "/mnt/pip.conf",
        "APPTAINERENV_HTTPS_PROXY": "http://proxy:1",
    }
