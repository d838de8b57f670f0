// One row per block, forward only: the target's logprob, the entropy, the k largest columns with
// their logprobs, the log of the mass outside them, and logsumexps at other temperatures. One sweep.
//
// Contract
//   tile         [rows, stride] raw logits, float, read only
//   targets      [rows] int64, negative for none
//   temperatures [COUNT] in the arguments, each above 0
//   target, entropy, log_tail [rows] float, out; target is NaN where there is none
//   ids          [rows, k] int64, logprobs [rows, k] float, out, sorted downwards, of equal logits
//                the lower column first; 0 <= k <= 128 and k <= vocab
//   lse          [rows, COUNT] float, out: logsumexp(u / temperature)
//   grid         rows blocks on x; threads a multiple of 32, at most 512
//   alignment    tile and 4 * stride are multiples of 16 bytes; offsets are 64-bit
//
// The k largest: columns above the k-th largest so far are put into a pool in shared memory. Before
// a stretch could overflow it, it is sorted and all but k are let go. Every column that is not among
// the k in the end was let go once, there or by the comparison, and added to the sums of the rest at
// that moment: the tail is a sum of its own terms, not a difference from 1. What a stretch adds to
// the pool depends on the threshold before it alone, and the sort orders it: the same bits each time.
// Entropy: log(sum e^(u - M)) - sum e^(u - M) (u - M) / sum e^(u - M), all terms of one sign.
#include "common.cuh"

#define POOL 4096
#define MOST_TEMPERATURES 4
#define MAX_K 128

struct ScoreArgs {
    const float* tile;
    const long long* targets;
    float* target;
    float* entropy;
    float* log_tail;
    long long* ids;
    float* logprobs;
    float* lse;
    long long stride;
    int vocab, k;
    float softcap, scale;
    float temperatures[MOST_TEMPERATURES];
};

// Over some columns: the largest u, sum of e^(u - top), of e^(u - top) (u - top), and for each
// temperature of e^((u - top) / t).
template <int COUNT>
struct ScoreSums {
    float top, total, spread;
    float warm[COUNT];
};

typedef unsigned long long Key;

// Larger u first, then the lower column: keys in descending order.
__device__ inline Key key_of(float u, int column) {
    unsigned bits = __float_as_uint(u);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (Key)bits << 32 | (unsigned)~column;
}

__device__ inline int column_of(Key key) { return (int)~(unsigned)key; }

