// One row per block: weighted loss and gradient of a divergence from a teacher's logits over the
// whole vocabulary, with or without cross-entropy.
//
// Contract
//   tile      [rows, stride] the student's raw logits, float; the gradient is written over it as float
//             or bf16, at the row's start (row stride 2 * stride for bf16)
//   teacher   [rows, stride] the teacher's raw logits, float, read only
//   weights   [rows] float, not 0; targets [rows] int64 if ce > 0; losses [rows] float, out
//   grid      rows blocks on x; threads a multiple of 32, at most 512
//   alignment tile, teacher and 4 * stride are multiples of 16 bytes; offsets are 64-bit
//
// Formula: with s and q the two softmaxes at temperature T, and D_j = dl / dlog s_j,
//   dl/dz_j = D_j - s_j sum(D)
// for every column (distill/losses/divergence.py); the largest column's is minus the sum of the
// others'. Sums of both rows; loss and sum(D); gradient: three sweeps. Forward and reverse KL (TWO)
// have their loss from the first one, since with E the mean over q or s
//   KL(q, s) = E_q[v - u] / T - lse(v / T) + lse(u / T),   sum(D) = -1
//   KL(s, q) = E_s[u - v] / T - lse(u / T) + lse(v / T),   sum(D) = KL + 1
// The target is left out of the cross-entropy's sum, so that its gradient is minus the mass of the
// rest.
#include "common.cuh"

struct DenseArgs {
    void* tile;
    const float* teacher;
    const float* weights;
    const long long* targets;
    float* losses;
    long long stride;
    int vocab, kind;
    float ce, smoothing, z_loss, softcap, scale, teacher_softcap, teacher_scale;
    float kd_weight, temperature, share;
    float* ce_losses;  // [rows], out: what of the losses is cross-entropy; or null
};

// What every thread must know of the row.
struct DenseRow {
    float student, teacher;           // logsumexp at the divergence's temperature
    float lse, extra, at_target, ce;  // cross-entropy: logsumexp, 2 z L, the target's gradient, loss
    float top;                        // largest u of the student
    float rest_top, teacher_top;      // what the first sweep's sums are relative to
};

template <bool CAP>
__device__ inline float teacher_logit(const DenseArgs& args, float raw) {
    bool cap = CAP && args.teacher_softcap > 0.0f;
    return cap ? capped<true>(raw, args.teacher_softcap, args.teacher_scale)
               : capped<false>(raw, 1.0f, args.teacher_scale);
}

template <bool CAP>
__device__ inline float student_logit(const DenseArgs& args, float raw) {
    bool cap = CAP && args.softcap > 0.0f;
    return cap ? capped<true>(raw, args.softcap, args.scale)
               : capped<false>(raw, 1.0f, args.scale);
}

// The first thread: from the sums (the target left out of the student's) to the row's constants.
template <bool WARM>
__device__ void dense_head(const DenseArgs& args, RowSums student, RowSums teacher, float target,
                           DenseRow* out) {
    float t = args.temperature;
    float rest = logsumexp(student.top, WARM ? student.total2 : student.total1, t);
    out->student = logaddexp(rest, target == NEG_INF ? NEG_INF : target / t);
    out->teacher = logsumexp(teacher.top, teacher.total1, t);
    out->top = fmaxf(student.top, target);
    out->rest_top = student.top;
    out->teacher_top = teacher.top;
    out->lse = out->extra = out->at_target = out->ce = 0.0f;
    if (target == NEG_INF) return;
    float tail = logsumexp(student.top, student.total1, 1.0f), e = args.smoothing;
    float lse = logaddexp(tail, target);
    out->lse = lse;
    out->extra = 2.0f * args.z_loss * lse;
    out->at_target = e - ratio(tail, lse) + out->extra * ratio(target, lse);
    out->ce = (1.0f - e) * softplus(tail - target) + args.z_loss * lse * lse;
    if (e > 0.0f) out->ce += e * (lse - (student.linear + target) / args.vocab);
}

// The sum of 2^(f (w - top)) d, brought up to the present top.
template <int N>
__device__ inline float weighted(float sum, float before, float top, const float (&w)[N],
                                 const float (&d)[N], float f) {
    if (top == NEG_INF) return 0.0f;
    if (before != NEG_INF && before != top) sum *= exp2f(f * (before - top));
    EACH
    for (int i = 0; i < N; ++i)
        if (w[i] != NEG_INF) sum += exp2f(f * (w[i] - top)) * d[i];
    return sum;
}

