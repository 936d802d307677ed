"""Everything a run may train on, as one endless shuffled list of samples.

Takes a DataConfig and an InputConfig, hands on the Batch at any positions of the run. Numbers are computed
for a whole batch at once; only images are handled one by one. The surprise: a position alone decides the
sample and its augmentation, so neither ranks, workers nor a resumed run can see another sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stair.data.batch import row_of
from stair.data.chunks import WAYPOINTS, clip_rows, gripper_events, take_chunks, waypoint_rows
from stair.data.config import DataConfig, ImageConfig, InputConfig, clip_offsets
from stair.data.frames import FrameReader
from stair.data.index import Index, open_index
from stair.data.language import Tokenizer, load_tokenizer, pad_prompts, prompt_ids
from stair.data.mixtures import mixture_of
from stair.data.order import Order, held_out_episodes
from stair.data.sample import Batch, Sample
from stair.data.standardize import standard_of
from stair.data.statistics import Statistics, compute_statistics
from stair.data.transforms import (
    MIRRORED_ACTION,
    MIRRORED_POSITION,
    Look,
    change_tones,
    decode_image,
    draw_looks,
    mirror_rows,
    normalize,
    resize,
)
from stair.errors import StairError, UsageError

XYZ = slice(0, 3)


class Part:
    """One data set of the mixture: its index, and which episodes this corpus sees."""

    def __init__(self, index: Index, *, share: float, held_out: bool) -> None:
        self.index = index
        self.relative = standard_of(index.dataset).action_mask
        self.statistics = compute_statistics(index.actions, index.proprio, self.relative, index.episodes)
        self.events = gripper_events(index.actions[:, 6], index.starts)
        self.reader = FrameReader(index.files)
        self.chosen = np.flatnonzero(held_out_episodes(index.numbers, share) == held_out)
        """Numbers of the episodes that are seen."""
        self.ends = np.cumsum(np.diff(index.starts)[self.chosen])
        self.prompts: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def places(self, samples: np.ndarray) -> Places:
        """Where sample numbers (int64 [B], below len) lie in the index."""
        nth = np.searchsorted(self.ends, samples, side="right")
        episodes = self.chosen[nth]
        firsts, lasts = self.index.starts[episodes], self.index.starts[episodes + 1] - 1
        return Places(episodes, firsts, lasts, lasts + 1 - (self.ends[nth] - samples))


@dataclass(frozen=True)
class Places:
    """Rows of an index, int64 [B] each."""

    episodes: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray
    steps: np.ndarray


class Corpus:
    """Samples by position; `Corpus.open` makes one. It may be handed to forked processes."""

    def __init__(self, parts: Sequence[Part], order: Order, data: DataConfig, inputs: InputConfig) -> None:
        self.parts, self.order, self.data, self.inputs = parts, order, data, inputs
        self.tokenizer: Tokenizer = load_tokenizer(inputs.language)
        self.offsets = clip_offsets(inputs.clip)
        self.clip_image = ImageConfig(inputs.clip.image_size, inputs.image.resize)
        self.statistics: dict[str, Statistics] = {part.index.dataset: part.statistics for part in parts}
        """By data set; taken over all episodes of the split, held out or not."""

    @staticmethod
    def open(data: DataConfig, inputs: InputConfig, held_out: bool = False) -> Corpus:
        """Opens the mixture's data sets, building their indices where needed.

        held_out: the share `data.held_out` of the episodes instead of the rest. Raises StairError for
        missing or broken data, UsageError for unknown names or when nothing is left to see.
        """
        if not 0 <= data.held_out < 1:
            raise UsageError(f"data.held_out is {data.held_out}", hint="a share, 0 <= held_out < 1")
        mixture = mixture_of(data.mixture)
        indices = [
            open_index(data.root, name, data.split, skip_corrupt=data.skip_corrupt) for name, _ in mixture
        ]
        parts = [Part(index, share=data.held_out, held_out=held_out) for index in indices]
        for part in parts:
            if not len(part):
                which = "held out" if held_out else "left to train on"
                raise UsageError(
                    f"no episode of {part.index.dataset} is {which}: "
                    f"data.held_out is {data.held_out} of {part.index.episodes}",
                    hint="a larger or smaller data.held_out",
                )
        order = Order([len(part) for part in parts], [weight for _, weight in mixture], data.seed)
        return Corpus(parts, order, data, inputs)

    def __len__(self) -> int:
        """Samples of an epoch; positions go on beyond it, shuffled anew."""
        return self.order.length

    def sample(self, position: int, *, with_clip: bool = True) -> Sample:
        """One sample in numpy, the very one that a batch holds."""
        return row_of(self.batch(np.array([position]), with_clips=with_clip), 0)

    def batch(self, positions: np.ndarray, *, with_clips: bool = True) -> Batch:
        """The samples at positions int64 [B]. Raises StairError when a frame cannot be read."""
        size, (chunk, dim) = len(positions), (self.inputs.action.chunk, self.inputs.action.dim)
        looks = draw_looks(self.data.augment, self.data.seed, positions)
        offsets = self.offsets if with_clips else ()
        pictures = Pictures(size, self.inputs.image, self.clip_image, len(offsets))
        actions = np.empty((size, chunk, dim), np.float32)
        mask = np.empty((size, chunk), bool)
        proprio = np.empty((size, dim), np.float32)
        waypoints = np.empty((size, WAYPOINTS, 3), np.float32)
        prompts: list[np.ndarray] = [np.empty(0, np.int64)] * size
        numbers, samples = self.order.locate(positions)
        for number in np.unique(numbers):
            rows = np.flatnonzero(numbers == number)
            part = self.parts[number]
            places = part.places(samples[rows])
            mirrored = np.array([looks[row].mirror for row in rows])
            actions[rows], mask[rows] = self._actions(part, places, mirrored)
            proprio[rows], waypoints[rows] = self._states(part, places, mirrored)
            clips = clip_rows(places.steps, places.firsts, places.lasts, offsets).tolist()
            for nth, row in enumerate(rows.tolist()):
                prompts[row] = self._prompt(part, int(places.episodes[nth]))
                pictures.take(row, part, int(places.steps[nth]), clips[nth])
        images, all_clips = pictures.finish(
            looks, moving=self.data.augment.shift > 0 or self.data.augment.mirror
        )
        token_ids, token_mask = pad_prompts(prompts, self.tokenizer.pad_id)
        return Batch(
            images=images,
            clips=all_clips if with_clips else None,
            token_ids=torch.from_numpy(token_ids),
            token_mask=torch.from_numpy(token_mask),
            actions=torch.from_numpy(actions),
            action_mask=torch.from_numpy(mask),
            proprio=torch.from_numpy(proprio),
            waypoints=torch.from_numpy(waypoints),
            positions=torch.from_numpy(np.array(positions, np.int64)),
        )

    def _actions(self, part: Part, places: Places, mirrored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        taken, mask = take_chunks(
            part.index.actions, places.steps, places.lasts, self.inputs.action.chunk, part.relative
        )
        return normalize(mirror_rows(taken, MIRRORED_ACTION, mirrored), part.statistics.action), mask

    def _states(self, part: Part, places: Places, mirrored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moments = part.statistics.proprio
        proprio = mirror_rows(part.index.proprio[places.steps], MIRRORED_ACTION, mirrored)
        rows = waypoint_rows(part.events, places.steps, places.lasts)
        points = mirror_rows(part.index.proprio[rows][..., XYZ], MIRRORED_POSITION, mirrored)
        waypoints = np.where(rows[..., None] < 0, np.float32(np.nan), normalize(points, moments, XYZ))
        return normalize(proprio, moments), waypoints

    def _prompt(self, part: Part, episode: int) -> np.ndarray:
        words = int(part.index.words[episode])
        if words not in part.prompts:
            text = part.index.instructions[words]
            part.prompts[words] = prompt_ids(text, self.inputs.language, self.tokenizer)
        return part.prompts[words]


class Pictures:
    """The images and clips of one batch while it is being filled; a frame that is both is decoded once."""

    def __init__(self, size: int, image: ImageConfig, clip: ImageConfig, frames: int) -> None:
        self.image, self.clip = image, clip
        self.image_pixels = np.empty((size, 3, image.size, image.size), np.uint8)
        self.clip_pixels = np.empty((size, frames, clip.size, clip.size, 3), np.uint8)

    def take(self, row: int, part: Part, step: int, clip: Sequence[int]) -> None:
        """Fills one row from the frame at `step` and those at the rows `clip`."""
        now: np.ndarray | None = None
        filled: dict[int, int] = {}
        for nth, frame in enumerate(clip):
            target = self.clip_pixels[row, nth]
            if frame in filled:  # beyond the episode's ends frames repeat
                target[:] = self.clip_pixels[row, filled[frame]]
                continue
            pixels = _decode(part, frame, target)
            if pixels is not target:
                target[:] = resize(pixels, self.clip)
            filled[frame] = nth
            if frame == step:
                now = pixels
        now = _decode(part, step) if now is None else now
        self.image_pixels[row] = resize(now, self.image).transpose(2, 0, 1)

    def finish(self, looks: Sequence[Look], *, moving: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Images uint8 [B, 3, S, S] and clips [B, T, 3, C, C], each row with its look. Unless any may be
        `moving`, clips have the channels last in memory: copying them costs as much as decoding a frame."""
        images = torch.from_numpy(self.image_pixels)
        clips = torch.from_numpy(self.clip_pixels).permute(0, 1, 4, 2, 3)
        if moving:
            clips = clips.contiguous()  # rows of pixels are mirrored far faster than pixels of three
            for stacks in (images.numpy(), clips.numpy()):
                for row, look in enumerate(looks):
                    if look.moves:
                        stacks[row] = look.place(stacks[row])
        if any(look.recolours for look in looks):
            means = images.flatten(1).sum(1, dtype=torch.int64) / images[0].numel()
            tones = [
                torch.tensor([getattr(look, name) for look in looks]) for name in ("brightness", "contrast")
            ]
            images, clips = (change_tones(stack, means, *tones) for stack in (images, clips))
        return images, clips


def _decode(part: Part, row: int, into: np.ndarray | None = None) -> np.ndarray:
    file, offset, length = part.index.frames[row].tolist()
    try:
        return decode_image(part.reader.read(file, offset, length), into)
    except StairError as error:
        place = f"{part.index.files[file]}: image at byte {offset}"
        raise StairError(f"{place}: {error.what}", hint=error.hint) from None
