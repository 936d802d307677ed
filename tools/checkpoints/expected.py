"""The model that a checkpoint is held against, named on the command line.

Takes `full`, `small`, a recipe's name, or a YAML file (a recipe, a run's config.yaml, a model folder's
config.yaml), hands on the configuration of that model.
"""

from __future__ import annotations

from stair import settings
from stair.errors import UsageError
from stair.models.saved import SavedConfig
from stair.submit.recipe import HOME, read_recipe
from stair.train.config import TrainConfig


def expected_model(word: str) -> SavedConfig:
    """Raises UsageError for a name or file that holds no model."""
    if word == "full":
        return SavedConfig()
    tree = settings.read_yaml(HOME / "small.yaml") if word == "small" else read_recipe(word)
    if "train" in tree:
        train = settings.build(TrainConfig, tree["train"], where=f"{word}: train")
    elif "step" in tree and "stage" in tree:
        return settings.build(SavedConfig, tree, where=word)
    elif "stage" in tree:
        train = settings.build(TrainConfig, tree, where=word)
    else:
        raise UsageError(
            f"{word} describes no model",
            hint="full, small, a training recipe, or the config.yaml of a run or model folder",
        )
    return SavedConfig(train.stage, train.model, train.inputs)