// Sums of both rows; with TWO also E_q[v - u] or, the target left out, E_s[u - v], as a sum relative
// to the thread's own top of v or u.
template <bool WARM, bool CAP, bool TWO>
__device__ float sweep_both(const DenseArgs& args, const float* tile, const float* other,
                            long long target, float f1, float f2, RowSums* student,
                            RowSums* teacher) {
    constexpr int N = Pack<float>::size;
    float drift = 0.0f;
    *student = NO_SUMS;
    *teacher = NO_SUMS;
    for (int j = threadIdx.x * N; j < args.vocab; j += blockDim.x * N) {
        Pack<float> pack = load(tile, j, args.vocab), pair = load(other, j, args.vocab);
        float u[N], v[N], d[N];
        EACH
        for (int i = 0; i < N; ++i) {
            u[i] = student_logit<CAP>(args, pack.at[i]);
            v[i] = teacher_logit<CAP>(args, pair.at[i]);
            if (TWO) d[i] = args.kind == FORWARD_KL ? v[i] - u[i] : u[i] - v[i];
            if (j + i == target) u[i] = NEG_INF;
        }
        float u_top = student->top, v_top = teacher->top;
        count<WARM>(*student, u, f1, f2);
        count<false>(*teacher, v, f2, f2);
        if (!TWO) continue;
        drift = args.kind == FORWARD_KL ? weighted(drift, v_top, teacher->top, v, d, f2)
                                        : weighted(drift, u_top, student->top, u, d, f2);
    }
    return drift;
}

// From a thread's sum of the first sweep, over its own top, to the loss and sum(D) of a KL.
__device__ inline void kl_from_drift(const DenseArgs& args, const DenseRow& row, float drift,
                                     float own_top, float at_target, float f2, float* scratch,
                                     float* loss, float* slopes) {
    bool forward = args.kind == FORWARD_KL;
    float top = forward ? row.teacher_top : row.rest_top;
    float mean = block_sum(own_top == NEG_INF ? 0.0f : drift * exp2f(f2 * (own_top - top)), scratch);
    float t = args.temperature, between = row.student - row.teacher;
    if (top != NEG_INF) mean *= expf(top / t - (forward ? row.teacher : row.student));
    *loss = forward ? mean / t + between : (mean + at_target) / t - between;
    *slopes = forward ? -1.0f : *loss + 1.0f;
}

// The loss, sum(D) and the first largest column, over this thread's columns.
template <bool CAP>
__device__ void sweep_slopes(const DenseArgs& args, const float* tile, const float* other,
                             const DenseRow& row, float* loss, float* slopes, int* largest) {
    constexpr int N = Pack<float>::size;
    float cold = 1.0f / args.temperature;
    *loss = *slopes = 0.0f;
    for (int j = threadIdx.x * N; j < args.vocab; j += blockDim.x * N) {
        Pack<float> pack = load(tile, j, args.vocab), pair = load(other, j, args.vocab);
        EACH
        for (int i = 0; i < N; ++i) {
            if (j + i >= args.vocab) continue;
            float u = student_logit<CAP>(args, pack.at[i]);
            float v = teacher_logit<CAP>(args, pair.at[i]);
            Bucket b = bucket(args.kind, args.share, v * cold - row.teacher, u * cold - row.student);
            *loss += b.term;
            *slopes += b.slope;
            if (u == row.top) atomicMin(largest, j + i);
        }
    }
}

