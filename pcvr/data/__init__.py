"""Samples and where they come from: the embedded scenes, or photographs with a LLaVA-style JSON."""

from pcvr.data.llava_json import LlavaJson
from pcvr.data.open import open_data
from pcvr.data.pictures import read_picture, rgb_array
from pcvr.data.sample import Dataset, Image, Sample
from pcvr.data.subset import Subset, subset

__all__ = ["Dataset", "Image", "LlavaJson", "Sample", "Subset", "open_data", "read_picture", "rgb_array", "subset"]
