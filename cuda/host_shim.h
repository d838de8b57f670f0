// Runs the kernels of this folder on a CPU, for the tests: one fiber per CUDA thread, blocks one
// after the other, or the blocks of a cluster in turns. Barriers and shuffles hand control to the
// next fiber; `order` picks who goes first, so that a missing barrier shows as a result that depends
// on it. A barrier that not all threads reach aborts.
//
// Shared variables are the library's thread-local ones (nothing else here is): while a block of a
// cluster waits for another one they lie in its `shared`, which is what its siblings then see of it,
// and NaNs once the block is done.
#pragma once

#include <link.h>
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
#define __cluster_dims__(...)
#define __shared__ static thread_local
#define DYNAMIC_SHARED shim::dynamic_shared()
#define EACH
#define ONCE

struct Dim {
    unsigned x, y, z;
};
static Dim threadIdx, blockIdx, blockDim, gridDim;
using std::min;

namespace shim {

enum Wait { READY, AT_WARP, AT_BLOCK, AT_CLUSTER, DONE };

struct Fiber {
    ucontext_t context;
    jmp_buf place;
    bool started = false, arrived = false, waits = false;  // of the cluster's barrier
    Wait wait = READY;
    std::vector<char> stack = std::vector<char>(1 << 16);
};

static const int GUARD = 4;  // numbers behind the dynamic shared memory that stay NaN

struct Block {
    std::vector<Fiber> fibers;
    std::vector<char> shared;
    std::vector<float> dynamic;  // 16-byte aligned, as malloc's blocks are
};

static std::vector<Block> blocks;  // of the cluster that runs, or the only one
static unsigned rank;              // of the block that runs
static unsigned arrivals, members;
static jmp_buf scheduler;
static std::function<void()> body;
static float exchange[1024];
static unsigned seed;

static void fail(const char* what) { std::fprintf(stderr, "%s\n", what), std::abort(); }

static unsigned next_random() { return seed = seed * 1664525u + 1013904223u; }

static std::vector<unsigned> in_order(unsigned count) {
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; ++i) order[i] = i;
    return order;
}

static void shuffle(std::vector<unsigned>& order) {
    for (unsigned i = order.size() - 1; seed && i > 0; --i)
        std::swap(order[i], order[next_random() % (i + 1)]);
}

static Fiber& self() { return blocks[rank].fibers[threadIdx.x]; }

static void* dynamic_shared() { return blocks[rank].dynamic.data(); }

// Where the library's thread-local variables lie, and how many bytes they take.
struct Range {
    char* start;
    size_t size;
};
static Range live;

static int find_live(dl_phdr_info* info, size_t, void*) {
    bool ours = false;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& part = info->dlpi_phdr[i];
        auto here = (ElfW(Addr))&live, start = info->dlpi_addr + part.p_vaddr;
        ours |= part.p_type == PT_LOAD && here >= start && here < start + part.p_memsz;
    }
    for (int i = 0; ours && i < info->dlpi_phnum; ++i)
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            live = {(char*)info->dlpi_tls_data, info->dlpi_phdr[i].p_memsz};
    return ours;
}

static void locate_shared_variables() {
    static thread_local volatile char first_use;  // they are made when one of them is touched
    first_use = 0;
    (void)first_use;
    dl_iterate_phdr(find_live, nullptr);
    if (!live.start) fail("the shared variables are not found");
}

// The address in a sibling of the shared variable at `local`.
static void* map_shared(void* local, unsigned sibling) {
    size_t offset = (char*)local - live.start;
    if (offset >= live.size || sibling >= blocks.size()) fail("not a sibling's shared memory");
    return sibling == rank ? local : blocks[sibling].shared.data() + offset;
}

static void finish() {
    body();
    self().wait = DONE;
    _longjmp(scheduler, 1);
}

static void pause(Wait wait) {
    unsigned thread = threadIdx.x;
    self().wait = wait;
    if (!_setjmp(self().place)) _longjmp(scheduler, 1);
    threadIdx.x = thread;
}

