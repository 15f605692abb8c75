"""Reading a transformers encoder, whole, in part and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.errors import InputError
from tests.encoders import tiny_bert

torch = pytest.importorskip("torch")

from headgate.distillation.encoder import (  # noqa: E402
    layers_of,
    load_encoder,
    max_tokens,
    read_weights,
)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "teacher")


def save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(tensors, path)


def test_a_student_has_the_layers_it_was_given_in_order(teacher: Path) -> None:
    """Layers 0 and 3 of the teacher become layers 0 and 1, weights unchanged."""
    whole, part = layers_of(load_encoder(teacher)), load_encoder(teacher, layers=(0, 3))
    assert len(layers_of(part)) == part.config.num_hidden_layers == 2
    for mine, theirs in zip(layers_of(part), (whole[0], whole[3]), strict=True):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_loading_leaves_the_random_state_alone(teacher: Path) -> None:
    """A caller's seed means the same before and after."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_encoder(teacher)
    assert torch.equal(torch.rand(1), expected)


def test_what_no_file_has_is_nought_and_not_what_memory_held(teacher: Path) -> None:
    """The entrance of a classification head, which these weights lack, is the same each time."""
    pooler = load_encoder(teacher).pooler
    assert {name for name, p in pooler.named_parameters() if p.any()} == set()


def test_a_truncated_file_is_named_with_its_first_cut_tensor(teacher: Path) -> None:
    """The message says which tensor the file ends in."""
    path = teacher / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(InputError, match=r"truncated: tensor encoder\.layer\.3\.") as error:
        load_encoder(teacher)
    assert error.value.where == str(path)
    path.write_bytes(content[:5])
    with pytest.raises(InputError, match="not a safetensors file"):
        load_encoder(teacher)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_named(teacher: Path, value: float) -> None:
    """One NaN in one tensor is found, and the tensor named."""
    path = teacher / "model.safetensors"
    tensors = read_weights(path)
    name = "encoder.layer.2.output.dense.weight"
    tensors[name][3, 4] = value
    save(path, tensors)
    with pytest.raises(InputError, match=f"tensor {name} holds NaN or infinity") as error:
        load_encoder(teacher)
    assert error.value.where == str(path)


def test_a_missing_or_misshapen_tensor_is_named(teacher: Path) -> None:
    """Weights that belong to another configuration do not load halfway."""
    path = teacher / "model.safetensors"
    tensors = read_weights(path)
    name = "encoder.layer.1.output.dense.bias"
    bias = tensors.pop(name)
    save(path, tensors)
    with pytest.raises(InputError, match=f"tensor {name} .* is missing"):
        load_encoder(teacher)
    save(path, tensors | {name: bias[:4].clone()})
    with pytest.raises(InputError, match=f"tensor {name} .* is of shape \\(4,\\)"):
        load_encoder(teacher)


def test_missing_files_are_named(teacher: Path) -> None:
    """A directory without weights, or without a configuration, says which file it lacks."""
    (teacher / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no such file") as error:
        load_encoder(teacher)
    assert str(error.value.where).endswith("model.safetensors")
    (teacher / "config.json").unlink()
    with pytest.raises(InputError, match="not the configuration") as error:
        load_encoder(teacher)
    assert str(error.value.where).endswith("config.json")


def test_the_longest_input_is_sentence_bert_s_before_the_model_s(teacher: Path) -> None:
    """256 of sentence_bert_config.json wins over 512 positions; without it the positions count."""
    assert max_tokens(teacher) == 24
    (teacher / "sentence_bert_config.json").write_text('{"max_seq_length": 12}', encoding="utf-8")
    assert max_tokens(teacher) == 12
    (teacher / "sentence_bert_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="not a JSON object"):
        max_tokens(teacher)
