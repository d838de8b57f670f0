"""Elementary functions and the divergences' table for Triton kernels, in fp32.

Triton's own language has no expm1, log1p or tanh on every backend; these are series near 0, where
the plain forms lose their digits, and those elsewhere.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def expm1(x):
    """exp(x) - 1: Taylor's series to x^8 below 0.35, where the next term is under 3e-10."""
    near = tl.where(tl.abs(x) < 0.35, x, 0.0)
    p = 1.0 + near * (1 / 8)
    p = 1.0 + near * p * (1 / 7)
    p = 1.0 + near * p * (1 / 6)
    p = 1.0 + near * p * (1 / 5)
    p = 1.0 + near * p * (1 / 4)
    p = 1.0 + near * p * (1 / 3)
    p = 1.0 + near * p * (1 / 2)
    return tl.where(tl.abs(x) < 0.35, near * p, tl.exp(x) - 1.0)


@triton.jit
def log1p(y):
    """log(1 + y): 2 artanh(y / (2 + y)) below 0.35, log(1 + y) elsewhere."""
    near = tl.where(tl.abs(y) < 0.35, y, 0.0)
    s = near / (2.0 + near)
    t = s * s
    p = 1 / 9 + t * (1 / 11 + t * (1 / 13))
    p = 1.0 + t * (1 / 3 + t * (1 / 5 + t * (1 / 7 + t * p)))
    return tl.where(tl.abs(y) < 0.35, 2.0 * s * p, tl.log(1.0 + y))


@triton.jit
def tanh(x):
    """Through expm1(2 |x|), with |x| held below 20, where it is 1."""
    e = expm1(2.0 * tl.minimum(tl.abs(x), 20.0))
    return tl.where(x < 0, -e / (e + 2.0), e / (e + 2.0))


@triton.jit
def _log_mixture(share, d):
    return log1p(share * expm1(d))


@triton.jit
def bucket(log_q, log_s, share, KIND: tl.constexpr):
    """Terms of the loss and D = dl / dlog S per column: `divergence` in Triton.

    `KIND` counts as in `common.cuh`: forward KL 1, reverse KL 2, JSD 3, skew KL 4, its reverse 5.
    """
    q = tl.exp(log_q)
    s = tl.exp(log_s)
    d = tl.where((q == 0.0) & (s == 0.0), 0.0, log_q - log_s)
    if KIND == 1:
        return tl.where(q > 0.0, q * d, 0.0), -q
    if KIND == 2:
        term = tl.where(s > 0.0, -s * d, 0.0)
        return term, term + s
    d = tl.minimum(tl.maximum(d, -80.0), 80.0)
    if KIND == 5:
        r = -_log_mixture(1.0 - share, d)
        return s * r, s * (r + 1.0 - share * tl.exp(r))
    from_s = _log_mixture(share, d)
    from_q = _log_mixture(1.0 - share, -d)
    if KIND == 4:
        return -q * from_q, (share - 1.0) * q * tl.exp(-from_s)
    slope = (share - 1.0) * s * from_s
    return slope - share * q * from_q, slope
