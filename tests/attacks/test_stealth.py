"""The figures of stealth, by their formulas."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from PIL import Image as PilImage

from pcvr.attacks import (
    changed,
    linf,
    measure_stealth,
    psnr,
    ssim,
)
from pcvr.errors import PcvrError
from tests.pictures import noise


class TestStealth:
    def test_identical(self) -> None:
        image = noise(9, 9, 3)
        figures = measure_stealth(image, image.copy())
        assert (figures.psnr, figures.ssim, figures.linf) == (math.inf, 1.0, 0)
        assert not changed(image, image).any()

    def test_psnr_by_its_formula(self) -> None:
        first, second = noise(13, 17, 3), noise(13, 17, 3, seed=1)
        error = np.mean((first.astype(float) - second.astype(float)) ** 2)
        assert psnr(first, second) == pytest.approx(10 * math.log10(255**2 / error))

    def test_ssim_by_its_formula(self) -> None:
        """Wang et al. 2004, equation 13, over every full 7 x 7 window, with sample (n - 1) variances."""
        first, second = noise(11, 9, 3), noise(11, 9, 3, seed=1)
        values = []
        for row, column, channel in product(range(5), range(3), range(3)):
            a = first[row : row + 7, column : column + 7, channel].astype(float).ravel()
            b = second[row : row + 7, column : column + 7, channel].astype(float).ravel()
            (va, cov), (_, vb) = np.cov(a, b)
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            ma, mb = a.mean(), b.mean()
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
        assert ssim(first, second) == pytest.approx(np.mean(values))

    def test_small_pictures_get_a_smaller_window(self) -> None:
        for side in range(3, 9):
            assert -1 <= ssim(noise(side, 20, 3), noise(side, 20, 3, seed=1)) < 1
        with pytest.raises(PcvrError, match="at least 3 px"):
            ssim(noise(2, 20, 3), noise(2, 20, 3, seed=1))

    def test_differences_do_not_wrap(self) -> None:
        dark, bright = np.full((4, 4, 3), 3, np.uint8), np.full((4, 4, 3), 250, np.uint8)
        assert linf(dark, bright) == linf(bright, dark) == 247
        assert (changed(bright, dark) == 255).all()
        assert (changed(dark, dark + np.uint8(5)) == 40).all()
        assert (changed(dark, dark + np.uint8(5), gain=0.5) == 2).all()

    def test_pil_and_bad_input(self) -> None:
        image = noise(8, 8, 3)
        assert linf(PilImage.fromarray(image), image) == 0
        with pytest.raises(PcvrError, match="equal sizes"):
            psnr(image, image[:7])
        with pytest.raises(PcvrError, match="uint8"):
            psnr(image, image.astype(float))
        with pytest.raises(PcvrError, match="gain is 0"):
            changed(image, image, gain=0)
