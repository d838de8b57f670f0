"""Load cubins and launch kernels with the CUDA driver, through ctypes, on torch's stream."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import ClassVar

import torch

from traces.errors import DistillError

SHARED_SIZE_BYTES, MAX_DYNAMIC_SHARED_SIZE_BYTES = 1, 8  # CUfunction_attribute
MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97  # CUdevice_attribute
CLUSTER_DIMENSION = 4  # CUlaunchAttributeID


class LaunchAttribute(ctypes.Structure):
    """`CUlaunchAttribute` of `cuda.h`; its value is a union of 64 bytes, here a cluster's shape."""

    _fields_: ClassVar = [
        ("id", ctypes.c_int),
        ("pad", ctypes.c_char * 4),
        ("shape", ctypes.c_uint * 3),
        ("rest", ctypes.c_char * 52),
    ]


class LaunchConfig(ctypes.Structure):
    """`CUlaunchConfig` of `cuda.h`."""

    _fields_: ClassVar = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(LaunchAttribute)),
        ("count", ctypes.c_uint),
    ]


class Kernel:
    """One kernel of a cubin, loaded into the current device's context.

    Keep it alive as long as it may run; the module is not unloaded.
    """

    def __init__(self, cubin: bytes, name: str) -> None:
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        torch.cuda.current_stream().synchronize()  # makes torch's context current
        _call("cuModuleLoadData", ctypes.byref(self._module), cubin)
        _call("cuModuleGetFunction", ctypes.byref(self._function), self._module, name.encode())

    def launch(self, args: ctypes.Structure, blocks: int, threads: int, shared: int = 0) -> None:
        """Queue `blocks` blocks of `threads` threads with the struct `args` as only parameter.

        Each has `shared` bytes of dynamic shared memory, as far as `allow_shared` said. A kernel
        that is compiled for clusters is launched in them.
        """
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(args))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        shape = (blocks, 1, 1, threads, 1, 1)
        _call("cuLaunchKernel", self._function, *shape, shared, stream, parameters, None)

    def allow_shared(self) -> int:
        """Allow all dynamic shared memory that a block of the current device can have, in bytes."""
        device, most, own = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        _call("cuCtxGetDevice", ctypes.byref(device))
        _call("cuDeviceGetAttribute", ctypes.byref(most), MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device)
        _call("cuFuncGetAttribute", ctypes.byref(own), SHARED_SIZE_BYTES, self._function)
        room = most.value - own.value
        _call("cuFuncSetAttribute", self._function, MAX_DYNAMIC_SHARED_SIZE_BYTES, room)
        return room

    def active_clusters(self, cluster: int, threads: int, shared: int) -> int:
        """How many clusters of `cluster` blocks the current device can hold at once."""
        attribute = LaunchAttribute(id=CLUSTER_DIMENSION, shape=(cluster, 1, 1))
        config = LaunchConfig(
            grid=(cluster, 1, 1),
            block=(threads, 1, 1),
            shared=shared,
            attributes=ctypes.pointer(attribute),
            count=1,
        )
        count = ctypes.c_int()
        _call(
            "cuOccupancyMaxActiveClusters",
            ctypes.byref(count),
            self._function,
            ctypes.byref(config),
        )
        return count.value


@cache
def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DistillError(f"the CUDA driver cannot be loaded: {error}") from error


def _call(name: str, *args: object) -> None:
    """Call the driver.

    Raises:
        DistillError: it says no; the message names the call and the driver's error.
    """
    lib = _library()
    code = getattr(lib, name)(*args)
    if code:
        text = ctypes.c_char_p()
        lib.cuGetErrorString(code, ctypes.byref(text))
        raise DistillError(f"{name} failed: {(text.value or b'unknown').decode()} ({code})")
