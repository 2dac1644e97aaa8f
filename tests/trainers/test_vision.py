"""A vision-language model through Turn, run directory, Batch and trainer: one loss, one gradient, the model's own."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from agentrl.config import TrainerConfig
from agentrl.errors import DataError
from agentrl.models.vision import ImageInputs, image_files
from agentrl.records import hash_of, read_trajectories, write_trajectories
from agentrl.registry import load
from agentrl.trainers.batch import build_batch
from agentrl.trainers.composition import compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.update import Updater, flat_gradient
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn

IMAGE_TOKEN, START, END = 60, 61, 62


def tiny_vlm() -> torch.nn.Module:
    """A random Qwen2-VL: three-dimensional positions, images of 14-pixel patches merged two by two."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    config = Qwen2VLConfig(
        text_config={
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
            "tie_word_embeddings": True,
        },
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        image_token_id=IMAGE_TOKEN,
        vision_start_token_id=START,
        vision_end_token_id=END,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return Qwen2VLForConditionalGeneration(config).double().eval()


def picture(colour: int, width: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, 56), (colour, 30, 200)).save(file, "PNG")
    return file.getvalue()


def image_processor() -> Any:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=112 * 112)


def episode(member: int) -> Trajectory:
    """Two turns in one sequence; every observation is an image of its own size beside a word."""
    turns = []
    for position in range(2):
        image = picture(40 * member + 90 * position, 56 + 28 * member)
        placeholders = [IMAGE_TOKEN] * (2 * (2 + member))
        turns.append(
            Turn(
                position=position,
                observation=Observation("look", images=(image,)),
                prompt_ids=[START, *placeholders, END, 7 + member],
                continues=position > 0,
                completion=Completion("", [8 + position, 9, 10 + member], [-1.0, -2.0, -3.0], versions=[0, 0, 0]),
                action="go",
                readable=True,
                valid=True,
                reward=0.0,
                images=(hash_of(image),),
            )
        )
    return Trajectory(
        Task("none", "t", "train", 0), "0/0", member, turns, None, Outcome(bool(member), float(member)), "done"
    )


def test_an_episode_with_images_is_stored_packed_and_trained(tmp_path: Path) -> None:
    path = tmp_path / "trajectories" / "step-000001.jsonl.gz"
    write_trajectories(path, [episode(0), episode(1)])
    trajectories = read_trajectories(path)
    files = image_files(trajectories)
    assert len(files) == 4
    batch = build_batch(trajectories)
    module = tiny_vlm()
    updater = Updater(
        module,
        Optimiser(module, TrainerConfig()),
        image_inputs=ImageInputs(module, image_processor(), files),
    )
    composition = compose(load("algorithm", "grpo"), {}, {})
    batch = batch.with_view(composition.advantage(batch.view))
    update = updater.gradient(batch, composition)
    ours = flat_gradient(module)

    module.zero_grad()
    processor, expected, current = image_processor(), 0.0, []
    for stretch in batch.stretches:
        from PIL import Image

        pictures = [Image.open(io.BytesIO(files[name])) for name in stretch.images]
        ids = torch.tensor([stretch.ids])
        features = processor(images=pictures, return_tensors="pt")
        logits = (
            module(input_ids=ids, mm_token_type_ids=(ids == IMAGE_TOKEN).int(), **features).logits[0].log_softmax(-1)
        )
        target = torch.tensor(stretch.ids)[torch.tensor(stretch.places)]
        current.append(logits[torch.tensor(stretch.places) - 1].gather(1, target[:, None])[:, 0])
    order = sorted(range(len(batch.stretches)), key=lambda i: batch.stretches[i].first_token)
    flat = torch.cat([current[i] for i in order])
    loss, _ = composition.loss(batch.view.with_fields(current=flat, old=flat.detach(), entropy=torch.zeros_like(flat)))
    loss.backward()  # type: ignore[no-untyped-call]
    expected = float(loss.detach())
    assert update.loss == pytest.approx(expected, abs=1e-10)
    torch.testing.assert_close(update.numbers.logprob, flat.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours, flat_gradient(module), rtol=1e-7, atol=1e-10)
    visual = [p.grad for n, p in module.named_parameters() if "visual" in n]
    assert any(g is not None and bool(g.abs().max() > 0) for g in visual), "the image encoder has no gradient"


def test_an_image_that_is_missing_is_named() -> None:
    module = tiny_vlm()
    batch = build_batch([episode(0)])
    inputs = ImageInputs(module, image_processor(), {})
    with pytest.raises(DataError, match=batch.stretches[0].images[0]):
        inputs(list(batch.stretches))
