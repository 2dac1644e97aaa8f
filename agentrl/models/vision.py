"""Images for the trainer's forward pass: pixels from content-addressed files, and the model's own positions."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from agentrl.errors import DataError
from agentrl.models.forward import causal_model
from agentrl.records import hash_of
from agentrl.types import Trajectory


def image_files(trajectories: Iterable[Trajectory]) -> dict[str, bytes]:
    """Every image that these episodes saw, by its hash."""
    return {
        hash_of(image): image
        for trajectory in trajectories
        for turn in trajectory.turns
        for image in turn.observation.images
    }


class Sequenced(Protocol):
    """A sequence of ids and the hashes of its images, in order."""

    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def images(self) -> tuple[str, ...]: ...


class ImageInputs:
    """Makes what a model of the Qwen2-VL class takes beside ids; for models whose positions are three-dimensional."""

    def __init__(self, module: torch.nn.Module, image_processor: Any, files: Mapping[str, bytes]) -> None:
        self._model = causal_model(module)
        self._processor = image_processor
        self._files = files

    def __call__(self, sequences: Sequence[Sequenced]) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs of the packed stream of these sequences: pixels of all images, and positions [3, T].

        Raises DataError where an image is missing, or where the placeholders in the ids do not fit the images.
        """
        from PIL import Image

        device = next(self._model.parameters()).device
        names = [name for sequence in sequences for name in sequence.images]
        missing = [name for name in names if name not in self._files]
        if missing:
            raise DataError(f"image {missing[0]} of an episode is missing; it should stand in the run's images/ folder")
        pictures = [Image.open(io.BytesIO(self._files[name])).convert("RGB") for name in names]
        features = self._processor(images=pictures, return_tensors="pt") if pictures else {}
        grids = features["image_grid_thw"] if pictures else torch.zeros(0, 3, dtype=torch.int64)
        positions, used = [], 0
        for sequence in sequences:
            grid = grids[used : used + len(sequence.images)]
            used += len(sequence.images)
            positions.append(self._positions(sequence, grid))
        inputs = {name: features[name].to(device) for name in ("pixel_values", "image_grid_thw") if name in features}
        if inputs:
            ids = torch.tensor([i for s in sequences for i in s.ids], device=device)
            inputs["mm_token_type_ids"] = (ids == self._model.config.image_token_id).int()[None]
        return inputs, torch.cat(positions, 1).to(device)

    def _positions(self, sequence: Sequenced, grid: Tensor) -> Tensor:
        ids = torch.tensor([sequence.ids])
        is_image = (ids == self._model.config.image_token_id).int()
        merge = self._model.config.vision_config.spatial_merge_size**2
        expected = int(grid.prod(1).sum()) // merge if len(grid) else 0
        if int(is_image.sum()) != expected:
            raise DataError(
                f"a sequence has {int(is_image.sum())} image placeholders, but its {len(grid)} images need {expected}"
            )
        if not len(grid):
            return torch.arange(ids.shape[1]).expand(3, -1)
        places, _ = self._model.model.get_rope_index(ids, is_image, image_grid_thw=grid)
        positions: Tensor = places[:, 0]
        return positions
