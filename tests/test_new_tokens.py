"""A transfer into a larger vocabulary, end to end: known rows stay as they are, new rows are trained."""

import json

from safetensors.torch import load_file

RECIPE = """\
# An embedding that learns new tokens beside those it has.
model:
  class_path: EquationTask
  init_args:
    network: {class_path: ArithmeticTransformer, init_args: {width: 8, heads: 2}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-2, weight_decay: 1.0}}
data:
  class_path: SystemDataModule
  init_args:
    equations: ["a + b = A", "A + c = B"]
    asked: B
    modulus: 5
    train_fraction: 0.5
    val_fraction: 0.5
    batch_size: 8
trainer: {max_steps: 30, accelerator: cpu}
stages:
  donor:
    data: {class_path: BinaryOperationDataModule, init_args: {modulus: 5, batch_size: 8}}
  untrained:
    transfer: {from: donor, parts: [embedding], freeze: true}
    trainer.max_steps: 0
  system:
    transfer: {from: donor, parts: [embedding], freeze: true}
"""


def test_rows_of_known_tokens_stay_and_those_of_new_ones_are_trained(lightning, tmp_path):
    path = tmp_path / "system.yaml"
    path.write_text(RECIPE)
    code, _, err = lightning("fit", "--config", path)
    assert code == 0, err
    folder = tmp_path / "logs" / "system" / "run_000"
    donor, untrained, system = (
        load_file(folder / stage / "seed_0" / "network.safetensors")["embedding.table.weight"]
        for stage in ("donor", "untrained", "system")
    )
    known, new = list(range(7)), [7, 8, 9]  # 0 … 4, + and =; A, & and B
    (moved,) = json.loads((folder / "system" / "seed_0" / "transfer.json").read_text())
    assert moved["tokens"] == ["0", "1", "2", "3", "4", "+", "="]
    assert (moved["rows"], moved["frozen"]) == (known, True)
    assert system.shape == (10, 8)
    assert system[known].equal(donor)
    assert not (system[new] == untrained[new]).any()
