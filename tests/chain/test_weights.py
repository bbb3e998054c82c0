import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.weights import Weights, read_checkpoint, read_weights, save_weights, tensor_digest, weights_of
from grok_lightning.networks import ArithmeticTransformer, freeze

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool)


@st.composite
def tensors(draw):
    """Draw a tensor of random bits: NaN, infinities and signed zeros included."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = draw(st.sampled_from(DTYPES))
    size = torch.Size(shape).numel()
    if dtype is torch.bool:
        return torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=dtype).reshape(shape)
    count = size * torch.empty((), dtype=dtype).element_size()
    values = torch.tensor(list(draw(st.binary(min_size=count, max_size=count))), dtype=torch.uint8)
    return values.view(dtype).reshape(shape)


def raw(tensor):
    """Return type, shape and bits of a tensor."""
    return tensor.dtype, tuple(tensor.shape), tensor.reshape(-1).view(torch.uint8).tolist()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.dictionaries(st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,3}){0,2}", fullmatch=True), tensors(), max_size=4),
    vocabulary=st.none() | st.lists(st.text(min_size=1, max_size=3), min_size=1, unique=True).map(tuple),
    data=st.data(),
)
def test_what_is_saved_is_read_back_to_the_bit(tmp_path, stored, vocabulary, data):
    names = sorted(stored)
    tied = {f"{name}.too": name for name in data.draw(st.lists(st.sampled_from(names or [""]), unique=True)) if name}
    by_token = frozenset(data.draw(st.lists(st.sampled_from(names or ["x"]), unique=True)))
    weights = Weights(stored, tied, vocabulary, by_token)
    save_weights(weights, tmp_path / "w.safetensors")
    again = read_weights(tmp_path / "w.safetensors")
    assert {name: raw(tensor) for name, tensor in again.tensors.items()} == {n: raw(t) for n, t in stored.items()}
    assert (again.tied, again.vocabulary, again.token_parameters) == (tied, vocabulary, by_token)
    assert again.digest() == weights.digest()
    content = (tmp_path / "w.safetensors").read_bytes()
    save_weights(again, tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(Weights({"a": torch.ones(2)}), path)
    before = path.read_bytes()

    def full_disk(self, content):
        self.open("wb").write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_weights(Weights({"a": torch.zeros(2)}), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_weights_can_be_read_by_whoever_can_read_other_files(tmp_path):
    save_weights(Weights({"a": torch.ones(2)}), tmp_path / "w.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_metadata_is_json_that_any_tool_can_read(tmp_path):
    save_weights(Weights({"a.b": torch.ones(2, 3)}, {"c": "a.b"}, ("0", "+"), frozenset(["a.b"])), tmp_path / "w")
    content = (tmp_path / "w").read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    said = json.loads(header["__metadata__"]["grok_lightning"])
    assert said == {"tied": {"c": "a.b"}, "vocabulary": ["0", "+"], "token_parameters": ["a.b"]}
    assert header["a.b"]["shape"] == [2, 3]


def test_views_of_one_memory_are_saved_each(tmp_path):
    whole = torch.arange(6.0).reshape(3, 2)
    save_weights(Weights({"first": whole[0], "transposed": whole.T, "all": whole}), tmp_path / "w.safetensors")
    again = read_weights(tmp_path / "w.safetensors")
    assert again["transposed"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert again["first"].tolist() == [0, 1]


def test_the_digest_knows_bits_shapes_types_names_and_tokens():
    base = Weights({"a": torch.zeros(4), "b": torch.ones(1)}, {}, ("0", "1"), frozenset(["a"]))
    others = [
        Weights({"a": torch.zeros(4), "b": torch.ones(1)}, {}, ("1", "0"), frozenset(["a"])),
        Weights({"a": torch.zeros(4), "b": torch.ones(1)}, {}, ("0", "1"), frozenset()),
        Weights({"a": torch.zeros(4), "b": torch.ones(1)}, {"c": "b"}, ("0", "1"), frozenset(["a"])),
        Weights({"a": torch.zeros(2, 2), "b": torch.ones(1)}, {}, ("0", "1"), frozenset(["a"])),
        Weights({"a": torch.zeros(4, dtype=torch.int32), "b": torch.ones(1)}, {}, ("0", "1"), frozenset(["a"])),
        Weights({"a": torch.tensor([0, 0, 0, -0.0]), "b": torch.ones(1)}, {}, ("0", "1"), frozenset(["a"])),
        Weights({"a": torch.zeros(4), "c": torch.ones(1)}, {}, ("0", "1"), frozenset(["a"])),
    ]
    assert len({weights.digest() for weights in (base, *others)}) == 1 + len(others)
    assert tensor_digest(torch.ones(3, dtype=torch.bfloat16)) != tensor_digest(torch.zeros(3, dtype=torch.bfloat16))


class Tied(nn.Module):
    """A network whose classifier reads with the table of its embedding."""

    def __init__(self, rows=4):
        super().__init__()
        self.embedding, self.classifier = nn.Embedding(rows, 3), nn.Linear(3, rows)
        self.classifier.weight = self.embedding.weight


def test_tied_weights_are_stored_once_and_named(tmp_path):
    weights = weights_of(Tied())
    save_weights(weights, tmp_path / "w.safetensors")
    again = read_weights(tmp_path / "w.safetensors")
    assert sorted(again.tensors) == ["classifier.bias", "embedding.weight"]
    assert again.tied == {"classifier.weight": "embedding.weight"}
    assert again["classifier.weight"] is again["embedding.weight"]
    assert again.names_of("embedding.weight") == again.names_of("classifier.weight")


def checkpoint(path, **content):
    torch.save({"state_dict": {"layer.weight": torch.arange(6.0).reshape(2, 3)}, **content}, path)
    return path


def test_a_checkpoint_of_any_module_is_read(tmp_path):
    weights = read_weights(checkpoint(tmp_path / "m.ckpt"))
    assert weights["layer.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (weights.vocabulary, weights.token_parameters, weights.tied) == (None, frozenset(), {})


def test_a_checkpoint_knows_what_is_tied(tmp_path):
    torch.save({"state_dict": Tied().state_dict()}, tmp_path / "m.ckpt")
    weights = read_weights(tmp_path / "m.ckpt")
    assert weights.tied == {"classifier.weight": "embedding.weight"}


def test_the_network_of_a_task_is_read_from_its_checkpoint_with_split_rows_joined(tmp_path):
    network = ArithmeticTransformer(7, 4, width=8, heads=2)
    expected = network.embedding.table.weight.detach().clone()
    freeze(network, "embedding.table.weight", [1, 4])
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    vocabulary = [str(token) for token in range(7)]
    built = {"vocabulary": vocabulary, "token_parameters": ["embedding.table.weight"]}
    torch.save({"state_dict": state, "grok_lightning": built}, tmp_path / "m.ckpt")
    weights = read_weights(tmp_path / "m.ckpt")
    assert torch.equal(weights["embedding.table.weight"], expected)
    assert sorted(weights.names) == sorted(name for name, _ in ArithmeticTransformer(7, 4).named_parameters())
    assert weights.vocabulary == tuple(vocabulary)
    assert weights.has_tokens("embedding.table.weight")


class Code:
    """What a malicious checkpoint holds: code that unpickling runs."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("kind", ["archive", "old", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, kind):
    path, ran = tmp_path / "evil.ckpt", tmp_path / "ran"
    content = {"state_dict": {}, "extra": Code(ran)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "archive")
    with pytest.raises(ChainError, match=r"evil\.ckpt: holds more than tensors .* nothing in it was run"):
        read_checkpoint(path)
    assert not ran.exists()
    pickle.loads(path.read_bytes()) if kind == "pickle" else torch.load(path, weights_only=False)
    assert ran.exists()  # the code was alive


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_told_from_a_refused_one(tmp_path, share):
    content = checkpoint(tmp_path / "m.ckpt").read_bytes()
    (tmp_path / "m.ckpt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ChainError, match=r"m\.ckpt: is damaged or cut short") as caught:
        read_weights(tmp_path / "m.ckpt")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_truncated_safetensors_are_refused(tmp_path, share):
    save_weights(Weights({"a": torch.ones(100)}), tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ChainError, match="is damaged or no safetensors file"):
        read_weights(tmp_path / "w.safetensors")


def test_metadata_of_another_kind_is_refused(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors", {"grok_lightning": "not JSON"})
    with pytest.raises(ChainError, match="is damaged or no safetensors file"):
        read_weights(tmp_path / "w.safetensors")


def test_files_of_other_tools_without_metadata_are_read(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors") == Weights({"a": torch.ones(1)}, source=f"{tmp_path}/w.safetensors")


def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path):
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ChainError, match=r"holds a list, so it is no Lightning checkpoint"):
        read_weights(tmp_path / "list.ckpt")
    torch.save({"a": 1}, tmp_path / "plain.ckpt")
    with pytest.raises(ChainError, match=r"has no state_dict"):
        read_weights(tmp_path / "plain.ckpt")
    with pytest.raises(ChainError, match=r"no such file; expected a finished run's folder"):
        read_weights(tmp_path)
