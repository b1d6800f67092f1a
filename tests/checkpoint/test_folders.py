"""Folders: a hub's, with shards or without, distributed checkpoints, DeepSpeed's."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides, load_checkpoint
from tests.checkpoint.layouts import State, zeros
from tests.support import GOLDEN, read_checkpoint

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def state() -> State:
    return dict(read_checkpoint(GOLDEN / "slide_swin_nano.pth").tensors)


def sharded(state: State, folder: Path) -> Path:
    folder.mkdir()
    names = list(state)
    halves = {
        "model-00001-of-00002.safetensors": names[: len(names) // 2],
        "model-00002-of-00002.safetensors": names[len(names) // 2 :],
    }
    for file, held in halves.items():
        save_file({name: state[name].contiguous() for name in held}, folder / file)
    where = {name: file for file, held in halves.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    config = {"architectures": ["SlideSwin"], "image_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def assert_right(path: Path, state: State) -> None:
    stored = read_checkpoint(path)
    assert stored.tensors.keys() == state.keys()
    assert all(torch.equal(stored.tensors[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("name", ["", INDEX, "config.json"])
def test_all_shards_are_read_and_the_image_size_with_them(
    name: str, state: State, tmp_path: Path
) -> None:
    folder = sharded(state, tmp_path / "hub")
    assert_right(folder / name, state)
    loaded = load_checkpoint(folder / name)
    assert loaded.config.image_size == (64, 64)
    assert loaded.stem in ("hub", "model", "config")


def test_the_hash_is_that_of_all_shards(state: State, tmp_path: Path) -> None:
    folder = sharded(state, tmp_path / "hub")
    before = read_checkpoint(folder).sha256
    assert read_checkpoint(folder / INDEX).sha256 == before
    changed = {name: tensor.contiguous() for name, tensor in zeros(state).items()}
    held = list(state)[: len(state) // 2]
    first = folder / "model-00001-of-00002.safetensors"
    save_file({name: changed[name] for name in held}, first)
    assert read_checkpoint(folder).sha256 != before


def test_one_shard_alone_is_refused(state: State, tmp_path: Path) -> None:
    folder = sharded(state, tmp_path / "hub")
    with pytest.raises(InputError, match=f"is shard 1 of 2: name .*{INDEX}"):
        read_checkpoint(folder / "model-00001-of-00002.safetensors")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"a": "gone-00001-of-00002.safetensors"}, "which is missing"),
        ({"a": "../other.safetensors"}, "not in its own folder"),
        ({}, "lists no tensors"),
        ([], "lists no tensors"),
    ],
)
def test_an_index_that_cannot_be_followed(
    where: object, words: str, state: State, tmp_path: Path
) -> None:
    folder = sharded(state, tmp_path / "hub")
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))
    with pytest.raises(InputError, match=words):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_hub_folder_with_one_file(name: str, state: State, tmp_path: Path) -> None:
    plain = {key: tensor.contiguous() for key, tensor in state.items()}
    save = save_file if name.endswith(".safetensors") else torch.save
    save(plain, tmp_path / name)
    config = {"architecture": "slide_swin", "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for path in (tmp_path, tmp_path / name):
        assert_right(path, state)
        assert load_checkpoint(path).config.image_size == (64, 64)


def test_a_folder_with_several_files_lists_them(state: State, tmp_path: Path) -> None:
    for name in ("epoch_1.pth", "epoch_2.pth"):
        torch.save(state, tmp_path / name)
    with pytest.raises(InputError, match=r"give the checkpoint inside it \(epoch_1.pth, epo"):
        read_checkpoint(tmp_path)


def test_deepspeed_names_its_last_step(state: State, tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("global_step7\n")
    step = tmp_path / "global_step7"
    step.mkdir()
    torch.save({"module": state, "ds_version": "0.15"}, step / "mp_rank_00_model_states.pt")
    assert_right(tmp_path, state)
    assert_right(step, state)


@pytest.mark.filterwarnings("ignore")
def test_a_distributed_checkpoint(state: State, tmp_path: Path) -> None:
    content = {"model": state, "optimizer": {"exp_avg": zeros(state)}, "epoch": 3}
    dcp.save(content, checkpoint_id=str(tmp_path / "dcp"))
    assert_right(tmp_path / "dcp", state)
    assert_right(tmp_path / "dcp" / ".metadata", state)
    assert load_checkpoint(tmp_path / "dcp", Overrides(image_size=(64, 64))).stem == "dcp"
    next((tmp_path / "dcp").glob("*.distcp")).unlink()
    with pytest.raises(InputError, match=r"which its \.metadata names"):
        read_checkpoint(tmp_path / "dcp")


def _save_sharded(rank: int, folder: str, state: State) -> None:
    """One of two processes, which hold every other part of each tensor."""
    import os

    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29531"}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    shared = {
        name: distribute_tensor(tensor, mesh, [Shard(0)]) if tensor.ndim else tensor
        for name, tensor in state.items()
    }
    dcp.save({"model": shared}, checkpoint_id=folder)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_pieces_of_two_processes_are_put_together(state: State, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_save_sharded, args=(str(tmp_path / "dcp"), state), nprocs=2)
    assert len(list((tmp_path / "dcp").glob("*.distcp"))) == 2
    assert_right(tmp_path / "dcp", state)


def test_averages_in_another_file_of_the_folder_are_reported(state: State, tmp_path: Path) -> None:
    plain = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(plain, tmp_path / "model.safetensors")
    save_file(plain, tmp_path / "model_1.safetensors")
    torch.save({}, tmp_path / "optimizer.pt")
    remarks = load_checkpoint(tmp_path, Overrides(image_size=(64, 64))).remarks
    assert remarks == ("other files of the folder were not read: model_1.safetensors",)
    save_file(plain, tmp_path / "model_ema.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors and model_ema\.safetensors"):
        read_checkpoint(tmp_path)


def test_a_folded_file_is_not_a_shard(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "fold_1-of-5.pth")
    assert_right(tmp_path / "fold_1-of-5.pth", state)


def test_places_that_hold_no_checkpoint(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="not a regular file"):
        read_checkpoint(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(tmp_path / ("x" * 300))


@pytest.mark.filterwarnings("ignore")
def test_damaged_lists_of_pieces(state: State, tmp_path: Path) -> None:
    dcp.save({"model": state}, checkpoint_id=str(tmp_path / "dcp"))
    piece = next((tmp_path / "dcp").glob("*.distcp"))
    with pytest.raises(
        InputError, match=f"is a piece of a distributed checkpoint: give {tmp_path}"
    ):
        read_checkpoint(piece)
    piece.write_bytes(piece.read_bytes()[:1000])
    with pytest.raises(InputError, match="is shorter than"):
        read_checkpoint(tmp_path / "dcp")
