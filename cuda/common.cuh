// Shared parts of the loss kernels. Headerless: nothing is included, so that NVRTC needs no include
// path and the same source runs on a CPU behind host_shim.h.
#pragma once

typedef unsigned short bf16;  // the upper half of a float

#define NEG_INF __uint_as_float(0xff800000u)
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
#define WARP 32
#define ALL_LANES 0xffffffffu
#ifndef EACH
#define EACH _Pragma("unroll")    // a loop over registers
#define ONCE _Pragma("unroll 1")  // a loop over a few heavy steps: unrolled it costs registers
#endif

// ---- numbers in memory ------------------------------------------------------------------------

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(bf16 x) { return __uint_as_float((unsigned)x << 16); }

__device__ inline void narrow(float x, float* out) { *out = x; }
__device__ inline void narrow(float x, bf16* out) {  // round to nearest, ties to even
    unsigned bits = __float_as_uint(x);
    bits = x == x ? bits + 0x7fffu + ((bits >> 16) & 1u) : 0x7fc00000u;
    *out = (bf16)(bits >> 16);
}

#ifndef DYNAMIC_SHARED  // the shared memory that the launch asks for, 16-byte aligned
extern __shared__ uint4 dynamic_shared[];
#define DYNAMIC_SHARED dynamic_shared
#endif

// 16 bytes at once; rows start on a multiple of 16 bytes.
template <typename T>
struct alignas(16) Pack {
    static constexpr int size = 16 / sizeof(T);
    T at[size];
};

// N consecutive numbers, in as few accesses as their size allows.
template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Span {
    T at[N];
};

// ---- reductions: fixed order, so that a repeated call gives the same bits -----------------------

__device__ inline float warp_sum(float x) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(ALL_LANES, x, lane);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, lane));
    return x;
}

// ---- small mathematics -------------------------------------------------------------------------

__device__ inline float logaddexp(float a, float b) {
    float top = fmaxf(a, b);
    if (top == NEG_INF) return top;
    return top + log1pf(expf(fminf(a, b) - top));
}

__device__ inline float softplus(float x) {
    return x == NEG_INF ? 0.0f : fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

// exp(a - b), and 0 where both are -inf.
__device__ inline float ratio(float a, float b) { return a == NEG_INF ? 0.0f : expf(a - b); }

// ---- the divergences ---------------------------------------------------------------------------
// distill/losses/divergence.py in C++: per bucket the term of the loss and D = dl / d log S, from the
// teacher's log share, the student's, and d = log q - log S. `share` is `mix` of the recipe.

enum Kind { NO_KD = 0, FORWARD_KL, REVERSE_KL, JSD, SKEW_KL, SKEW_REVERSE_KL };

#define TAIL_FLOOR_LOG (-18.420680743952367f)  // log(1e-8)
#define FAR 80.0f

struct Bucket {
    float term, slope;
};

__device__ inline float log_mixture(float share, float d) { return log1pf(share * expm1f(d)); }

__device__ inline Bucket bucket(int kind, float share, float log_q, float log_s) {
    float q = expf(log_q), s = expf(log_s);
    float d = log_q == NEG_INF && log_s == NEG_INF ? 0.0f : log_q - log_s;
    if (kind == FORWARD_KL) return {q > 0.0f ? q * d : 0.0f, -q};
    if (kind == REVERSE_KL) {
        float term = s > 0.0f ? -s * d : 0.0f;
        return {term, term + s};
    }
    d = fminf(fmaxf(d, -FAR), FAR);
    if (kind == SKEW_REVERSE_KL) {
        float r = -log_mixture(1.0f - share, d);
        return {s * r, s * (r + 1.0f - share * expf(r))};
    }
    float from_s = log_mixture(share, d), from_q = log_mixture(1.0f - share, -d);
    if (kind == SKEW_KL) return {-q * from_q, (share - 1.0f) * q * expf(-from_s)};
    float slope = (share - 1.0f) * s * from_s;
    return {slope - share * q * from_q, slope};
}

// ---- logits ------------------------------------------------------------------------------------

// u = softcap tanh(scale r / softcap), or scale r. A column taken out (-inf) stays out.
template <bool CAP>
__device__ inline float capped(float raw, float softcap, float scale) {
    if (raw == NEG_INF) return raw;
    return CAP ? softcap * tanhf(raw * scale / softcap) : raw * scale;
}

// du/dr at u.
template <bool CAP>
__device__ inline float cap_slope(float u, float softcap, float scale) {
    if (!CAP) return scale;
    float t = u / softcap;
    return scale * (1.0f - t * t);
}

// ---- online sums over the columns of a row -----------------------------------------------------

// Over some of a row's u: total = sum of 2^(f (u - top)) for f1 and f2; linear = sum of u. None: top
// is -inf and the totals are 0. A u of -inf counts for nothing.
struct RowSums {
    float top, total1, total2, linear;
};

#define NO_SUMS {NEG_INF, 0.0f, 0.0f, 0.0f}

template <bool WARM>
__device__ inline RowSums merge(RowSums a, RowSums b, float f1, float f2) {
    float top = fmaxf(a.top, b.top), linear = a.linear + b.linear;
    if (top == NEG_INF) return {NEG_INF, 0.0f, 0.0f, linear};
    float down_a = a.top - top, down_b = b.top - top;
    return {top, a.total1 * exp2f(f1 * down_a) + b.total1 * exp2f(f1 * down_b),
            WARM ? a.total2 * exp2f(f2 * down_a) + b.total2 * exp2f(f2 * down_b) : 0.0f, linear};
}

// The warp's sums, the same bits in every lane: both lanes of a pair add in the same order.
template <bool WARM>
__device__ inline RowSums warp_merge(RowSums sums, float f1, float f2) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) {
        RowSums other = {__shfl_xor_sync(ALL_LANES, sums.top, lane),
                         __shfl_xor_sync(ALL_LANES, sums.total1, lane),
                         WARM ? __shfl_xor_sync(ALL_LANES, sums.total2, lane) : 0.0f,
                         __shfl_xor_sync(ALL_LANES, sums.linear, lane)};
        bool second = threadIdx.x & lane;
        sums = merge<WARM>(second ? other : sums, second ? sums : other, f1, f2);
    }
    return sums;
}

