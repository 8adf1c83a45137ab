"""The harness itself: in a real JupyterLab page a slider moves and a picture changes."""

import sys

import nbformat
from playwright.sync_api import expect

from tests.browser.driver import open_notebook, picture, run_all, screenshot, set_slider, source_of, wait_for_change

CALLBACK = '''
import io

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython.display import display


def draw(height: int) -> bytes:
    """A bar of that height, as PNG."""
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.bar([0], [height])
    axes.set_ylim(0, 10)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    plt.close(figure)
    return out.getvalue()
'''
IMAGE = """
image = widgets.Image(value=draw(2), format="png")
height = widgets.IntSlider(value=2, min=0, max=10, description="Height", continuous_update=False)
height.observe(lambda change: setattr(image, "value", draw(change["new"])), "value")
display(widgets.VBox([height, image]))
"""
INTERPRETER = f"""
import sys

assert sys.executable == {sys.executable!r}
"""
OUTPUT = """
from IPython.display import Image, clear_output

out = widgets.Output()
width = widgets.IntSlider(value=3, min=0, max=10, description="Width", continuous_update=False)


def redraw(change: object = None) -> None:
    with out:
        clear_output(wait=True)
        display(Image(draw(width.value)))


width.observe(redraw, "value")
redraw()
display(width, out)
"""


def demo(path, cells):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source.strip()) for source in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}},
    )
    nbformat.write(notebook, path)
    return path


def test_a_slider_changes_an_image_widget(page, lab, tmp_path):
    open_notebook(page, lab, lab.add(demo(tmp_path / "image.ipynb", [CALLBACK, IMAGE, INTERPRETER])))
    run_all(page)
    image = picture(page)
    before = source_of(image)
    set_slider(page, "Height", 9)
    wait_for_change(image, before)
    expect(page.get_by_text("Jupyter news")).to_have_count(0)
    assert screenshot(page, "harness").exists()


def test_a_slider_changes_a_picture_in_an_output_widget(page, lab, tmp_path):
    open_notebook(page, lab, lab.add(demo(tmp_path / "output.ipynb", [CALLBACK, OUTPUT])))
    run_all(page)
    before = source_of(picture(page))
    set_slider(page, "Width", 8)
    wait_for_change(picture(page), before)
