// Runs the kernels of this folder on a CPU, for the tests: one fiber per CUDA thread, blocks one
// after the other. Barriers and shuffles hand control to the next fiber; `order` picks who goes
// first, so that a missing barrier shows as a result that depends on it. A barrier that not all
// threads reach aborts.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __shared__ static
#define EACH
#define ONCE

struct Dim {
    unsigned x, y, z;
};
static Dim threadIdx, blockIdx, blockDim, gridDim;
using std::min;

namespace shim {

enum Wait { READY, AT_WARP, AT_BLOCK, DONE };

struct Fiber {
    ucontext_t context;
    jmp_buf place;
    bool started = false;
    Wait wait = READY;
    std::vector<char> stack = std::vector<char>(1 << 16);
};

static std::vector<Fiber> fibers;
static jmp_buf scheduler;
static std::function<void()> body;
static float exchange[1024];
static unsigned seed;

static unsigned next_random() { return seed = seed * 1664525u + 1013904223u; }

static void finish() {
    body();
    fibers[threadIdx.x].wait = DONE;
    _longjmp(scheduler, 1);
}

static void pause(Wait wait) {
    unsigned self = threadIdx.x;
    fibers[self].wait = wait;
    if (!_setjmp(fibers[self].place)) _longjmp(scheduler, 1);
    threadIdx.x = self;
}

static void resume(unsigned thread) {
    Fiber& fiber = fibers[thread];
    threadIdx.x = thread;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, finish, 0);
    setcontext(&fiber.context);
}

// Let the fibers of [first, last) go on if all that are alive wait at `wait`.
static bool release(unsigned first, unsigned last, Wait wait) {
    bool any = false;
    for (unsigned t = first; t < last; ++t) {
        if (fibers[t].wait == DONE) continue;
        if (fibers[t].wait != wait) return false;
        any = true;
    }
    for (unsigned t = first; t < last; ++t)
        if (fibers[t].wait == wait) fibers[t].wait = READY;
    return any;
}

static void run_block(unsigned threads) {
    fibers.resize(threads);
    for (auto& fiber : fibers) fiber.started = false, fiber.wait = READY;
    std::vector<unsigned> order(threads);
    for (unsigned t = 0; t < threads; ++t) order[t] = t;
    for (;;) {
        for (unsigned t = threads - 1; seed && t > 0; --t)
            std::swap(order[t], order[next_random() % (t + 1)]);
        for (unsigned t : order)
            if (fibers[t].wait == READY) resume(t);
        bool moved = false, alive = false;
        for (unsigned t = 0; t < threads; t += 32) moved |= release(t, t + 32, AT_WARP);
        if (!moved) moved = release(0, threads, AT_BLOCK);
        for (auto& fiber : fibers) alive |= fiber.wait != DONE;
        if (!alive) return;
        if (!moved) std::fprintf(stderr, "a barrier is not reached by all threads\n"), std::abort();
    }
}

template <typename Kernel>
static void launch(long long blocks, unsigned threads, unsigned order, Kernel kernel) {
    seed = order;
    blockDim = {threads, 1, 1};
    gridDim = {(unsigned)blocks, 1, 1};
    body = kernel;
    for (long long block = 0; block < blocks; ++block) {
        blockIdx = {(unsigned)block, 0, 0};
        run_block(threads);
    }
}

}  // namespace shim

static inline void __syncthreads() { shim::pause(shim::AT_BLOCK); }
static inline void __syncwarp() { shim::pause(shim::AT_WARP); }

static inline float __shfl_xor_sync(unsigned, float value, int lane) {
    shim::exchange[threadIdx.x] = value;
    shim::pause(shim::AT_WARP);
    float other = shim::exchange[threadIdx.x ^ lane];
    shim::pause(shim::AT_WARP);
    return other;
}

static inline int atomicMin(int* at, int value) {
    int before = *at;
    *at = std::min(before, value);
    return before;
}

static inline int atomicAdd(int* at, int value) {
    int before = *at;
    *at = before + value;
    return before;
}

static inline int atomicMax(int* at, int value) {
    int before = *at;
    *at = std::max(before, value);
    return before;
}

static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