// log of the sum of exp(u / t).
__device__ inline float logsumexp(float top, float total, float t) {
    return top == NEG_INF ? NEG_INF : top / t + logf(total);
}

template <bool WARM, int N>
__device__ inline void count(RowSums& sums, const float (&u)[N], float f1, float f2) {
    float top = sums.top;
    EACH
    for (int i = 0; i < N; ++i) {
        top = fmaxf(top, u[i]);
        if (u[i] != NEG_INF) sums.linear += u[i];
    }
    if (top == NEG_INF) return;
    if (top > sums.top) {
        sums.total1 *= exp2f(f1 * (sums.top - top));
        if (WARM) sums.total2 *= exp2f(f2 * (sums.top - top));
        sums.top = top;
    }
    EACH
    for (int i = 0; i < N; ++i) {
        sums.total1 += exp2f(f1 * (u[i] - top));
        if (WARM) sums.total2 += exp2f(f2 * (u[i] - top));
    }
}

// The sums of all threads, valid in the first warp.
template <bool WARM>
__device__ RowSums block_sums(RowSums sums, float f1, float f2) {
    __shared__ RowSums parts[WARP];
    int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    sums = warp_merge<WARM>(sums, f1, f2);
    if (lane == 0) parts[threadIdx.x / WARP] = sums;
    __syncthreads();
    if (threadIdx.x >= WARP) return sums;
    RowSums none = NO_SUMS;
    return warp_merge<WARM>(lane < warps ? parts[lane] : none, f1, f2);
}

// N logits from column j on; -inf beyond the row.
template <typename Logit>
__device__ inline Pack<Logit> load(const Logit* tile, int j, int vocab) {
    if (j + Pack<Logit>::size <= vocab) return *reinterpret_cast<const Pack<Logit>*>(tile + j);
    Pack<Logit> pack;
    EACH
    for (int i = 0; i < Pack<Logit>::size; ++i) {
        if (j + i < vocab) pack.at[i] = tile[j + i];
        else narrow(NEG_INF, &pack.at[i]);
    }
    return pack;
}

// The sum over all threads, the same bits in each. `scratch` holds 32 floats.
__device__ inline float block_sum(float x, float* scratch) {
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    int warps = blockDim.x / WARP;
    float total = 0.0f;
    for (int warp = 0; warp < warps; ++warp) total += scratch[warp];
    __syncthreads();
    return total;
}
