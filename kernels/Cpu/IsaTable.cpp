//===- IsaTable.cpp - the table of one instruction set --------------------===//

#include "kernels/Cpu/Entries.h"

namespace moe::kernels::MOE_ISA_NAME {

const KernelTable &table() {
  static constexpr KernelTable entries = {
      .embedding = embedding,
      .rmsNorm = rmsNorm,
      .linear = linear,
      .rope = rope,
      .mlaKey = mlaKey,
      .attention = attention,
      .add = add,
      .route = route,
      .groupedLinear = groupedLinear,
      .swiglu = swiglu,
      .crossEntropy = crossEntropy,
      .rmsNormInputGrad = rmsNormInputGrad,
      .linearInputGrad = linearInputGrad,
      .ropeInputGrad = ropeInputGrad,
      .mlaKeyInputGrad = mlaKeyInputGrad,
      .attentionInputGrad = attentionInputGrad,
      .routeInputGrad = routeInputGrad,
      .groupedLinearInputGrad = groupedLinearInputGrad,
      .groupedLinearBiasScaleGrad = groupedLinearBiasScaleGrad,
      .swigluInputGrad = swigluInputGrad,
      .crossEntropyInputGrad = crossEntropyInputGrad,
      .embeddingWeightGrad = embeddingWeightGrad,
      .rmsNormWeightGrad = rmsNormWeightGrad,
      .linearWeightGrad = linearWeightGrad,
      .groupedLinearWeightGrad = groupedLinearWeightGrad,
      .attentionSinkGrad = attentionSinkGrad,
      .planExchange = planExchange,
      .gatherRows = gatherRows,
      .gatherScalars = gatherScalars,
      .reduceRows = reduceRows,
      .scatterScalars = scatterScalars,
      .adamw = adamw,
      .sumOfSquares = sumOfSquares,
  };
  return entries;
}

} // namespace moe::kernels::MOE_ISA_NAME