__device__ inline float logit_of(Key key) {
    unsigned bits = (unsigned)(key >> 32);
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

template <int COUNT>
__device__ inline void clear(ScoreSums<COUNT>& sums) {
    sums.top = NEG_INF;
    sums.total = sums.spread = 0.0f;
    EACH
    for (int t = 0; t < COUNT; ++t) sums.warm[t] = 0.0f;
}

// Move the sums up to a larger top.
template <int COUNT>
__device__ inline void raise(ScoreSums<COUNT>& sums, float top, const float (&factors)[COUNT]) {
    float down = sums.top - top;
    if (sums.top != NEG_INF && down != 0.0f) {
        float e = expf(down);
        sums.spread = e * (sums.spread + down * sums.total);
        sums.total *= e;
        EACH
        for (int t = 0; t < COUNT; ++t) sums.warm[t] *= exp2f(factors[t] * down);
    }
    sums.top = top;
}

template <int COUNT>
__device__ inline void add(ScoreSums<COUNT>& sums, float u, const float (&factors)[COUNT]) {
    if (u == NEG_INF) return;
    if (u > sums.top) raise(sums, u, factors);
    float down = u - sums.top, e = expf(down);
    sums.total += e;
    sums.spread += e * down;
    EACH
    for (int t = 0; t < COUNT; ++t) sums.warm[t] += exp2f(factors[t] * down);
}

template <int COUNT>
__device__ inline ScoreSums<COUNT> join(ScoreSums<COUNT> a, ScoreSums<COUNT> b,
                                        const float (&factors)[COUNT]) {
    if (a.top == NEG_INF) return b;
    if (b.top == NEG_INF) return a;
    float top = fmaxf(a.top, b.top);
    raise(a, top, factors);
    raise(b, top, factors);
    a.total += b.total;
    a.spread += b.spread;
    EACH
    for (int t = 0; t < COUNT; ++t) a.warm[t] += b.warm[t];
    return a;
}

// The sums of all threads, valid in the first one.
template <int COUNT>
__device__ ScoreSums<COUNT> block_join(ScoreSums<COUNT> sums, const float (&factors)[COUNT],
                                       ScoreSums<COUNT>* parts) {
    ONCE
    for (int lane = WARP / 2; lane > 0; lane /= 2) {
        ScoreSums<COUNT> other;
        other.top = __shfl_xor_sync(ALL_LANES, sums.top, lane);
        other.total = __shfl_xor_sync(ALL_LANES, sums.total, lane);
        other.spread = __shfl_xor_sync(ALL_LANES, sums.spread, lane);
        EACH
        for (int t = 0; t < COUNT; ++t)
            other.warm[t] = __shfl_xor_sync(ALL_LANES, sums.warm[t], lane);
        bool second = threadIdx.x & lane;
        sums = join(second ? other : sums, second ? sums : other, factors);
    }
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = sums;
    __syncthreads();
    if (threadIdx.x != 0) return sums;
    int warps = blockDim.x / WARP;
    ONCE
    for (int warp = 1; warp < warps; ++warp) sums = join(sums, parts[warp], factors);
    return sums;
}

// Sort the first `count` keys of the pool downwards (bitonic); the rest up to a power of two is 0.
__device__ inline void sort_pool(Key* pool, int count) {
    int size = 1;
    while (size < count) size *= 2;
    for (int i = count + threadIdx.x; i < size; i += blockDim.x) pool[i] = 0;
    __syncthreads();
    for (int run = 2; run <= size; run *= 2) {
        for (int apart = run / 2; apart > 0; apart /= 2) {
            for (int i = threadIdx.x; i < size; i += blockDim.x) {
                int j = i ^ apart;
                if (j < i) continue;
                Key a = pool[i], b = pool[j];
                if ((a < b) == ((i & run) == 0)) {
                    pool[i] = b;
                    pool[j] = a;
                }
            }
            __syncthreads();
        }
    }
}

// Let go of all but the k largest of the pool; their sums go to this thread's.
template <int COUNT>
__device__ inline void prune(Key* pool, int* filled, Key* least, int k, ScoreSums<COUNT>& sums,
                             const float (&factors)[COUNT]) {
    int count = *filled;
    sort_pool(pool, count);
    for (int i = k + threadIdx.x; i < count; i += blockDim.x) add(sums, logit_of(pool[i]), factors);
    __syncthreads();
    if (threadIdx.x == 0 && count >= k) {
        *filled = k;
        *least = pool[k - 1];
    }
    __syncthreads();
}

// Sweep the row: the pool holds the k largest, sorted, and the result the sums of the others.
template <int COUNT, bool CAP>
__device__ ScoreSums<COUNT> sweep_scores(const ScoreArgs& args, const float* tile, Key* pool,
                                         int* filled, Key* least, const float (&factors)[COUNT]) {
    constexpr int N = Pack<float>::size;
    ScoreSums<COUNT> sums;
    clear(sums);
    int step = blockDim.x * N;
    for (int start = 0; start < args.vocab; start += step) {
        int j = start + threadIdx.x * N;
        Key bar = *least;
        if (j < args.vocab) {
            Pack<float> pack = load(tile, j, args.vocab);
            ONCE
            for (int i = 0; i < N; ++i) {
                if (j + i >= args.vocab) break;
                float u = capped<CAP>(pack.at[i], args.softcap, args.scale);
                Key key = key_of(u, j + i);
                if (args.k > 0 && key > bar) pool[atomicAdd(filled, 1)] = key;
                else add(sums, u, factors);
            }
        }
        __syncthreads();
        bool full = *filled + step > POOL;
        __syncthreads();  // before the next stretch fills the pool further
        if (full) prune(pool, filled, least, args.k, sums, factors);
    }
    if (args.k > 0) prune(pool, filled, least, args.k, sums, factors);
    return sums;
}

template <int COUNT, bool CAP>
__device__ void score_rows(const ScoreArgs& args) {
    __shared__ Key pool[POOL];
    __shared__ ScoreSums<COUNT> parts[WARP];
    __shared__ int filled;
    __shared__ Key least;  // columns must be above it to enter the pool
    __shared__ float lse;
    long long row = blockIdx.x;
    const float* tile = args.tile + row * args.stride;
    float factors[COUNT];
    EACH
    for (int t = 0; t < COUNT; ++t) factors[t] = LOG2E / args.temperatures[t];
    if (threadIdx.x == 0) {
        filled = 0;
        least = 0;
    }
    __syncthreads();
    ScoreSums<COUNT> sums = sweep_scores<COUNT, CAP>(args, tile, pool, &filled, &least, factors);
    sums = block_join(sums, factors, parts);
    if (threadIdx.x == 0) {
        args.log_tail[row] = sums.top == NEG_INF ? NEG_INF : sums.top + logf(sums.total);
        ONCE
        for (int i = 0; i < args.k; ++i) add(sums, logit_of(pool[i]), factors);
        float log_total = logf(sums.total);
        lse = sums.top + log_total;
        args.log_tail[row] -= lse;
        args.entropy[row] = log_total - sums.spread / sums.total;
        EACH
        for (int t = 0; t < COUNT; ++t)
            args.lse[row * COUNT + t] = sums.top / args.temperatures[t] + logf(sums.warm[t]);
        long long target = args.targets[row];
        float u = target < 0 ? 0.0f : capped<CAP>(tile[target], args.softcap, args.scale);
        args.target[row] = target < 0 ? __uint_as_float(0x7fc00000u) : u - lse;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < args.k; i += blockDim.x) {
        args.ids[row * args.k + i] = column_of(pool[i]);
        args.logprobs[row * args.k + i] = logit_of(pool[i]) - lse;
    }
    __syncthreads();
}

#ifdef OF_COUNT  // one per compilation: -DOF_COUNT=1 -DOF_CAP=0
extern "C" __global__ void __launch_bounds__(512, 2) row_kernel(ScoreArgs args) {
    score_rows<OF_COUNT, OF_CAP>(args);
}
#endif
