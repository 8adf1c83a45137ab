"""Captioning: describe the image; several references an image (five in COCO, Flickr30k and the scenes)."""

from __future__ import annotations

from pcvr.tasks.base import Scene, Task, Turn, register_task

PROMPT = "describe the image."


def _of_scene(scene: Scene, index: int) -> Turn:
    references = scene.captions()
    return PROMPT, references[index % len(references)], references


register_task(
    Task(
        name="caption",
        about="describe the image; BLEU-4, CIDEr, ROUGE-L, and for scenes whether every object is named correctly",
        prompt=PROMPT,
        target="a photo of the banana",
        success="contains",
        metrics=("bleu4", "cider", "rouge_l", "attributes", "attribute_recall"),
        right="attributes",
        max_new_tokens=40,
        of_scene=_of_scene,
    )
)
