"""What the compiled loops do with many bytes at once: LLVM vector code for any processor.

numba reads arrays one element at a time; these few functions read eight or sixty-four bytes. Arrays
are u8 and contiguous; nothing is checked, so a caller leaves room behind the last place it asks
for (`PADDING` bytes).
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BLOCK = 64
PADDING = 2 * BLOCK
_BYTES = ir.VectorType(ir.IntType(8), BLOCK)
_MASKS = types.UniTuple(types.uint64, 5)


def kernel(function: Any) -> Any:
    """Compile `function` when it is first called, once per machine where a folder can be written.

    numba keeps the result beside the source or in the user's cache folder.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder can be written: compile in each process
        return numba.njit(nogil=True)(function)


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_BYTES, [ir.Constant(ir.IntType(8), value)] * BLOCK)


def _pointer(context: Any, builder: Any, kind: Any, given: Any, target: Any) -> Any:
    array, index = given
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


def _between(builder: Any, value: Any, first: int, count: int) -> Any:
    moved = builder.sub(value, _constant(first))
    return builder.icmp_unsigned("<", moved, _constant(count))


def _is_space(builder: Any, value: Any) -> Any:
    return builder.or_(_between(builder, value, 9, 5), _between(builder, value, 28, 5))


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, index: Any) -> Any:
    """The eight bytes of `array` from `index` on, the first one lowest, as u64."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        where = _pointer(context, builder, signature.args[0], given, ir.IntType(64))
        return builder.load(where, align=1)

    return types.uint64(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def classify(typing: Any, array: Any, index: Any) -> Any:
    """Which of the 64 bytes from `index` on are ASCII letters, digits, white space, dots, no ASCII.

    Five u64, the first byte's bit lowest.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        value = builder.load(_pointer(context, builder, signature.args[0], given, _BYTES), align=1)
        found = (
            _between(builder, builder.or_(value, _constant(32)), 97, 26),
            _between(builder, value, 48, 10),
            _is_space(builder, value),
            _between(builder, value, 46, 1),
            builder.icmp_signed("<", value, _constant(0)),
        )
        bits = [builder.bitcast(mask, ir.IntType(BLOCK)) for mask in found]
        return context.make_tuple(builder, signature.return_type, bits)

    return _MASKS(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def space_block(typing: Any, source: Any, index: Any, target: Any, place: Any) -> Any:
    """Copy 64 bytes of `source` to `target`, ASCII white space as plain spaces."""

    def change(builder: Any, value: Any) -> Any:
        return builder.select(_is_space(builder, value), _constant(32), value)

    return types.void(source, types.intp, target, types.intp), _copy(change)


@intrinsic  # type: ignore[untyped-decorator]
def lower_block(typing: Any, source: Any, index: Any, target: Any, place: Any) -> Any:
    """Copy 64 bytes of `source` to `target`, ASCII letters as small ones."""

    def change(builder: Any, value: Any) -> Any:
        small = builder.or_(value, _constant(32))
        return builder.select(_between(builder, small, 97, 26), small, value)

    return types.void(source, types.intp, target, types.intp), _copy(change)


def _copy(change: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        start = _pointer(context, builder, signature.args[0], given[:2], _BYTES)
        end = _pointer(context, builder, signature.args[2], given[2:], _BYTES)
        builder.store(change(builder, builder.load(start, align=1)), end, align=1)
        return context.get_dummy_value()

    return generate


@intrinsic  # type: ignore[untyped-decorator]
def equal_block(typing: Any, array: Any, index: Any, byte: Any) -> Any:
    """Which of the 64 bytes from `index` on are `byte`, u64, the first one's bit lowest."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        where = _pointer(context, builder, signature.args[0], given[:2], _BYTES)
        one = builder.insert_element(_constant(0), given[2], ir.Constant(ir.IntType(32), 0))
        every = builder.shuffle_vector(
            one, one, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
        )
        same = builder.icmp_unsigned("==", builder.load(where, align=1), every)
        return builder.bitcast(same, ir.IntType(BLOCK))

    return types.uint64(array, types.intp, types.uint8), generate


@intrinsic  # type: ignore[untyped-decorator]
def last_bit(typing: Any, bits: Any) -> Any:
    """The place of the highest bit of a u64 that is set, i64; of 0 it is -1."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        above = builder.ctlz(given[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(BLOCK), BLOCK - 1), above)

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def first_bit(typing: Any, bits: Any) -> Any:
    """The place of the lowest bit of a u64 that is set, i64; of 0 it is 64."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def count_bits(typing: Any, bits: Any) -> Any:
    """How many bits of a u64 are set, i64."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.ctpop(given[0])

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def fold(typing: Any, one: Any, other: Any) -> Any:
    """The upper half of the 128-bit product of two u64, exclusive or the lower half."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(value, wide) for value in given))
        upper = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        return builder.xor(upper, builder.trunc(product, word))

    return types.uint64(types.uint64, types.uint64), generate
