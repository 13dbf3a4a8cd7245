//===- Route.cpp - choice of experts --------------------------------------===//

#include "kernels/Cpu/Entries.h"
#include "kernels/Cpu/Math.h"
#include "kernels/Cpu/Scratch.h"

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// Index of the largest value among those not yet taken; the lowest one on ties
/// and when nothing compares (NaN).
template <typename A>
int64_t takeLargest(const A *values, bool *taken, int64_t n) {
  int64_t best = -1;
  for (int64_t i = 0; i < n; ++i)
    if (!taken[i] && (best < 0 || values[i] > values[best]))
      best = i;
  assert(best >= 0 && "top_k exceeds the experts of the chosen groups");
  taken[best] = true;
  return best;
}

/// Marks the experts outside the chosen groups as taken.
template <typename A>
void excludeGroups(const Routing &routing, const A *selection, int64_t experts,
                   A *groupScores, bool *groupTaken, bool *taken) {
  const int64_t size = experts / routing.groups;
  for (int64_t g = 0; g < routing.groups; ++g) {
    const A *group = selection + g * size;
    A largest = -std::numeric_limits<A>::infinity(), second = largest;
    for (int64_t i = 0; i < size; ++i) {
      if (group[i] > largest) {
        second = largest;
        largest = group[i];
      } else if (group[i] > second) {
        second = group[i];
      }
    }
    const bool both = routing.groupScore == GroupScore::top2_sum && size > 1;
    groupScores[g] = both ? largest + second : largest;
    groupTaken[g] = false;
  }
  for (int64_t e = 0; e < experts; ++e)
    taken[e] = true;
  for (int64_t i = 0; i < routing.topGroups; ++i) {
    const int64_t g = takeLargest(groupScores, groupTaken, routing.groups);
    for (int64_t e = g * size; e < (g + 1) * size; ++e)
      taken[e] = false;
  }
}

/// Softmax of a row over all experts, or sigmoid of each.
template <typename A>
void scoreRow(Scoring scoring, const A *logits, int64_t experts, A *scores) {
  if (scoring == Scoring::sigmoid) {
    for (int64_t e = 0; e < experts; ++e)
      scores[e] = sigmoid(logits[e]);
    return;
  }
  const A largest = maximum(logits, experts);
  for (int64_t e = 0; e < experts; ++e)
    scores[e] = exponential(logits[e] - largest);
  const A sum = laneSum<A>(
      experts, [=](int64_t e, A partial) { return partial + scores[e]; });
  for (int64_t e = 0; e < experts; ++e)
    scores[e] /= sum;
}

/// Keeps the denominator of normalized sigmoid scores away from 0.
constexpr double sigmoidFloor = 1e-20;

template <typename A> A chosenSum(const Routing &routing, const A *chosen) {
  A sum = 0;
  for (int64_t j = 0; j < routing.topK; ++j)
    sum += chosen[j];
  return routing.scoring == Scoring::sigmoid ? sum + A(sigmoidFloor) : sum;
}

} // namespace

