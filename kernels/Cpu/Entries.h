//===- Entries.h - the functions that fill the table ------------*- C++ -*-===//
//
// One declaration per entry of KernelTable; meaning and shapes are documented
// there.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "kernels/Cpu/Scalar.h"

namespace moe::kernels::MOE_ISA_NAME {

// Elementwise.cpp
void embedding(const Parallel &, const Tensor &tokens, const Tensor &table,
               const Tensor &out);
void embeddingWeightGrad(const Parallel &, const Tensor &dOut,
                         const Tensor &tokens, const Tensor &dTable);
void add(const Parallel &, const Tensor &a, const Tensor &b, const Tensor &out);

// Norm.cpp
void rmsNorm(const Parallel &, const Tensor &x, const Tensor &weight,
             double epsilon, int64_t groups, const Tensor &out,
             const Tensor &inverse);
void rmsNormInputGrad(const Parallel &, const Tensor &dOut, const Tensor &x,
                      const Tensor &inverse, const Tensor &weight,
                      int64_t groups, const Tensor &dX);
void rmsNormWeightGrad(const Parallel &, const Tensor &dOut, const Tensor &x,
                       const Tensor &inverse, int64_t groups,
                       const Tensor &dWeight);

// Linear.cpp
void linear(const Parallel &, const Tensor &x, const Tensor &weight,
            const Tensor &bias, const Tensor &out);
void linearInputGrad(const Parallel &, const Tensor &dOut, const Tensor &weight,
                     const Tensor &dX);
void linearWeightGrad(const Parallel &, const Tensor &dOut, const Tensor &x,
                      const Tensor &dWeight, const Tensor &dBias);
void groupedLinear(const Parallel &, const Tensor &x, const Tensor &counts,
                   const Tensor &weight, const Tensor &bias,
                   const Tensor &biasScale, const Tensor &out);
void groupedLinearInputGrad(const Parallel &, const Tensor &dOut,
                            const Tensor &counts, const Tensor &weight,
                            const Tensor &dX);
void groupedLinearBiasScaleGrad(const Parallel &, const Tensor &dOut,
                                const Tensor &counts, const Tensor &bias,
                                const Tensor &dScale);
void groupedLinearWeightGrad(const Parallel &, const Tensor &dOut,
                             const Tensor &x, const Tensor &counts,
                             const Tensor &biasScale, const Tensor &dWeight,
                             const Tensor &dBias);

// Rope.cpp
void rope(const Parallel &, const Tensor &x, int64_t heads,
          const Rotary &rotary, const Tensor &out);
void ropeInputGrad(const Parallel &, const Tensor &dOut, int64_t heads,
                   const Rotary &rotary, const Tensor &dX);
void mlaKey(const Parallel &, const Tensor &nope, const Tensor &pe,
            int64_t heads, const Rotary &rotary, const Tensor &key);
void mlaKeyInputGrad(const Parallel &, const Tensor &dKey, int64_t heads,
                     const Rotary &rotary, const Tensor &dNope,
                     const Tensor &dPe);

// Attention.cpp
void attention(const Parallel &, const Tensor &q, const Tensor &k,
               const Tensor &v, const Tensor &sinks, const Attention &attention,
               const Tensor &out, const Tensor &logSumExp);

// AttentionGrad.cpp
void attentionInputGrad(const Parallel &, const Tensor &dOut, const Tensor &q,
                        const Tensor &k, const Tensor &v, const Tensor &out,
                        const Tensor &logSumExp, const Attention &attention,
                        const Tensor &workspace, const Tensor &dQ,
                        const Tensor &dK, const Tensor &dV);
void attentionSinkGrad(const Parallel &, const Tensor &dOut, const Tensor &out,
                       const Tensor &logSumExp, const Tensor &sinks,
                       const Attention &attention, const Tensor &dSinks);

// Route.cpp
void route(const Parallel &, const Tensor &logits, const Tensor &correction,
           const Routing &routing, const Tensor &probabilities,
           const Tensor &experts, const Tensor &scores);
void routeInputGrad(const Parallel &, const Tensor &dProbabilities,
                    const Tensor &probabilities, const Tensor &experts,
                    const Tensor &scores, const Routing &routing,
                    const Tensor &dLogits);

// Swiglu.cpp
void swiglu(const Parallel &, const Tensor &x, const Tensor &rowScale,
            const Tensor &counts, const Swiglu &swiglu, const Tensor &out);
void swigluInputGrad(const Parallel &, const Tensor &dOut, const Tensor &x,
                     const Tensor &rowScale, const Tensor &counts,
                     const Swiglu &swiglu, const Tensor &dX,
                     const Tensor &dRowScale);

// Loss.cpp
void crossEntropy(const Parallel &, const Tensor &logits, const Tensor &labels,
                  const Tensor &loss, const Tensor &logSumExp);
void crossEntropyInputGrad(const Parallel &, const Tensor &logits,
                           const Tensor &labels, const Tensor &logSumExp,
                           double scale, const Tensor &dLogits);

// Exchange.cpp
void planExchange(const Parallel &, const Tensor &experts,
                  const Exchange &exchange, const Tensor &handle);
void gatherRows(const Parallel &, const Tensor &x, const Tensor &handle,
                const Exchange &exchange, const Tensor &staging);
void gatherScalars(const Parallel &, const Tensor &probabilities,
                   const Tensor &handle, const Exchange &exchange,
                   const Tensor &staging);
void reduceRows(const Parallel &, const Tensor &staging, const Tensor &handle,
                const Exchange &exchange, const Tensor &out);
void scatterScalars(const Parallel &, const Tensor &staging,
                    const Tensor &handle, const Exchange &exchange,
                    const Tensor &out);

// Optimizer.cpp
void adamw(const Parallel &, const Tensor &weight, const Tensor &gradient,
           const Tensor &master, const Tensor &firstMoment,
           const Tensor &secondMoment, double learningRate, double beta1,
           double beta2, double epsilon, double weightDecay,
           double gradientScale, int64_t step);
double sumOfSquares(const Parallel &, const Tensor &x);

} // namespace moe::kernels::MOE_ISA_NAME
