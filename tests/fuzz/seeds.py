"""Valid files of every kind that is read, as small as they get.

Files of formats whose converters take seconds lie in ``corpus``; see its README.
"""

import csv
import json
import pickle
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.distributed import checkpoint as distributed

from benchmarks.measuring import plan_file
from benchmarks.measuring.race import RacePlan
from benchmarks.record import Artifact, Candidate, Configuration
from benchmarks.result import encode
from slide_deploy.evaluation import result_file
from slide_deploy.evaluation.record import Damaged, Data, Outcomes, Record
from slide_deploy.folding.model import reparameterize
from slide_deploy.graph_checks import built_in_text
from slide_deploy.hosts import load_checkpoint
from slide_deploy.images.description import ImageDescription
from slide_deploy.models.slide_swin import SlideSwin
from slide_deploy.tuning.store import shipped_file
from studies.passes.record import WrittenVariant
from tests.benchmarks.synthetic import measurement, rounds, run
from tests.support import random_swin, save_folded

ROOT = Path(__file__).parents[2]
# What training stores beside the weights.
SETTINGS = {"DATA": {"IMG_SIZE": 8}, "EPOCHS": [1.5] * 9}
CORPUS = Path(__file__).with_name("corpus")


def smallest_swin() -> SlideSwin:
    """Both kinds of attention."""
    return random_swin(
        image_size=(8, 8),
        patch_size=2,
        embed_dim=2,
        depths=(1, 1),
        num_heads=(1, 1),
        num_slide_stages=1,
        num_classes=2,
        window_size=2,
    )


def from_corpus(name: str, folder: Path) -> None:
    shutil.copytree(CORPUS / name, folder, dirs_exist_ok=True)


def torch_file(folder: Path) -> None:
    content = {"model": smallest_swin().state_dict(), "config": SETTINGS, "args": Path("x")}
    torch.save(content, folder / "seed.pth")


def old_torch_file(folder: Path) -> None:
    content = {"model": smallest_swin().state_dict(), "config": SETTINGS}
    torch.save(content, folder / "seed.pth", _use_new_zipfile_serialization=False)


def pickle_file(folder: Path) -> None:
    arrays = {name: each.numpy() for name, each in smallest_swin().state_dict().items()}
    (folder / "seed.pkl").write_bytes(pickle.dumps({"model": arrays, "config": SETTINGS}))


def safetensors_file(folder: Path) -> None:
    """A folded model with its settings."""
    torch_file(folder)
    checkpoint = load_checkpoint(folder / "seed.pth")
    save_folded(reparameterize(checkpoint.model)[0], checkpoint, folder / "seed.safetensors")


