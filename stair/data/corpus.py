"""Everything a run may train on, as one endless shuffled list of samples.

Takes a DataConfig and an InputConfig, hands on the Batch at any positions of the run. Numbers are computed
for a whole batch at once; only images are handled one by one. The surprise: a position alone decides the
sample and its augmentation, so neither ranks, workers nor a resumed run can see another sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stair.data.augment import MIRRORED_ACTION, MIRRORED_POSITION, Look, draw_looks, mirror_rows
from stair.data.batch import row_of
from stair.data.chunks import WAYPOINTS, clip_rows, take_chunks, waypoint_rows
from stair.data.config import DataConfig, ImageConfig, InputConfig, refuse_contradictions
from stair.data.index import open_index
from stair.data.language import Tokenizer, load_tokenizer, pad_prompts, prompt_ids
from stair.data.lerobot.find import find_lerobot
from stair.data.mixtures import MIXTURES, mixture_of, refuse_unreadable
from stair.data.order import Order
from stair.data.part import Part, Places
from stair.data.sample import Batch, Sample
from stair.data.standardize import STANDARDS, pose_of
from stair.data.statistics import Statistics
from stair.data.tokens import open_tokens
from stair.data.transforms import decode_image, normalize, resize
from stair.errors import StairError

XYZ = slice(0, 3)


class Corpus:
    """Samples by position; `Corpus.open` makes one. It may be handed to forked processes."""

    def __init__(self, parts: Sequence[Part], order: Order, data: DataConfig, inputs: InputConfig) -> None:
        self.parts, self.order, self.data, self.inputs = parts, order, data, inputs
        self.tokenizer: Tokenizer = load_tokenizer(inputs.language)
        self.clip_image = ImageConfig(inputs.clip.image_size, inputs.image.resize)
        self.tokens = parts[0].tokens
        """Not None: batches hold cached dynamic tokens instead of clips."""
        self.statistics: dict[str, Statistics] = {part.index.dataset: part.statistics for part in parts}
        """By data set: what actions are normalised with, see `data.statistics`."""

    @staticmethod
    def open(data: DataConfig, inputs: InputConfig, held_out: bool = False) -> Corpus:
        """Opens the mixture's data sets, building their indices where needed.

        held_out: the share `data.held_out` of the episodes instead of the rest. Raises StairError for
        missing or broken data, UsageError for unknown names or when nothing is left to see.
        """
        refuse_contradictions(data, inputs)
        if data.reader == "tf":
            from stair.data.tf_reader import require_tensorflow

            require_tensorflow(data)
        alone = data.mixture not in MIXTURES and find_lerobot(data.root, data.mixture, data.format)
        mixture = ((data.mixture, 1.0),) if alone else mixture_of(data.mixture)
        names = [name for name, _ in mixture]
        readable = [n for n in names if n in STANDARDS or find_lerobot(data.root, n, data.format)]
        refuse_unreadable(data.mixture, mixture, readable)
        indices = [
            open_index(
                data.root,
                name,
                data.split,
                skip_corrupt=data.skip_corrupt,
                format=data.format,
                lerobot=data.lerobot,
            )
            for name in names
        ]
        tokens = open_tokens(data, inputs, indices)
        parts = [
            Part(index, data, inputs, held_out=held_out, tokens=cached)
            for index, cached in zip(indices, tokens, strict=True)
        ]
        weights = [weight for _, weight in mixture]
        order = Order([len(part) for part in parts], weights, data.seed, data.balance)
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
        looks = draw_looks(self.data.augment, self.data.seed, positions, self.inputs.image.crop)
        dynamic_tokens = None
        if with_clips and self.tokens is not None:
            with_clips, dynamic_tokens = False, np.empty((size, *self.tokens.shape), np.float32)
        frames = self.inputs.clip.frames if with_clips else 0
        pictures = Pictures(size, self.inputs.image, self.clip_image, frames)
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
            if dynamic_tokens is not None and part.tokens is not None:
                dynamic_tokens[rows] = part.tokens.read(places.steps)
            offsets = part.offsets[:frames]
            clips = clip_rows(places.steps, places.firsts, places.lasts, offsets).tolist()
            for nth, row in enumerate(rows.tolist()):
                prompts[row] = self._prompt(part, int(places.episodes[nth]))
                pictures.take(row, part, int(places.steps[nth]), clips[nth])
        augment = self.data.augment
        changing = augment != augment.still() or self.inputs.image.crop < 1
        images, all_clips = pictures.finish(looks, changing=changing, with_clips=augment.clip)
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
            dynamic_tokens=None if dynamic_tokens is None else torch.from_numpy(dynamic_tokens),
        )

    def _actions(self, part: Part, places: Places, mirrored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        taken, mask = take_chunks(
            part.actions, places.steps, places.lasts, self.inputs.action.chunk, part.relative
        )
        return normalize(mirror_rows(taken, MIRRORED_ACTION, mirrored), part.statistics.action), mask

    def _states(self, part: Part, places: Places, mirrored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dataset, recorded = part.index.dataset, part.index.proprio
        pose = mirror_rows(pose_of(dataset, recorded[places.steps]), MIRRORED_ACTION, mirrored)
        rows = waypoint_rows(part.events, places.steps, places.lasts)
        points = mirror_rows(recorded[rows][..., XYZ], MIRRORED_POSITION, mirrored)
        waypoints = np.where(rows[..., None] < 0, np.float32(np.nan), normalize(points, part.pose, XYZ))
        return normalize(pose, part.pose), waypoints

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
        part.reader.expect(part.index.frames[[step, *clip]])
        for nth, frame in enumerate(clip):
            target = self.clip_pixels[row, nth]
            if frame in filled:  # beyond the episode's ends frames repeat
                target[:] = self.clip_pixels[row, filled[frame]]
                continue
            pixels = decode_frame(part, frame, target)
            if pixels is not target:
                target[:] = resize(pixels, self.clip)
            filled[frame] = nth
            if frame == step:
                now = pixels
        now = decode_frame(part, step) if now is None else now
        self.image_pixels[row] = resize(now, self.image).transpose(2, 0, 1)

    def finish(
        self, looks: Sequence[Look], *, changing: bool, with_clips: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images uint8 [B, 3, S, S] and clips [B, T, 3, C, C], each row with its look, the clips only
        `with_clips`. Unless looks may be `changing` anything, clips have the channels last in memory: copying
        them costs as much as decoding a frame."""
        images, clips = self.image_pixels, self.clip_pixels.transpose(0, 1, 4, 2, 3)
        if changing:
            if with_clips:
                clips = np.ascontiguousarray(clips)  # rows of pixels change far faster than pixels of three
            for stack in (images, clips) if with_clips else (images,):
                for row, look in enumerate(looks):
                    if look.moves:
                        stack[row] = look.place(stack[row])
                    if look.crops or look.recolours:
                        stack[row] = look.restyle(stack[row])
        return torch.from_numpy(images), torch.from_numpy(clips)


def decode_frame(part: Part, row: int, into: np.ndarray | None = None) -> np.ndarray:
    """uint8 [H, W, 3]: the image of one row, in `into` where it fits (see decode_image)."""
    file, offset, length = part.index.frames[row].tolist()
    try:
        found = part.reader.read(file, offset, length)
        return decode_image(found, into) if isinstance(found, bytes) else found
    except StairError as error:
        kind = part.index.storage.kind
        if kind == "video":
            raise  # names file and frame already
        place = f"{part.index.files[file]}: image at {'byte' if kind == 'bytes' else 'row'} {offset}"
        raise StairError(f"{place}: {error.what}", hint=error.hint) from None
