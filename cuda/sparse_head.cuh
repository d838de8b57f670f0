// The parts of the sparse row kernels that do not depend on who holds the row: one block
// (sparse_rows.cu, which has the formula) or a cluster of blocks (sparse_cluster.cu).
#pragma once
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

// One row: its teacher's ids and its target, the special columns, `count` in all; f1 and f2 of the
// formula. The target is -1 without a cross-entropy.
struct SparseRow {
    long long index, target;
    const long long* ids;
    int k, count;
    float f1, f2;

    __device__ long long column(int i) const { return i < k ? ids[i] : target; }
};

__device__ inline SparseRow sparse_row(const SparseArgs& args, long long index) {
    bool ce = args.ce > 0.0f;
    float cold = ce || args.kind == NO_KD ? 1.0f : args.temperature;
    return {index, ce ? args.targets[index] : -1, args.ids + index * args.k, args.k, args.k + ce,
            LOG2E / cold, LOG2E / args.temperature};
}

// The special columns' u, from the whole row `logits`; `among` is 1 + the slot of the target among
// the ids, or 0. Both are shared memory, valid after the next barrier.
template <typename Logit, bool CAP>
__device__ void read_special(const SparseArgs& args, const SparseRow& row, const Logit* logits,
                             float* special, int* among) {
    if (threadIdx.x == 0) *among = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < row.count; i += blockDim.x) {
        long long column = row.column(i);
        special[i] = column < 0 ? NEG_INF
                                : capped<CAP>(widen(logits[column]), args.softcap, args.scale);
        if (i < row.k && column == row.target && row.target >= 0) *among = i + 1;
    }
}

// Leaves -inf in the special columns among the `columns` from `first` on, which `logits` holds.
template <typename Logit>
__device__ void leave_out(const SparseRow& row, Logit* logits, int first, int columns) {
    for (int i = threadIdx.x; i < row.count; i += blockDim.x) {
        long long at = row.column(i) - first;
        if (row.column(i) >= 0 && at >= 0 && at < columns) narrow(NEG_INF, &logits[at]);
    }
}

// First sweep: this thread's part of the sums over `columns` logits.
template <typename Logit, bool WARM, bool CAP>
__device__ RowSums sweep_sums(const SparseArgs& args, const Logit* logits, int columns, float f1,
                              float f2) {
    constexpr int N = Pack<Logit>::size;
    RowSums sums = NO_SUMS;
    for (int j = threadIdx.x * N; j < columns; j += blockDim.x * N) {
        Pack<Logit> pack = load(logits, j, columns);
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
    float top = tail, first = -k;  // of the largest buckets the tail comes first, then the lowest id
    ONCE
    for (int i = lane; i < k; i += WARP) top = fmaxf(top, special[i] / t);
    top = warp_max(top);
    ONCE
    for (int i = lane; i < k; i += WARP) {
        if (special[i] / t == top && top > tail) first = fmaxf(first, -i);
    }
    int largest = -warp_max(first);
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

// The first warp: from the sums to the row's loss, which it stores where `stores`, and all it takes
// to write the gradient.
template <bool WARM, bool CAP>
__device__ void row_head(const SparseArgs& args, const SparseRow& row, const float* special,
                         int among, RowSums sums, bool stores, RowGradient* out) {
    int lane = threadIdx.x % WARP, k = args.k;
    float weight = args.weights[row.index], loss = 0.0f, ce = 0.0f, mass1 = 0.0f, mass2 = 0.0f;
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
        loss += divergence_head(args, row.ids, args.logprobs + row.index * k,
                                args.log_tail[row.index], special, among, rest, out->special,
                                &mass2);
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
    if (!stores) return;
    args.losses[row.index] = weight * loss;
    if (args.ce_losses) args.ce_losses[row.index] = weight * ce;
}

// The rest's gradient by a pack of raw logits.
template <typename Logit, typename Grad, bool WARM, bool CAP>
__device__ Span<Grad, Pack<Logit>::size> rest_gradient(const SparseArgs& args, const SparseRow& row,
                                                       const Pack<Logit>& pack,
                                                       const RowGradient& g) {
    Span<Grad, Pack<Logit>::size> result;
    EACH
    for (int i = 0; i < Pack<Logit>::size; ++i) {
        float u = capped<CAP>(widen(pack.at[i]), args.softcap, args.scale);
        float value = g.factor1 * exp2f(row.f1 * (u - g.top)) + g.even;
        if (WARM) value += g.factor2 * exp2f(row.f2 * (u - g.top));
        narrow(value * cap_slope<CAP>(u, args.softcap, args.scale), &result.at[i]);
    }
    return result;
}

// Stores `result` from column j on, nothing beyond `columns`.
template <typename Grad, int N>
__device__ void store(const Span<Grad, N>& result, Grad* out, int j, int columns) {
    if (j + N <= columns) {
        *reinterpret_cast<Span<Grad, N>*>(out + j) = result;
        return;
    }
    EACH
    for (int i = 0; i < N; ++i)
        if (j + i < columns) out[j + i] = result.at[i];
}

// Writes the special columns' gradients among the `columns` from `first` on, which `out` holds.
template <typename Grad>
__device__ void put_special(const SparseRow& row, const RowGradient& g, int among, Grad* out,
                            int first, int columns) {
    for (int i = threadIdx.x; i < row.count; i += blockDim.x) {
        long long at = row.column(i) - first;
        bool here = row.column(i) >= 0 && at >= 0 && at < columns;
        if (here && !(i == row.k && among)) narrow(g.special[i], &out[at]);
    }
}
