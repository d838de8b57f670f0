// One row per block: weighted loss and gradient of cross-entropy, a sparse divergence, or both.
//
// Contract
//   tile      [rows, stride] raw logits (float or bf16); the gradient is written over it: as float
//             or bf16 at the row's start, so a bf16 gradient of float logits has row stride 2*stride
//   weights   [rows] float, not 0 (rows of weight 0 are dropped before)
//   targets   [rows] int64 if ce > 0, each in [0, vocab)
//   ids       [rows, k] int64, distinct in a row, negative is padding; logprobs [rows, k] float;
//   log_tail  [rows] float; all three if kind != NO_KD. k <= 128.
//   losses    [rows] float, out; ce_losses [rows] float, out, what of them is cross-entropy, or null
//   grid      rows blocks on x; threads a multiple of 32, at most 512 (more would spill)
//   alignment tile and stride * sizeof(logit) are multiples of 16 bytes; offsets are 64-bit
//
// Formula (distill/losses/rows.py says it in torch). The special columns, the ids and the target, are
// taken out of the tile and -inf is left there; the rest is summed online against its running
// maximum M. One warp then works out the loss, the special columns' gradients and the factors A, B, e
// of the rest, where
//   dl/du_j = A 2^(f1 (u_j - M)) + B 2^(f2 (u_j - M)) + e
// f1 = log2(e) / T belongs to the cross-entropy (T = 1), or to the divergence if it is alone; f2 to
// the divergence where both are there and T != 1 (WARM).
#include "common.cuh"

#define MAX_SPECIAL 129

struct SparseArgs {
    void* tile;
    const float* weights;
    const long long* targets;
    const long long* ids;
    const float* logprobs;
    const float* log_tail;
    float* losses;
    long long stride;
    int vocab, k, kind;
    float ce, smoothing, z_loss, softcap, scale, kd_weight, temperature, share;
    float* ce_losses;
};

// What the row's warp hands to all threads: the rest's gradient, and the special columns'.
struct RowGradient {
    float top, factor1, factor2, even;
    float special[MAX_SPECIAL];
};

// Take the special columns out: their u into `special`, -inf into the tile.
template <typename Logit, bool CAP>
__device__ void take_special(const SparseArgs& args, Logit* tile, const long long* ids,
                             long long target, int count, float* special, int* among) {
    if (threadIdx.x == 0) *among = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        long long column = i < args.k ? ids[i] : target;
        special[i] = column < 0 ? NEG_INF
                                : capped<CAP>(widen(tile[column]), args.softcap, args.scale);
        if (i < args.k && column == target && target >= 0) *among = i + 1;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        long long column = i < args.k ? ids[i] : target;
        if (column >= 0) narrow(NEG_INF, &tile[column]);
    }
    __syncthreads();
}

// First sweep: this thread's part of the sums over the rest.
template <typename Logit, bool WARM, bool CAP>
__device__ RowSums sweep_sums(const SparseArgs& args, const Logit* tile, float f1, float f2) {
    constexpr int N = Pack<Logit>::size;
    RowSums sums = NO_SUMS;
    for (int j = threadIdx.x * N; j < args.vocab; j += blockDim.x * N) {
        Pack<Logit> pack = load(tile, j, args.vocab);
        float u[N];
        EACH
        for (int i = 0; i < N; ++i)
            u[i] = capped<CAP>(widen(pack.at[i]), args.softcap, args.scale);
        count<WARM>(sums, u, f1, f2);
    }
    return sums;
}

// Cross-entropy: returns the loss, adds the special columns' gradients, and the mass of the rest.
__device__ float cross_entropy_head(const SparseArgs& args, const float* special, int among,
                                    float rest, float linear, float* gradient, float* mass) {
    int lane = threadIdx.x % WARP, k = args.k;
    float target = among ? special[among - 1] : special[k];
    float top = rest, sum_u = 0.0f, total = 0.0f;
    ONCE
    for (int i = lane; i < k; i += WARP) {
        if (i == among - 1 || special[i] == NEG_INF) continue;
        top = fmaxf(top, special[i]);
        sum_u += special[i];
    }
    top = warp_max(top);
    ONCE
    for (int i = lane; i < k; i += WARP) {
        if (i != among - 1) total += ratio(special[i], top);
    }
    float tail = top == NEG_INF ? NEG_INF : top + logf(warp_sum(total) + ratio(rest, top));
    float lse = logaddexp(tail, target);
    float e = args.smoothing, extra = 2.0f * args.z_loss * lse;
    float loss = (1.0f - e) * softplus(tail - target) + args.z_loss * lse * lse;
    if (e > 0.0f) loss += e * (lse - (linear + target + warp_sum(sum_u)) / args.vocab);

    float at_target = e - ratio(tail, lse) + extra * ratio(target, lse);
    ONCE
    for (int i = lane; i <= k; i += WARP) {
        bool is_target = i == (among ? among - 1 : k);
        gradient[i] = args.ce * (is_target ? at_target : (1.0f + extra) * ratio(special[i], lse));
    }
    *mass = args.ce * (1.0f + extra) * ratio(rest, lse);
    return args.ce * loss;
}

