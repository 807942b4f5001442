"""Weights to go on from, where a run does not go on from those of the one before just as they are.

python prepare.py deepen WEIGHTS OUTPUT      # decoder layers 0, 1, 2 become 0, 1, 1, 2, 2
python prepare.py newest RUN OUTPUT          # the weights after a run's last step, not their moving average
"""

import re
import sys

import torch

from memotr import load_model
from memotr.build import build_model
from memotr.weights.model_files import save_model
from memotr.weights.published_names import load_published, published_state

ORDER = [0, 1, 1, 2, 2]
PER_LAYER = re.compile(r"(transformer\.decoder\.(?:layers|bbox_embed)\.|class_embed\.|bbox_embed\.)(\d+)(\..*)")


def deepen(source: str, target: str) -> None:
    shallow = load_model(source)
    size = shallow.config.model.model_copy(update={"num_decoder_layers": len(ORDER)})
    deep = build_model(shallow.config.model_copy(update={"model": size}))
    known = published_state(shallow)

    def origin(name: str) -> str:
        part = PER_LAYER.fullmatch(name)
        return f"{part[1]}{ORDER[int(part[2])]}{part[3]}" if part else name

    load_published(deep, {name: known[origin(name)] for name in published_state(deep)})
    save_model(deep, target)


def newest(run: str, target: str) -> None:
    model = load_model(f"{run}/last.safetensors")
    load_published(model, torch.load(f"{run}/last.pt", map_location="cpu", weights_only=True)["model"])
    save_model(model, target)


if __name__ == "__main__":
    {"deepen": deepen, "newest": newest}[sys.argv[1]](*sys.argv[2:])
