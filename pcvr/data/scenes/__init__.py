"""The embedded data set ``scenes``: images drawn by code, so that all facts about them are known."""

from pcvr.data.scenes.attributes import attribute_recall, attributes_right
from pcvr.data.scenes.dataset import Scenes
from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.language import WORDS
from pcvr.data.scenes.scene import Scene
from pcvr.data.scenes.sprites import SIZE_PX

__all__ = ["COLORS", "KINDS", "SIZE_PX", "WORDS", "Scene", "Scenes", "attribute_recall", "attributes_right"]
