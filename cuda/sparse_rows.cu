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
#include "sparse_head.cuh"

// Second sweep: the rest's gradient over the logits. All threads read a stretch before any writes
// it, because a narrower gradient lands on logits that other threads of the stretch still need; it
// never reaches beyond the stretch.
template <typename Logit, typename Grad, bool WARM, bool CAP>
__device__ void sweep_gradient(const SparseArgs& args, const SparseRow& row, const Logit* tile,
                               Grad* out, const RowGradient& g) {
    constexpr int N = Pack<Logit>::size;
    constexpr int UNROLL = 16 / N;  // packs held at once: more would spill registers
    int step = blockDim.x * N;
    for (int start = 0; start < args.vocab; start += step * UNROLL) {
        Span<Grad, N> result[UNROLL];
        EACH
        for (int part = 0; part < UNROLL; ++part) {
            int j = start + part * step + threadIdx.x * N;
            if (j >= args.vocab) continue;
            Pack<Logit> pack = load(tile, j, args.vocab);
            result[part] = rest_gradient<Logit, Grad, WARM, CAP>(args, row, pack, g);
        }
        __syncthreads();
        EACH
        for (int part = 0; part < UNROLL; ++part) {
            int j = start + part * step + threadIdx.x * N;
            if (j < args.vocab) store(result[part], out, j, args.vocab);
        }
    }
    __syncthreads();
}

template <typename Logit, typename Grad, bool WARM, bool CAP>
__device__ void sparse_rows(const SparseArgs& args) {
    __shared__ float special[MAX_SPECIAL];
    __shared__ int among;
    __shared__ RowGradient gradient;
    SparseRow row = sparse_row(args, blockIdx.x);
    Logit* tile = static_cast<Logit*>(args.tile) + row.index * args.stride;
    Grad* out = reinterpret_cast<Grad*>(tile);

    read_special<Logit, CAP>(args, row, tile, special, &among);
    __syncthreads();
    leave_out(row, tile, 0, args.vocab);
    __syncthreads();
    RowSums sums = sweep_sums<Logit, WARM, CAP>(args, tile, args.vocab, row.f1, row.f2);
    sums = block_sums<WARM>(sums, row.f1, row.f2);
    if (threadIdx.x < WARP) row_head<WARM, CAP>(args, row, special, among, sums, true, &gradient);
    __syncthreads();
    sweep_gradient<Logit, Grad, WARM, CAP>(args, row, tile, out, gradient);
    put_special(row, gradient, among, out, 0, args.vocab);
}

#ifdef OF_LOGIT  // one per compilation: -DOF_LOGIT=float -DOF_GRAD=bf16 -DOF_WARM=0 -DOF_CAP=0
extern "C" __global__ void __launch_bounds__(512, 2) row_kernel(SparseArgs args) {
    sparse_rows<OF_LOGIT, OF_GRAD, OF_WARM, OF_CAP>(args);
}
#endif