def hub_folder(folder: Path) -> None:
    state = {name: each.contiguous() for name, each in smallest_swin().state_dict().items()}
    names = sorted(state)
    shards = {"a.safetensors": names[: len(names) // 2], "b.safetensors": names[len(names) // 2 :]}
    for file, inside in shards.items():
        save_file({name: state[name] for name in inside}, folder / file)
    listed = {name: file for file, inside in shards.items() for name in inside}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    (folder / "config.json").write_text(json.dumps({"architectures": ["x"], "image_size": 8}))


def distributed_folder(folder: Path) -> None:
    distributed.save({"model": smallest_swin().state_dict()}, checkpoint_id=folder, no_dist=True)


def policy(folder: Path) -> None:
    (folder / "seed.toml").write_text(built_in_text("standard-ops").replace("name", "#", 1))


def suite(folder: Path) -> None:
    (folder / "seed.toml").write_text(
        'name = "all"\ntargets = ["onnxruntime:cpu"]\nimage_sizes = ["224", "8x8"]\n'
        "batches = [1, 2]\n[[candidate]]\n"
        'name = "ours"\nfile = "model.onnx"\naccuracy = 0.5\nenvironment = { A = "b" }\n'
        "[[candidate]]\n"
        'name = "theirs"\nmodel = "net:build"\nmodel_args = { dim = 96, deep = [[1], [2.5]] }\n'
        'input = ["image=1x3x8x8"]\nexport = { precision = "float32" }\n'
    )


def tuning_table(folder: Path) -> None:
    content = json.loads(shipped_file().read_text())
    content["entries"] = content["entries"][:2]
    (folder / "seed.json").write_text(json.dumps(content))


def result(folder: Path) -> None:
    few = rounds(3.0, count=3, calls=4)
    measured = (measurement("ours", rounds=few), measurement("theirs", rounds=few))
    (folder / "seed.json").write_bytes(encode(run(measured), folder / "seed.json"))


def device_results(folder: Path) -> None:
    content = next((ROOT / "docs/devices").glob("*.json")).read_text()
    (folder / "seed.json").write_text(content)


def evaluation(folder: Path) -> None:
    for index, part in enumerate(evaluated(), 1):
        (folder / f"{index}.json").write_text(result_file.encode(part))


def evaluated() -> tuple[Record, ...]:
    """Both shards of one evaluation of four pictures, two at a time; one is damaged."""
    data = Data("pictures", "folders", "0" * 64, 4, 0, 3, "indices", 0, 0)
    outcomes = Outcomes("x.onnx", "0" * 64, "onnxruntime", "1", "8x8", "", (), ())
    first = replace(outcomes, predicted=(0, 2), ranks=(0, 1))
    second = replace(outcomes, predicted=(1,), ranks=(5,))
    damaged = (Damaged(3, "d.png", "It is damaged."),)
    return (
        Record("1", data, 2, 2, (1,), False, (0, 1), (), (first,)),
        Record("1", data, 2, 2, (2,), False, (2,), damaged, (second,)),
    )


def bench_plan(folder: Path) -> None:
    candidate = Candidate("ours", "models/1/x.onnx", "onnxruntime:cpu", Configuration(threads=2))
    artifact = Artifact("x.onnx", "0" * 64, 100, 10, 10, 10)
    plan = RacePlan((candidate,), {"ours": artifact})
    (folder / "plan.json").write_text(plan_file.to_json(plan))


def network_files(folder: Path) -> None:
    changes = {"all": {"factors": 2}}
    WrittenVariant(
        "net", "onnx", "onnxruntime:cpu", True, ("factors",), {"all": "a"}, changes, {}
    ).write(folder)


def description(folder: Path) -> None:
    described = ImageDescription(
        *("image", (8, 8), "nchw", "rgb", "float32", (0.5,) * 3, (0.25,) * 3, False)
    )
    content = asdict(described)
    (folder / "seed.json").write_text(json.dumps(content))


def labels(folder: Path) -> None:
    (folder / "seed.txt").write_text("tench\ngoldfish\ngreat white shark\n\n")


def picture_table(folder: Path) -> None:
    with (folder / "seed.csv").open("w", newline="") as file:
        rows = [("path", "label", "note"), ("a.png", "0", "x"), ("b/c.png", "1", 'a "b", c')]
        csv.writer(file).writerows(rows)
    (folder / "b").mkdir()
    for name in ("a.png", "b/c.png"):
        (folder / name).touch()


def pictures(folder: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    plain = Image.fromarray(colours[..., :3])
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "ico", "tga", "jp2", "avif"):
        plain.save(folder / f"seed.{suffix}")
    Image.fromarray(colours).save(folder / "alpha.png")
    Image.fromarray(colours[..., 0].astype(np.uint16) * 200).save(folder / "wide.png")
    Image.fromarray(colours[..., 0].astype(np.float32) / 255).save(folder / "float.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.save(folder / "turned.jpg", exif=exif)


def arrays(folder: Path) -> None:
    np.savez(
        folder / "seed.npz", image=np.random.default_rng(0).normal(size=(80, 3, 2, 2)).astype("f4")
    )