static void resume(unsigned thread) {
    threadIdx.x = thread;
    Fiber& fiber = self();
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
    auto& fibers = blocks[rank].fibers;
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

// Run the current block as far as it comes without its siblings; whether it moved at all.
static bool run_block(unsigned threads) {
    auto order = in_order(threads);
    for (bool first = true;; first = false) {
        bool moved = false;
        shuffle(order);
        for (unsigned t : order) {
            if (blocks[rank].fibers[t].wait != READY) continue;
            moved = true;
            resume(t);
        }
        for (unsigned t = 0; t < threads; t += 32) moved |= release(t, t + 32, AT_WARP);
        if (!moved) moved = release(0, threads, AT_BLOCK);
        if (!moved) return !first;
    }
}

static bool done(const Block& block) {
    for (auto& fiber : block.fibers)
        if (fiber.wait != DONE) return false;
    return true;
}

// The blocks from `first` on, as many as a cluster has.
static void run_cluster(long long first, unsigned threads) {
    for (auto& block : blocks) {
        for (auto& fiber : block.fibers) {
            fiber.started = fiber.arrived = fiber.waits = false;
            fiber.wait = READY;
        }
        block.shared.assign(live.start, live.start + live.size);
    }
    arrivals = 0;
    members = threads * blocks.size();
    auto order = in_order(blocks.size());
    for (bool alive = true; alive;) {
        bool moved = false;
        alive = false;
        shuffle(order);
        for (unsigned index : order) {
            Block& block = blocks[rank = index];
            if (done(block)) continue;
            blockIdx = {(unsigned)(first + rank), 0, 0};
            std::copy(block.shared.begin(), block.shared.end(), live.start);
            moved |= run_block(threads);
            block.shared.assign(live.start, live.start + live.size);
            if (done(block)) std::fill(block.shared.begin(), block.shared.end(), (char)0xff);
            else alive = true;
        }
        if (alive && !moved) fail("a barrier is not reached by all threads");
    }
}

template <typename Kernel>
static void launch(long long count, unsigned threads, unsigned order, Kernel kernel,
                   unsigned cluster = 1, size_t dynamic_bytes = 0) {
    seed = order;
    blockDim = {threads, 1, 1};
    gridDim = {(unsigned)count, 1, 1};
    body = kernel;
    locate_shared_variables();
    blocks.resize(cluster);
    for (auto& block : blocks) {
        block.fibers.resize(threads);
        block.dynamic.assign(dynamic_bytes / sizeof(float) + GUARD, NAN);
    }
    for (long long block = 0; block < count; block += cluster) run_cluster(block, threads);
    for (auto& block : blocks)
        for (size_t i = block.dynamic.size() - GUARD; i < block.dynamic.size(); ++i)
            if (!std::isnan(block.dynamic[i])) fail("a write beyond the dynamic shared memory");
}

}  // namespace shim

static inline void __syncthreads() { shim::pause(shim::AT_BLOCK); }
static inline void __syncwarp() { shim::pause(shim::AT_WARP); }

static inline void __cluster_barrier_arrive() {
    if (shim::self().waits) shim::fail("a cluster barrier is reached twice without a wait");
    shim::self().arrived = shim::self().waits = true;
    if (++shim::arrivals < shim::members) return;
    shim::arrivals = 0;
    for (auto& block : shim::blocks)
        for (auto& fiber : block.fibers) {
            fiber.arrived = false;
            if (fiber.wait == shim::AT_CLUSTER) fiber.wait = shim::READY;
        }
}

static inline void __cluster_barrier_wait() {
    if (!shim::self().waits) shim::fail("a cluster barrier is waited for before it is reached");
    shim::self().waits = false;
    if (shim::self().arrived) shim::pause(shim::AT_CLUSTER);
}

static inline void* __cluster_map_shared_rank(void* local, unsigned sibling) {
    return shim::map_shared(local, sibling);
}

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