// The gradient over the student's logits; returns this thread's sum of the divergence's, the
// largest column left out, or with TWO all columns as large as the largest, of which it finds the
// first and the last. Stretches and the barrier between read and write as in sparse_rows.cu.
template <typename Grad, bool CAP, bool TWO>
__device__ float sweep_dense(const DenseArgs& args, const float* tile, const float* other,
                             Grad* out, long long target, const DenseRow& row, float slopes,
                             int* first, int* last, float weight) {
    constexpr int N = Pack<float>::size;
    typedef Span<Grad, N> Out;
    int step = blockDim.x * N;
    float cold = 1.0f / args.temperature, size = args.kd_weight * args.temperature, sum = 0.0f;
    float even = -args.ce * args.smoothing / args.vocab;
    int largest = TWO ? -1 : min(*first, args.vocab - 1);  // a row of NaN has no largest
    for (int start = 0; start < args.vocab; start += step) {
        int j = start + threadIdx.x * N;
        Out result;
        if (j < args.vocab) {
            Pack<float> pack = load(tile, j, args.vocab), pair = load(other, j, args.vocab);
            EACH
            for (int i = 0; i < N; ++i) {
                float u = student_logit<CAP>(args, pack.at[i]);
                float v = teacher_logit<CAP>(args, pair.at[i]);
                float log_s = u * cold - row.student, log_q = v * cold - row.teacher;
                float g = 0.0f;
                if (j + i < args.vocab && j + i != largest)
                    g = bucket(args.kind, args.share, log_q, log_s).slope - expf(log_s) * slopes;
                if (!TWO || u != row.top) sum += g;
                else if (j + i < args.vocab) atomicMin(first, j + i), atomicMax(last, j + i);
                g = size * g + even;
                if (args.ce > 0.0f)
                    g += args.ce * (j + i == target ? row.at_target
                                                    : (1.0f + row.extra) * expf(u - row.lse));
                bool cap = CAP && args.softcap > 0.0f;
                g *= cap ? cap_slope<true>(u, args.softcap, args.scale) : args.scale;
                narrow(weight * g, &result.at[i]);
            }
        }
        __syncthreads();
        if (j + N <= args.vocab) {
            *reinterpret_cast<Out*>(out + j) = result;
        } else if (j < args.vocab) {
            EACH
            for (int i = 0; i < N; ++i)
                if (j + i < args.vocab) out[j + i] = result.at[i];
        }
    }
    return sum;
}

template <typename Grad, bool WARM, bool CAP, bool TWO>
__device__ void dense_rows(const DenseArgs& args) {
    __shared__ DenseRow row;
    __shared__ float scratch[WARP];
    __shared__ int first, last;  // of the columns as large as the largest
    long long at = blockIdx.x;
    float* tile = static_cast<float*>(args.tile) + at * args.stride;
    const float* other = args.teacher + at * args.stride;
    Grad* out = reinterpret_cast<Grad*>(tile);
    bool ce = args.ce > 0.0f;
    long long target = ce ? args.targets[at] : -1;
    float weight = args.weights[at], u_target = NEG_INF;
    if (ce) u_target = student_logit<CAP>(args, tile[target]);
    float f2 = LOG2E / args.temperature, f1 = ce ? LOG2E : f2;

    RowSums student, teacher;
    float drift = sweep_both<WARM, CAP, TWO>(args, tile, other, target, f1, f2, &student, &teacher);
    float own_top = args.kind == FORWARD_KL ? teacher.top : student.top;
    student = block_sums<WARM>(student, f1, f2);
    __syncthreads();
    teacher = block_sums<false>(teacher, f2, f2);
    if (threadIdx.x == 0) {
        dense_head<WARM>(args, student, teacher, u_target, &row);
        first = args.vocab;
        last = -1;
    }
    __syncthreads();
    float loss, slopes;
    if (TWO) {
        float at_target = 0.0f;
        if (ce) {
            float d = u_target - teacher_logit<CAP>(args, other[target]);
            at_target = expf(u_target / args.temperature - row.student) * d;
        }
        kl_from_drift(args, row, drift, own_top, at_target, f2, scratch, &loss, &slopes);
    } else {
        sweep_slopes<CAP>(args, tile, other, row, &loss, &slopes, &first);
        loss = block_sum(loss, scratch);
        slopes = block_sum(slopes, scratch);
    }
    float sum = sweep_dense<Grad, CAP, TWO>(args, tile, other, out, target, row, slopes, &first,
                                            &last, weight);
    sum = block_sum(sum, scratch);
    if (threadIdx.x != 0) return;
    float size = args.kd_weight * args.temperature;
    args.losses[at] = weight * (args.ce * row.ce + size * args.temperature * loss);
    if (args.ce_losses) args.ce_losses[at] = ce ? weight * args.ce * row.ce : 0.0f;
    if (TWO && first != last) return;  // none of several has a share so near to 1 that it matters
    int peak = min(first, args.vocab - 1);
    float g = -size * sum - args.ce * args.smoothing / args.vocab;
    if (ce) g += args.ce * (peak == target ? row.at_target
                                           : (1.0f + row.extra) * expf(row.top - row.lse));
    bool cap = CAP && args.softcap > 0.0f;
    g *= cap ? cap_slope<true>(row.top, args.softcap, args.scale) : args.scale;
    narrow(weight * g, &out[peak]);
}

#ifdef OF_GRAD  // one per compilation: -DOF_GRAD=bf16 -DOF_WARM=0 -DOF_CAP=0 -DOF_TWO=1
extern "C" __global__ void __launch_bounds__(512, 2) row_kernel(DenseArgs args) {
    dense_rows<OF_GRAD, OF_WARM, OF_CAP, OF_TWO>(args);
}
#endif
