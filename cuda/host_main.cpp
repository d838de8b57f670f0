// The kernels as a shared library for the CPU: one function per op, called through ctypes.
#include "host_shim.h"

#include "dense_rows.cu"
#include "score_rows.cu"
#include "sparse_cluster.cu"
#include "sparse_rows.cu"

template <typename Logit, typename Grad>
static void sparse(SparseArgs args, long long rows, unsigned threads, unsigned order) {
    bool warm = args.ce > 0.0f && args.kind != NO_KD && args.temperature != 1.0f;
    bool cap = args.softcap > 0.0f;
    if (warm && cap) shim::launch(rows, threads, order, [&] { sparse_rows<Logit, Grad, true, true>(args); });
    else if (warm) shim::launch(rows, threads, order, [&] { sparse_rows<Logit, Grad, true, false>(args); });
    else if (cap) shim::launch(rows, threads, order, [&] { sparse_rows<Logit, Grad, false, true>(args); });
    else shim::launch(rows, threads, order, [&] { sparse_rows<Logit, Grad, false, false>(args); });
}

template <typename Logit, typename Grad>
static void clusters(SparseArgs args, long long rows, unsigned threads, unsigned order,
                     size_t shared) {
    bool warm = args.ce > 0.0f && args.kind != NO_KD && args.temperature != 1.0f;
    bool cap = args.softcap > 0.0f;
    auto run = [&](auto kernel) {
        shim::launch(CLUSTER * rows, threads, order, kernel, CLUSTER, shared);
    };
    if (warm && cap) run([&] { sparse_cluster<Logit, Grad, true, true>(args); });
    else if (warm) run([&] { sparse_cluster<Logit, Grad, true, false>(args); });
    else if (cap) run([&] { sparse_cluster<Logit, Grad, false, true>(args); });
    else run([&] { sparse_cluster<Logit, Grad, false, false>(args); });
}

extern "C" int sparse_args_size() { return sizeof(SparseArgs); }

extern "C" void run_sparse_rows(const SparseArgs* args, int logit_bytes, int grad_bytes,
                                long long rows, unsigned threads, unsigned order) {
    if (logit_bytes == 2) sparse<bf16, bf16>(*args, rows, threads, order);
    else if (grad_bytes == 2) sparse<float, bf16>(*args, rows, threads, order);
    else sparse<float, float>(*args, rows, threads, order);
}

extern "C" void run_sparse_cluster(const SparseArgs* args, int logit_bytes, int grad_bytes,
                                   long long rows, unsigned threads, unsigned order,
                                   size_t shared) {
    if (logit_bytes == 2) clusters<bf16, bf16>(*args, rows, threads, order, shared);
    else if (grad_bytes == 2) clusters<float, bf16>(*args, rows, threads, order, shared);
    else clusters<float, float>(*args, rows, threads, order, shared);
}

template <typename Grad, bool TWO>
static void dense(DenseArgs args, long long rows, unsigned threads, unsigned order) {
    bool warm = args.ce > 0.0f && args.temperature != 1.0f;
    bool cap = args.softcap > 0.0f || args.teacher_softcap > 0.0f;
    if (warm && cap) shim::launch(rows, threads, order, [&] { dense_rows<Grad, true, true, TWO>(args); });
    else if (warm) shim::launch(rows, threads, order, [&] { dense_rows<Grad, true, false, TWO>(args); });
    else if (cap) shim::launch(rows, threads, order, [&] { dense_rows<Grad, false, true, TWO>(args); });
    else shim::launch(rows, threads, order, [&] { dense_rows<Grad, false, false, TWO>(args); });
}

extern "C" int dense_args_size() { return sizeof(DenseArgs); }

extern "C" void run_dense_rows(const DenseArgs* args, int grad_bytes, long long rows,
                               unsigned threads, unsigned order) {
    bool two = args->kind == FORWARD_KL || args->kind == REVERSE_KL;
    if (grad_bytes == 2 && two) dense<bf16, true>(*args, rows, threads, order);
    else if (grad_bytes == 2) dense<bf16, false>(*args, rows, threads, order);
    else if (two) dense<float, true>(*args, rows, threads, order);
    else dense<float, false>(*args, rows, threads, order);
}

template <int COUNT>
static void score(ScoreArgs args, long long rows, unsigned threads, unsigned order) {
    if (args.softcap > 0.0f) shim::launch(rows, threads, order, [&] { score_rows<COUNT, true>(args); });
    else shim::launch(rows, threads, order, [&] { score_rows<COUNT, false>(args); });
}

extern "C" int score_args_size() { return sizeof(ScoreArgs); }

extern "C" void run_score_rows(const ScoreArgs* args, int count, long long rows, unsigned threads,
                               unsigned order) {
    if (count == 1) score<1>(*args, rows, threads, order);
    else if (count == 2) score<2>(*args, rows, threads, order);
    else if (count == 3) score<3>(*args, rows, threads, order);
    else score<4>(*args, rows, threads, order);
}
