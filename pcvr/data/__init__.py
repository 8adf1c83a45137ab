"""Data sets: the embedded scenes, photographs in the usual formats, and tables."""

from pcvr.data.coco import CocoCaptions
from pcvr.data.export import save_data
from pcvr.data.flickr import Flickr30k, FlickrAnnotations
from pcvr.data.karpathy import Karpathy
from pcvr.data.llava_json import LlavaJson
from pcvr.data.open import check_data, open_data
from pcvr.data.photographs import Photographs
from pcvr.data.pictures import read_picture, rgb_array
from pcvr.data.report import BadData, Problem, Report
from pcvr.data.sample import Dataset, Image, Sample
from pcvr.data.subset import Subset, subset
from pcvr.data.vqav2 import VQAv2

__all__ = [
    "BadData",
    "CocoCaptions",
    "Dataset",
    "Flickr30k",
    "FlickrAnnotations",
    "Image",
    "Karpathy",
    "LlavaJson",
    "Photographs",
    "Problem",
    "Report",
    "Sample",
    "Subset",
    "VQAv2",
    "check_data",
    "open_data",
    "read_picture",
    "rgb_array",
    "save_data",
    "subset",
]
