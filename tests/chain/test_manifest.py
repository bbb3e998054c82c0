import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.manifest import (
    MANIFEST,
    Manifest,
    all_manifests,
    package_versions,
    read_manifest,
    write_atomically,
)

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


def manifest(**said):
    return Manifest(recipe="r", stage="s", seed=0, fingerprint="f", **said)


@given(results=st.dictionaries(st.text(), plain), error=st.none() | st.text(), donors=st.lists(st.text()))
def test_what_is_written_is_read_back(tmp_path_factory, results, error, donors):
    folder = tmp_path_factory.getbasetemp() / "round" / "trip"
    written = manifest(results=results, error=error, donors=donors, status="failed", seconds={"total": 1.5})
    written.write(folder)
    assert read_manifest(folder) == written
    assert [path.name for path in folder.iterdir()] == [MANIFEST]


def test_a_manifest_names_the_versions_that_made_the_numbers():
    versions = manifest().versions
    assert versions.keys() == {"torch", "grok_lightning", "python"}
    assert {name: versions[name] for name in package_versions()} == package_versions()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    manifest().write(tmp_path)
    before = (tmp_path / MANIFEST).read_text()

    def full_disk(self, *args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        manifest(status="finished").write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]
    assert (tmp_path / MANIFEST).read_text() == before


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    path = tmp_path / "text"
    write_atomically(path, "old")
    seen = []
    replace = os.replace

    def look(*args, **kwargs):
        seen.append(path.read_text())
        return replace(*args, **kwargs)

    monkeypatch.setattr(os, "replace", look)
    write_atomically(path, "new" * 1000)
    assert (seen, path.read_text()) == (["old"], "new" * 1000)


def test_no_folder_has_no_manifest(tmp_path):
    (tmp_path / "file").touch()
    assert read_manifest(tmp_path / "nowhere") is None
    assert read_manifest(tmp_path / "file") is None
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"recipe": "r"}'])
def test_what_is_no_manifest_is_refused_by_name_and_passed_by_in_a_search(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    manifest().write(tmp_path / "good")
    with pytest.raises(ChainError, match=r"manifest\.json: is no manifest .* delete it to start that run over"):
        read_manifest(tmp_path)
    assert [folder.name for folder, _ in all_manifests(tmp_path)] == ["good"]


def test_a_manifest_of_a_later_version_with_more_to_say_is_read(tmp_path):
    manifest().write(tmp_path)
    content = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "colour": "red"}))
    assert read_manifest(tmp_path) == manifest()


def test_a_search_finds_each_run_once_where_it_lies(tmp_path):
    for name in ("a/b", "a/c"):
        manifest().write(tmp_path / name)
    (tmp_path / "d").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b", target_is_directory=True)
    assert [str(folder.relative_to(tmp_path)) for folder, _ in all_manifests(tmp_path)] == ["a/b", "a/c"]
    assert list(all_manifests(tmp_path / "nowhere")) == []
