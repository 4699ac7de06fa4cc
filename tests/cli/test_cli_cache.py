"""``fundus cache``."""

from __future__ import annotations

from fundus import FeatureExtractor
from fundus.store import open_store


def test_info_verify_and_clear(run, document, photographs, tmp_path):
    folder = tmp_path / "cache"
    FeatureExtractor("tiny", weights="fixed", cache=folder).fit_transform(photographs.paths[:4])
    found = document("cache", "info", "--cache-dir", folder)
    assert found["folder"] == str(folder)
    assert [s["made_by"]["backbone"] for s in found["segments"]] == ["tiny"]
    assert found["bytes"] == found["segments"][0]["bytes"] > 0
    assert "tiny" in run("cache", "info", "--cache-dir", folder).stdout
    assert document("cache", "verify", "--cache-dir", folder)["entries"] == 4
    segment = open_store(folder).segment(found["segments"][0]["name"], dict)
    key, value = next(segment.environment.items())
    segment.environment.write([(key, value[:-1] + bytes([value[-1] ^ 1]))])
    assert "1 damaged" in run("cache", "verify", "--cache-dir", folder).stdout
    assert document("cache", "clear", "--cache-dir", folder)["freed_bytes"] > 0
    assert document("cache", "info", "--cache-dir", folder)["segments"] == []


def test_a_newer_cache_is_refused(run, tmp_path):
    (tmp_path / "format").write_text("99")
    assert "upgrade" in run("cache", "info", "--cache-dir", tmp_path, code=1).stderr


def test_an_interrupt_says_what_is_kept(run, tmp_path, monkeypatch):
    from fundus.store.folder import Store

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "infos", interrupted)
    result = run("cache", "info", "--cache-dir", tmp_path, code=130)
    assert "Frozen work that was done is kept" in result.stderr


def test_entries_are_exported_and_imported(run, document, photographs, tmp_path):
    one, two, file = tmp_path / "one", tmp_path / "two", tmp_path / "moved.zip"
    FeatureExtractor("tiny", weights="fixed", cache=one).fit_transform(photographs.paths[:4])
    assert "Wrote 4 entries" in run("cache", "export", file, "--cache-dir", one).stdout
    name = document("cache", "info", "--cache-dir", one)["segments"][0]["name"]
    found = document("cache", "export", file, "--segment", name[:6], "--cache-dir", one)
    assert (found["entries"], found["damaged"]) == (4, 0)
    found = document("cache", "import", file, "--cache-dir", two)
    assert found["sources"][str(file)]["entries"] == 4
    told = run("cache", "import", file, one, "--cache-dir", two).stdout
    assert "4 were there already" in told
    told = run("cache", "export", file, "--segment", "0", "--cache-dir", two, code=1).stderr
    assert "has no segment" in told
    assert "There is no" in run("cache", "import", two / "no", "--cache-dir", two, code=1).stderr
