//===- Kernels.h - the table of arithmetic ----------------------*- C++ -*-===//
//
// Every op of the moe dialect that computes is one entry of this table; a
// backend fills it. Kernels neither allocate device memory nor keep state:
// outputs and scratch are given. Dispatch and combine appear as the local
// halves of the exchange; moving rows between ranks is the transport's work.
//
// Shapes: T tokens of a microbatch, C capacity rows behind a dispatch, H model
// width, E experts, L experts on this rank. Matrices are row-major and dense.
// Activations and weights have the table's storage type S (bf16, f32 or f64);
// where f32 is written below it reads f64 when S is f64. Gradients of weights
// are f32 (f64) and are accumulated into (+=).
//
// Contract of the CPU backend: sums run in a fixed order with one fused
// multiply-add each, in f32 (f64), and are rounded once, so that results do not
// depend on the number of threads, on how rows are split over ranks, or on
// which vector instructions the machine has.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/DType.h"

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace moe::kernels {

/// A dense row-major view. `data` is null for an absent optional tensor.
struct Tensor {
  void *data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  std::array<int64_t, 4> dims{};

  bool present() const { return data != nullptr; }
  int64_t dim(int i) const {
    assert(i < rank);
    return dims[static_cast<size_t>(i)];
  }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i)
      n *= dims[static_cast<size_t>(i)];
    return n;
  }
  template <typename T> T *as() const { return static_cast<T *>(data); }
};

/// Rotary position embedding: which columns of a head rotate, and how fast.
/// Frequencies follow `theta`; `yarnFactor` > 1 selects YaRN (arXiv
/// 2309.00071).
struct Rotary {
  int64_t sequenceLength = 0; ///< position of row t is t % sequenceLength
  int64_t begin = 0;          ///< first rotated column of a head
  int64_t dim = 0;            ///< rotated columns, even
  bool interleaved = false;   ///< pairs (2i, 2i+1) instead of (i, i + dim/2)
  double theta = 10000;
  double yarnFactor = 1;
  double yarnOriginalLength = 0;
  double yarnBetaFast = 32;
  double yarnBetaSlow = 1;
  bool yarnTruncate = true;  ///< round the correction range to integers
  double attentionScale = 1; ///< multiplies cos and sin
};

struct Attention {
  int64_t sequenceLength = 0; ///< rows [i*s, (i+1)*s) attend among themselves
  int64_t heads = 0, kvHeads = 0, qkDim = 0, vDim = 0;
  double softmaxScale = 1;
  int64_t window =
      0; ///< 0: full causal; w: the w latest positions, own included
};

enum class Scoring : uint8_t { softmax, sigmoid };
enum class GroupScore : uint8_t { maximum, top2_sum };

/// Choice of experts. Ties go to the lower expert index.
///  softmax: score = softmax over all experts; sigmoid: elementwise.
///  Selection uses score + correction bias; probabilities use score alone.
///  With groups > 1, first the `topGroups` best groups are chosen, by the
///  maximum or by the sum of the two best selection scores in the group.
///  normalize: divide by the sum of the chosen scores (+1e-20 for sigmoid);
///  then multiply by `scale`.
struct Routing {
  int64_t topK = 0;
  Scoring scoring = Scoring::softmax;
  bool normalize = false;
  int64_t groups = 1, topGroups = 1;
  GroupScore groupScore = GroupScore::maximum;
  double scale = 1;
};

/// gate, up = halves of a row (first F columns: gate).
///  limit > 0: gate = min(gate, limit), up = clamp(up, -limit, limit).
///  result = gate * sigmoid(alpha * gate) * (up + upOffset) * row scale.
struct Swiglu {
  double limit = 0;
  double alpha = 1;
  double upOffset = 0;
};

/// Geometry of an expert exchange.
struct Exchange {
  int64_t tokens = 0; ///< T, rows before dispatch
  int64_t topK = 0;
  int64_t experts = 0;  ///< E, over all ranks of the group
  int64_t ranks = 1;    ///< expert-parallel ranks; rank r owns experts
                        ///< [r*E/ranks, (r+1)*E/ranks)
  int64_t capacity = 0; ///< C, rows behind the dispatch
  int64_t localExperts() const { return experts / ranks; }
};

/// Layout of a dispatch handle: an i32 vector
///   [0, T*k)           position of assignment (t, j) in send order, where send
///                      order sorts assignments by expert, then by (t, j)
///   [T*k, T*k+E)       rows sent to each expert
///   [T*k+E, ...+ranks*L)  rows received, [source rank][local expert]
/// Received rows lie grouped by local expert, inside an expert by source rank,
/// inside a source in its send order.
constexpr int64_t handleElements(const Exchange &e) {
  return e.tokens * e.topK + e.experts + e.experts;
}