// The divergence of k + 1 buckets, likewise. Bucket k is the tail: all columns that are not ids.
__device__ float divergence_head(const SparseArgs& args, const long long* ids,
                                 const float* log_q_ids, float log_q_tail, const float* special,
                                 int among, float rest, float* gradient, float* mass) {
    int lane = threadIdx.x % WARP, k = args.k;
    float t = args.temperature;
    float outside = args.ce > 0.0f && !among ? special[k] / t : NEG_INF;  // a target in the tail
    float tail = logaddexp(rest, outside);
    float top = tail;
    int largest = k;
    ONCE
    for (int i = 0; i < k; ++i) {
        if (special[i] / t > top) {
            top = special[i] / t;
            largest = i;
        }
    }
    float others = 0.0f;
    ONCE
    for (int i = lane; i <= k; i += WARP) {
        if (i != largest) others += ratio(i < k ? special[i] / t : tail, top);
    }
    float log_total = log1pf(warp_sum(others));
    if (args.kind == REVERSE_KL) log_q_tail = fmaxf(log_q_tail, TAIL_FLOOR_LOG);
    if (ids[0] < 0) log_q_tail = 0.0f;  // no teacher for this row: both sides are all tail

    float loss = 0.0f, slopes = 0.0f;
    ONCE
    for (int i = lane; i <= k; i += WARP) {
        float log_s = (i < k ? special[i] / t : tail) - top - log_total;
        float log_q = i == k ? log_q_tail : ids[i] < 0 ? NEG_INF : log_q_ids[i];
        Bucket b = bucket(args.kind, args.share, log_q, log_s);
        loss += b.term;
        slopes += b.slope;
    }
    loss = warp_sum(loss);
    slopes = warp_sum(slopes);

    // The gradients sum to 0: the largest bucket's is minus the sum of the others'.
    float size = args.kd_weight * t, sum = 0.0f, into_tail = 0.0f;
    ONCE
    for (int i = lane; i <= k; i += WARP) {
        if (i == largest) continue;
        float log_s = (i < k ? special[i] / t : tail) - top - log_total;
        float log_q = i == k ? log_q_tail : ids[i] < 0 ? NEG_INF : log_q_ids[i];
        float g = bucket(args.kind, args.share, log_q, log_s).slope - expf(log_s) * slopes;
        sum += g;
        if (i == k) into_tail = g;
        else gradient[i] += size * g;
    }
    sum = warp_sum(sum);
    into_tail = largest == k ? -sum : warp_sum(into_tail);
    if (lane == 0) {
        if (largest < k) gradient[largest] -= size * sum;
        if (outside != NEG_INF) gradient[k] += size * into_tail * ratio(outside, tail);
    }
    *mass = size * into_tail * ratio(rest, tail);
    return size * t * loss;
}

// The first warp: from the sums to the row's loss and all it takes to write the gradient.
template <bool WARM, bool CAP>
__device__ void row_head(const SparseArgs& args, const long long* ids, const float* special,
                         int among, RowSums sums, RowGradient* out) {
    int lane = threadIdx.x % WARP, k = args.k;
    long long row = blockIdx.x;
    float weight = args.weights[row], loss = 0.0f, ce = 0.0f, mass1 = 0.0f, mass2 = 0.0f;
    ONCE
    for (int i = lane; i <= k; i += WARP) out->special[i] = 0.0f;
    __syncwarp();
    if (args.ce > 0.0f) {
        float rest = logsumexp(sums.top, sums.total1, 1.0f);
        ce = cross_entropy_head(args, special, among, rest, sums.linear, out->special, &mass1);
        loss += ce;
    }
    __syncwarp();
    if (args.kind != NO_KD) {
        float rest = logsumexp(sums.top, WARM ? sums.total2 : sums.total1, args.temperature);
        loss += divergence_head(args, ids, args.logprobs + row * k, args.log_tail[row], special,
                                among, rest, out->special, &mass2);
    }
    __syncwarp();
    float even = -args.ce * args.smoothing / args.vocab;
    ONCE
    for (int i = lane; i <= k; i += WARP) {
        if (i == k && !(args.ce > 0.0f)) break;
        float slope = cap_slope<CAP>(special[i], args.softcap, args.scale);
        out->special[i] = weight * (out->special[i] + even) * slope;
    }
    if (lane != 0) return;
    bool some = sums.top != NEG_INF;
    out->top = sums.top;
    out->factor1 = some ? weight * (WARM ? mass1 : mass1 + mass2) / sums.total1 : 0.0f;
    out->factor2 = WARM && some ? weight * mass2 / sums.total2 : 0.0f;
    out->even = weight * even;
    args.losses[row] = weight * loss;
    if (args.ce_losses) args.ce_losses[row] = weight * ce;
}

