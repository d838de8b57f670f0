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
// others'. Three sweeps: sums of both rows; loss and sum(D); gradient. The target is left out of the
// cross-entropy's sum, so that its gradient is minus the mass of the rest.
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

// Sums of both rows.
template <bool WARM, bool CAP>
__device__ void sweep_both(const DenseArgs& args, const float* tile, const float* other,
                           long long target, float f1, float f2, RowSums* student,
                           RowSums* teacher) {
    constexpr int N = Pack<float>::size;
    *student = NO_SUMS;
    *teacher = NO_SUMS;
    for (int j = threadIdx.x * N; j < args.vocab; j += blockDim.x * N) {
        Pack<float> pack = load(tile, j, args.vocab), pair = load(other, j, args.vocab);
        float u[N], v[N];
        EACH
        for (int i = 0; i < N; ++i) {
            u[i] = j + i == target ? NEG_INF : student_logit<CAP>(args, pack.at[i]);
            v[i] = teacher_logit<CAP>(args, pair.at[i]);
        }
        count<WARM>(*student, u, f1, f2);
        count<false>(*teacher, v, f2, f2);
    }
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
// largest column left out. Stretches and the barrier between read and write as in sparse_rows.cu.
template <typename Grad, bool CAP>
__device__ float sweep_dense(const DenseArgs& args, const float* tile, const float* other,
                             Grad* out, long long target, const DenseRow& row, float slopes,
                             int largest, float weight) {
    constexpr int N = Pack<float>::size;
    typedef Span<Grad, N> Out;
    int step = blockDim.x * N;
    float cold = 1.0f / args.temperature, size = args.kd_weight * args.temperature, sum = 0.0f;
    float even = -args.ce * args.smoothing / args.vocab;
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
                sum += g;
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

template <typename Grad, bool WARM, bool CAP>
__device__ void dense_rows(const DenseArgs& args) {
    __shared__ DenseRow row;
    __shared__ float scratch[WARP];
    __shared__ int largest;
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
    sweep_both<WARM, CAP>(args, tile, other, target, f1, f2, &student, &teacher);
    student = block_sums<WARM>(student, f1, f2);
    __syncthreads();
    teacher = block_sums<false>(teacher, f2, f2);
    if (threadIdx.x == 0) {
        dense_head<WARM>(args, student, teacher, u_target, &row);
        largest = args.vocab;
    }
    __syncthreads();
    float loss, slopes;
    sweep_slopes<CAP>(args, tile, other, row, &loss, &slopes, &largest);
    loss = block_sum(loss, scratch);
    slopes = block_sum(slopes, scratch);
    int peak = min(largest, args.vocab - 1);  // a row of NaN has no largest
    float u_peak = student_logit<CAP>(args, tile[peak]);
    float sum = sweep_dense<Grad, CAP>(args, tile, other, out, target, row, slopes, peak, weight);
    sum = block_sum(sum, scratch);
    if (threadIdx.x != 0) return;
    float size = args.kd_weight * args.temperature;
    float g = -size * sum - args.ce * args.smoothing / args.vocab;
    if (ce) g += args.ce * (peak == target ? row.at_target
                                           : (1.0f + row.extra) * expf(u_peak - row.lse));
    bool cap = CAP && args.softcap > 0.0f;
    g *= cap ? cap_slope<true>(u_peak, args.softcap, args.scale) : args.scale;
    narrow(weight * g, &out[peak]);
    args.losses[at] = weight * (args.ce * row.ce + size * args.temperature * loss);
    if (args.ce_losses) args.ce_losses[at] = ce ? weight * args.ce * row.ce : 0.0f;
}

#ifdef OF_GRAD  // one per compilation: -DOF_GRAD=bf16 -DOF_WARM=0 -DOF_CAP=0
extern "C" __global__ void __launch_bounds__(512, 2) row_kernel(DenseArgs args) {
    dense_rows<OF_GRAD, OF_WARM, OF_CAP>(args);
}
#endif
