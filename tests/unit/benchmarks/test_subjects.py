"""What benchmarks are made of is made again once the code that makes it is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compression import previewed, subjects
from benchmarks.compression.previewed import endpoint, is_there
from benchmarks.compression.subjects import made


def test_what_the_same_code_made_stands(tmp_path: Path) -> None:
    """A file or a directory; what no code is known of does not."""
    place = tmp_path / "kept" / "model.onnx"
    for code, text in (("one", "1"), ("one", "2"), ("other", "3")):
        assert made(place, code, lambda out, text=text: out.write_text(text)) == place
    assert place.read_text() == "3"
    (tmp_path / "kept" / "model.onnx.code").unlink()
    made(place, "other", lambda out: out.write_text("4"))
    assert place.read_text() == "4"

    def folder(out: Path) -> None:
        out.mkdir()
        (out / "one").write_text("1")

    data = tmp_path / "data"
    made(data, "one", folder)
    (data / "left").write_text("of the older code")
    made(data, "other", folder)
    assert [path.name for path in data.iterdir()] == ["one"]


def test_what_failed_to_be_made_is_made_the_next_time(tmp_path: Path) -> None:
    """And what another code had made does not pass for it."""
    place = tmp_path / "model.onnx"
    made(place, "one", lambda out: out.write_text("1"))
    with pytest.raises(ZeroDivisionError):
        made(place, "other", lambda out: 1 // 0)
    made(place, "one", lambda out: out.write_text("2"))
    assert place.read_text() == "2"


def test_a_link_is_replaced_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    made(tmp_path / "ours", "one", lambda out: out.write_text("ours"))
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert (tmp_path / "ours").read_text() == "ours"


def test_an_endpoint_is_made_anew_by_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was measured of it."""
    monkeypatch.setattr(previewed, "ROOT", tmp_path)
    monkeypatch.setattr(previewed, "SUBJECTS", {"small": lambda here: ("classify", "{}", "m")})
    here = endpoint("small")
    assert "endpoint: small" in (here / "headgate.yaml").read_text(encoding="utf-8")
    (here / "measured.json").touch()
    assert (endpoint("small") / "measured.json").exists()
    monkeypatch.setattr(previewed, "code_digest", lambda *modules: "sha256:other")
    assert not (endpoint("small") / "measured.json").exists()


def test_the_encoder_is_exported_again_by_another_exporter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[Path] = []

    def export(encoder: Path, out: Path) -> None:
        exported.append(encoder)
        out.touch()

    package = tmp_path / "package"
    spec = type("Spec", (), {"submodule_search_locations": [str(package)]})
    monkeypatch.setattr(subjects, "find_spec", lambda name: spec)
    monkeypatch.setattr(subjects, "ROOT", tmp_path)
    monkeypatch.setattr(subjects, "export_embedder", export)
    for code in ("one", "one", "other"):
        monkeypatch.setattr(subjects, "code_digest", lambda *modules, code=code: code)
        assert subjects.minilm_files() == (package / "model", tmp_path / "minilm.onnx")
    assert exported == [package / "model"] * 2


def test_banking_is_there_where_its_texts_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previewed, "BANKING77", tmp_path)
    assert (is_there("banking"), is_there("digits-mlp")) == (False, True)
    (tmp_path / "train.csv").touch()
    assert is_there("banking")