/// Parallel for inside one kernel: calls body(begin, end, context) over
/// disjoint chunks of [0, n). Provided by the caller so that kernels own no
/// threads.
struct Parallel {
  void *pool = nullptr;
  void (*run)(void *pool, int64_t n, void (*body)(int64_t, int64_t, void *),
              void *context) = nullptr;
};

/// The table. All functions are synchronous on the CPU backend.
struct KernelTable {
  // --- forward ---------------------------------------------------------------
  /// tokens [T] i32, table [V,H] -> out [T,H]
  void (*embedding)(const Parallel &, const Tensor &tokens, const Tensor &table,
                    const Tensor &out);
  /// x [T,D], weight [D/groups] -> out [T,D], inverse [T,groups] f32.
  /// Each of the `groups` equal parts of a row is normalized on its own.
  void (*rmsNorm)(const Parallel &, const Tensor &x, const Tensor &weight,
                  double epsilon, int64_t groups, const Tensor &out,
                  const Tensor &inverse);
  /// x [T,K], weight [N,K], bias [N] optional -> out [T,N] (S or f32)
  void (*linear)(const Parallel &, const Tensor &x, const Tensor &weight,
                 const Tensor &bias, const Tensor &out);
  /// x [T, heads*headDim] -> out, same shape
  void (*rope)(const Parallel &, const Tensor &x, int64_t heads,
               const Rotary &rotary, const Tensor &out);
  /// nope [T, heads*n], pe [T, r] -> key [T, heads*(n+r)]: per head the n
  /// columns followed by the rotated pe (rotary.begin is 0 and counts inside
  /// pe)
  void (*mlaKey)(const Parallel &, const Tensor &nope, const Tensor &pe,
                 int64_t heads, const Rotary &rotary, const Tensor &key);
  /// q [T, heads*qkDim], k [T, kvHeads*qkDim], v [T, kvHeads*vDim], sinks
  /// [heads] optional (a logit that takes probability and has no value)
  /// -> out [T, heads*vDim], logSumExp [heads, T] f32 (sink included)
  void (*attention)(const Parallel &, const Tensor &q, const Tensor &k,
                    const Tensor &v, const Tensor &sinks,
                    const Attention &attention, const Tensor &out,
                    const Tensor &logSumExp);
  /// elementwise; any dtype (f32 or S), any equal shapes
  void (*add)(const Parallel &, const Tensor &a, const Tensor &b,
              const Tensor &out);
  /// logits [T,E] f32, correction [E] optional -> probabilities [T,k] f32,
  /// experts [T,k] i32, scores f32: [T,E] (softmax without normalize),
  /// [T,k] (sigmoid: of the chosen), absent (softmax with normalize)
  void (*route)(const Parallel &, const Tensor &logits,
                const Tensor &correction, const Routing &routing,
                const Tensor &probabilities, const Tensor &experts,
                const Tensor &scores);
  /// x [C,K], counts [L] i32, weight [L,N,K], bias [L,N] optional, biasScale
  /// [C] f32 optional -> out [C,N]. Row r of expert e: x_r W_e^T + biasScale_r
  /// b_e. Rows behind the sum of counts are neither read nor written; this
  /// holds for every kernel that takes counts.
  void (*groupedLinear)(const Parallel &, const Tensor &x, const Tensor &counts,
                        const Tensor &weight, const Tensor &bias,
                        const Tensor &biasScale, const Tensor &out);
  /// x [R,2F], rowScale [R] f32 optional, counts optional -> out [R,F]
  void (*swiglu)(const Parallel &, const Tensor &x, const Tensor &rowScale,
                 const Tensor &counts, const Swiglu &swiglu, const Tensor &out);
  /// logits [T,V], labels [T] i32 -> loss [1] f32 (mean over T),
  /// logSumExp [T] f32
  void (*crossEntropy)(const Parallel &, const Tensor &logits,
                       const Tensor &labels, const Tensor &loss,
                       const Tensor &logSumExp);

