// `sparse_rows.cu` for sm_90 and later: one row per cluster of 8 blocks, read from memory once.
//
// Contract  as in `sparse_rows.cu`, but
//   grid      8 * rows blocks on x, in clusters of 8
//   dynamic   shared memory: slice_columns(vocab, N) logits, N of them in 16 bytes
//
// Formula as there. Each block copies its slice of the row into shared memory and takes the special
// columns out of the copy; the partial sums meet over distributed shared memory, in the order of
// the blocks. Every block reads all special logits itself (k + 1 sectors, which come from L2) and
// works out the same head from the same bits, so that nothing but sums has to be exchanged.
//
// Two cluster barriers. The first makes the sums visible, and no block writes gradient before it,
// because a gradient may land on logits that a sibling still has to read. The second keeps a
// block's shared memory alive until its siblings have read its sums.
#include "sparse_head.cuh"

#define CLUSTER 8

// Columns of a block's slice, a multiple of N; the last slices of a short row may be empty.
__device__ inline int slice_columns(int vocab, int N) {
    return ((vocab + N - 1) / N + CLUSTER - 1) / CLUSTER * N;
}

// Copies `columns` logits; several loads are in flight per thread. -inf fills the last pack up.
template <typename Logit>
__device__ void copy_slice(const Logit* from, Logit* slice, int columns) {
    constexpr int N = Pack<Logit>::size;
    constexpr int UNROLL = 4;
    int step = blockDim.x * N;
    for (int start = threadIdx.x * N; start < columns; start += step * UNROLL) {
        Pack<Logit> held[UNROLL];
        EACH
        for (int part = 0; part < UNROLL; ++part) {
            int j = start + part * step;
            if (j < columns) held[part] = load(from, j, columns);
        }
        EACH
        for (int part = 0; part < UNROLL; ++part) {
            int j = start + part * step;
            if (j < columns) *reinterpret_cast<Pack<Logit>*>(slice + j) = held[part];
        }
    }
}

template <typename Logit, typename Grad, bool WARM, bool CAP>
__device__ void sparse_cluster(const SparseArgs& args) {
    constexpr int N = Pack<Logit>::size;
    __shared__ float special[MAX_SPECIAL];
    __shared__ int among;
    __shared__ RowGradient gradient;
    __shared__ RowSums mine;
    Logit* slice = reinterpret_cast<Logit*>(DYNAMIC_SHARED);
    int rank = blockIdx.x % CLUSTER, width = slice_columns(args.vocab, N);
    int first = min(rank * width, args.vocab), columns = min(width, args.vocab - first);
    SparseRow row = sparse_row(args, blockIdx.x / CLUSTER);
    Logit* tile = static_cast<Logit*>(args.tile) + row.index * args.stride;
    Grad* out = reinterpret_cast<Grad*>(tile) + first;

    read_special<Logit, CAP>(args, row, tile, special, &among);
    copy_slice(tile + first, slice, columns);
    __syncthreads();
    leave_out(row, slice, first, columns);
    __syncthreads();
    RowSums sums = sweep_sums<Logit, WARM, CAP>(args, slice, columns, row.f1, row.f2);
    sums = block_sums<WARM>(sums, row.f1, row.f2);
    if (threadIdx.x == 0) mine = sums;
    __cluster_barrier_arrive();
    __cluster_barrier_wait();
    if (threadIdx.x < WARP) {
        RowSums part = NO_SUMS;
        if (threadIdx.x < CLUSTER)
            part = *static_cast<const RowSums*>(__cluster_map_shared_rank(&mine, threadIdx.x));
        sums = warp_merge<WARM>(part, row.f1, row.f2);
        row_head<WARM, CAP>(args, row, special, among, sums, rank == 0, &gradient);
    }
    __syncthreads();
    __cluster_barrier_arrive();
    for (int j = threadIdx.x * N; j < columns; j += blockDim.x * N) {
        Pack<Logit> pack = *reinterpret_cast<const Pack<Logit>*>(slice + j);
        store(rest_gradient<Logit, Grad, WARM, CAP>(args, row, pack, gradient), out, j, columns);
    }
    __syncthreads();
    put_special(row, gradient, among, out, first, columns);
    __cluster_barrier_wait();
}

#ifdef OF_LOGIT  // one per compilation: -DOF_LOGIT=float -DOF_GRAD=bf16 -DOF_WARM=0 -DOF_CAP=0
extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(512, 2)
    row_kernel(SparseArgs args) {
    sparse_cluster<OF_LOGIT, OF_GRAD, OF_WARM, OF_CAP>(args);
}
#endif