void route(const Parallel &parallel, const Tensor &logits,
           const Tensor &correction, const Routing &routing,
           const Tensor &probabilities, const Tensor &experts,
           const Tensor &scores) {
  withStorage(logits.dtype, [&](auto tag) {
    using A = Accumulator<typename decltype(tag)::Type>;
    const int64_t rows = logits.dim(0), width = logits.dim(1);
    const int64_t topK = routing.topK;
    const bool wholeRows =
        routing.scoring == Scoring::softmax && !routing.normalize;
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      A *all = scratch<A>(ScratchSlot::row, 2 * width + topK + routing.groups);
      A *selection = all + width;
      A *chosen = selection + width;
      A *groupScores = chosen + topK;
      bool *taken = scratch<bool>(ScratchSlot::tile, width + routing.groups);
      for (int64_t t = begin; t < end; ++t) {
        scoreRow(routing.scoring, logits.as<const A>() + t * width, width, all);
        for (int64_t e = 0; e < width; ++e) {
          selection[e] = all[e];
          taken[e] = false;
        }
        if (correction.present())
          withStorage(correction.dtype, [&](auto biasTag) {
            using B = typename decltype(biasTag)::Type;
            for (int64_t e = 0; e < width; ++e)
              selection[e] += A(widen(correction.as<const B>()[e]));
          });
        if (routing.groups > 1)
          excludeGroups(routing, selection, width, groupScores, taken + width,
                        taken);
        int32_t *ids = experts.as<int32_t>() + t * topK;
        for (int64_t j = 0; j < topK; ++j) {
          ids[j] = static_cast<int32_t>(takeLargest(selection, taken, width));
          chosen[j] = all[ids[j]];
        }
        A *result = probabilities.as<A>() + t * topK;
        const A sum = chosenSum(routing, chosen);
        for (int64_t j = 0; j < topK; ++j)
          result[j] = (routing.normalize ? chosen[j] / sum : chosen[j]) *
                      A(routing.scale);
        if (!scores.present())
          continue;
        const A *kept = wholeRows ? all : chosen;
        const int64_t columns = wholeRows ? width : topK;
        for (int64_t i = 0; i < columns; ++i)
          scores.as<A>()[t * columns + i] = kept[i];
      }
    });
  });
}

// With d_j the gradient of probability j, c the scale, p the probabilities and
// s the scores of the chosen:
//   softmax, normalized:  d logit_j = p_j (d_j - sum_i d_i p_i / c)
//   softmax:              d logit_e = s_e (g_e - sum_j g_j s_j), g = c d at the
//                         chosen and 0 elsewhere
//   sigmoid:              d logit_j = g_j s_j (1 - s_j), where g = c d or, when
//                         normalized by S, c (d_j - sum_i d_i s_i / S) / S
void routeInputGrad(const Parallel &parallel, const Tensor &dProbabilities,
                    const Tensor &probabilities, const Tensor &experts,
                    const Tensor &scores, const Routing &routing,
                    const Tensor &dLogits) {
  withStorage(dLogits.dtype, [&](auto tag) {
    using A = Accumulator<typename decltype(tag)::Type>;
    const int64_t rows = dLogits.dim(0), width = dLogits.dim(1);
    const int64_t topK = routing.topK;
    const A scale = A(routing.scale);
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const A *d = dProbabilities.as<const A>() + t * topK;
        const A *p = probabilities.as<const A>() + t * topK;
        const int32_t *ids = experts.as<const int32_t>() + t * topK;
        A *result = dLogits.as<A>() + t * width;
        for (int64_t e = 0; e < width; ++e)
          result[e] = A(0);
        A sum = 0;
        if (routing.scoring == Scoring::sigmoid) {
          const A *s = scores.as<const A>() + t * topK;
          const A total = routing.normalize ? chosenSum(routing, s) : A(1);
          for (int64_t j = 0; routing.normalize && j < topK; ++j)
            sum = multiplyAdd(d[j], s[j] / total, sum);
          for (int64_t j = 0; j < topK; ++j)
            result[ids[j]] =
                scale * (d[j] - sum) / total * (s[j] * (A(1) - s[j]));
        } else if (routing.normalize) {
          for (int64_t j = 0; j < topK; ++j)
            sum = multiplyAdd(d[j], p[j] / scale, sum);
          for (int64_t j = 0; j < topK; ++j)
            result[ids[j]] = p[j] * (d[j] - sum);
        } else {
          const A *s = scores.as<const A>() + t * width;
          for (int64_t j = 0; j < topK; ++j) {
            result[ids[j]] = scale * d[j];
            sum = multiplyAdd(scale * d[j], s[ids[j]], sum);
          }
          for (int64_t e = 0; e < width; ++e)
            result[e] = s[e] * (result[e] - sum);
        }
      }
    });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