  // --- backward for inputs ---------------------------------------------------
  void (*rmsNormInputGrad)(const Parallel &, const Tensor &dOut,
                           const Tensor &x, const Tensor &inverse,
                           const Tensor &weight, int64_t groups,
                           const Tensor &dX);
  /// dOut [T,N] (S or f32), weight [N,K] -> dX [T,K]
  void (*linearInputGrad)(const Parallel &, const Tensor &dOut,
                          const Tensor &weight, const Tensor &dX);
  void (*ropeInputGrad)(const Parallel &, const Tensor &dOut, int64_t heads,
                        const Rotary &rotary, const Tensor &dX);
  void (*mlaKeyInputGrad)(const Parallel &, const Tensor &dKey, int64_t heads,
                          const Rotary &rotary, const Tensor &dNope,
                          const Tensor &dPe);
  /// Also right with sinks: logSumExp holds their share. workspace [heads, T]
  /// f32 takes the row sums of dOut*out.
  void (*attentionInputGrad)(const Parallel &, const Tensor &dOut,
                             const Tensor &q, const Tensor &k, const Tensor &v,
                             const Tensor &out, const Tensor &logSumExp,
                             const Attention &attention,
                             const Tensor &workspace, const Tensor &dQ,
                             const Tensor &dK, const Tensor &dV);
  /// dProbabilities [T,k], probabilities, experts, scores as route -> dLogits
  /// [T,E] f32
  void (*routeInputGrad)(const Parallel &, const Tensor &dProbabilities,
                         const Tensor &probabilities, const Tensor &experts,
                         const Tensor &scores, const Routing &routing,
                         const Tensor &dLogits);
  void (*groupedLinearInputGrad)(const Parallel &, const Tensor &dOut,
                                 const Tensor &counts, const Tensor &weight,
                                 const Tensor &dX);
  /// dOut [C,N], counts, bias [L,N] -> dScale [C] f32
  void (*groupedLinearBiasScaleGrad)(const Parallel &, const Tensor &dOut,
                                     const Tensor &counts, const Tensor &bias,
                                     const Tensor &dScale);
  /// -> dX [R,2F], dRowScale [R] f32 (present iff rowScale is)
  void (*swigluInputGrad)(const Parallel &, const Tensor &dOut, const Tensor &x,
                          const Tensor &rowScale, const Tensor &counts,
                          const Swiglu &swiglu, const Tensor &dX,
                          const Tensor &dRowScale);
  /// dLogits = scale * (softmax(logits) - onehot(labels)); may be in place
  void (*crossEntropyInputGrad)(const Parallel &, const Tensor &logits,
                                const Tensor &labels, const Tensor &logSumExp,
                                double scale, const Tensor &dLogits);

  // --- weight gradients (all accumulate) -------------------------------------
  void (*embeddingWeightGrad)(const Parallel &, const Tensor &dOut,
                              const Tensor &tokens, const Tensor &dTable);
  void (*rmsNormWeightGrad)(const Parallel &, const Tensor &dOut,
                            const Tensor &x, const Tensor &inverse,
                            int64_t groups, const Tensor &dWeight);
  /// dWeight [N,K] += dOut^T x, dBias [N] (optional) += column sums of dOut
  void (*linearWeightGrad)(const Parallel &, const Tensor &dOut,
                           const Tensor &x, const Tensor &dWeight,
                           const Tensor &dBias);
  void (*groupedLinearWeightGrad)(const Parallel &, const Tensor &dOut,
                                  const Tensor &x, const Tensor &counts,
                                  const Tensor &biasScale,
                                  const Tensor &dWeight, const Tensor &dBias);
  /// dSinks [heads] += -sum_t exp(sink - lse) * rowsum(dOut*out)
  void (*attentionSinkGrad)(const Parallel &, const Tensor &dOut,
                            const Tensor &out, const Tensor &logSumExp,
                            const Tensor &sinks, const Attention &attention,
                            const Tensor &dSinks);

  // --- the local halves of dispatch and combine ------------------------------
  /// experts [T,k] -> positions and send counts of the handle
  void (*planExchange)(const Parallel &, const Tensor &experts,
                       const Exchange &exchange, const Tensor &handle);
  /// staging row of assignment (t, j) = x row t, in send order;
  /// x [T,H] -> staging [T*k,H]
  void (*gatherRows)(const Parallel &, const Tensor &x, const Tensor &handle,
                     const Exchange &exchange, const Tensor &staging);
  /// probabilities [T,k] f32 -> staging [T*k] f32, in send order
  void (*gatherScalars)(const Parallel &, const Tensor &probabilities,
                        const Tensor &handle, const Exchange &exchange,
                        const Tensor &staging);
  /// out row t = sum over j ascending of the staging row of (t, j), in f32,
  /// rounded once; staging [T*k,H] -> out [T,H]
  void (*reduceRows)(const Parallel &, const Tensor &staging,
                     const Tensor &handle, const Exchange &exchange,
                     const Tensor &out);
  /// staging [T*k] f32 -> out [T,k] f32
  void (*scatterScalars)(const Parallel &, const Tensor &staging,
                         const Tensor &handle, const Exchange &exchange,
                         const Tensor &out);

  // --- optimizer
  // --------------------------------------------------------------
  /// AdamW (arXiv 1711.05101) on flat arrays. `master` is absent unless weight
  /// is bf16. `gradientScale` multiplies the gradient first (clipping).
  void (*adamw)(const Parallel &, const Tensor &weight, const Tensor &gradient,
                const Tensor &master, const Tensor &firstMoment,
                const Tensor &secondMoment, double learningRate, double beta1,
                double beta2, double epsilon, double weightDecay,
                double gradientScale, int64_t step);
  /// Sum of squares of a flat f32/f64 array, in f64, in a fixed order.
  double (*sumOfSquares)(const Parallel &, const Tensor &x);
};

/// The reference backend.
const KernelTable &cpuKernels();

} // namespace moe::kernels