// Second sweep: the rest's gradient over the logits. All threads read a stretch before any writes
// it, because a narrower gradient lands on logits that other threads of the stretch still need; it
// never reaches beyond the stretch.
template <typename Logit, typename Grad, bool WARM, bool CAP>
__device__ void sweep_gradient(const SparseArgs& args, const Logit* tile, Grad* out, float f1,
                               float f2, const RowGradient& g) {
    constexpr int N = Pack<Logit>::size;
    constexpr int UNROLL = 16 / N;  // packs held at once: more would spill registers
    typedef Span<Grad, N> Out;
    int step = blockDim.x * N;
    for (int start = 0; start < args.vocab; start += step * UNROLL) {
        Out result[UNROLL];
        EACH
        for (int part = 0; part < UNROLL; ++part) {
            int j = start + part * step + threadIdx.x * N;
            if (j >= args.vocab) continue;
            Pack<Logit> pack = load(tile, j, args.vocab);
            EACH
            for (int i = 0; i < N; ++i) {
                float u = capped<CAP>(widen(pack.at[i]), args.softcap, args.scale);
                float value = g.factor1 * exp2f(f1 * (u - g.top)) + g.even;
                if (WARM) value += g.factor2 * exp2f(f2 * (u - g.top));
                narrow(value * cap_slope<CAP>(u, args.softcap, args.scale), &result[part].at[i]);
            }
        }
        __syncthreads();
        EACH
        for (int part = 0; part < UNROLL; ++part) {
            int j = start + part * step + threadIdx.x * N;
            if (j >= args.vocab) continue;
            if (j + N <= args.vocab) {
                *reinterpret_cast<Out*>(out + j) = result[part];
            } else {
                EACH
                for (int i = 0; i < N; ++i)
                    if (j + i < args.vocab) out[j + i] = result[part].at[i];
            }
        }
    }
    __syncthreads();
}

template <typename Logit, typename Grad, bool WARM, bool CAP>
__device__ void sparse_rows(const SparseArgs& args) {
    __shared__ float special[MAX_SPECIAL];
    __shared__ int among;  // 1 + the slot of the target among the ids, or 0
    __shared__ RowGradient gradient;
    long long row = blockIdx.x;
    Logit* tile = static_cast<Logit*>(args.tile) + row * args.stride;
    Grad* out = reinterpret_cast<Grad*>(tile);
    bool ce = args.ce > 0.0f;
    const long long* ids = args.ids + row * args.k;
    long long target = ce ? args.targets[row] : -1;
    int count = args.k + ce;
    float cold = ce || args.kind == NO_KD ? 1.0f : args.temperature;
    float f1 = LOG2E / cold, f2 = LOG2E / args.temperature;

    take_special<Logit, CAP>(args, tile, ids, target, count, special, &among);
    RowSums sums = sweep_sums<Logit, WARM, CAP>(args, tile, f1, f2);
    sums = block_sums<WARM>(sums, f1, f2);
    if (threadIdx.x < WARP) row_head<WARM, CAP>(args, ids, special, among, sums, &gradient);
    __syncthreads();
    sweep_gradient<Logit, Grad, WARM, CAP>(args, tile, out, f1, f2, gradient);
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        long long column = i < args.k ? ids[i] : target;
        if (column >= 0 && !(i == args.k && among)) narrow(gradient.special[i], &out[column]);
    }
}

#ifdef OF_LOGIT  // one per compilation: -DOF_LOGIT=float -DOF_GRAD=bf16 -DOF_WARM=0 -DOF_CAP=0
extern "C" __global__ void __launch_bounds__(512, 2) row_kernel(SparseArgs args) {
    sparse_rows<OF_LOGIT, OF_GRAD, OF_WARM, OF_CAP>(args);
}
#endif
