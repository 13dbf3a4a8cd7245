//===- Rope.cpp - rotary position embedding -------------------------------===//

#include "kernels/Cpu/Entries.h"
#include "kernels/Cpu/Math.h"
#include "kernels/Cpu/Scratch.h"

#include <algorithm>
#include <cmath>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// Angle of pair i per position.
///
/// Plain: f_i = theta^(-2i/d). YaRN (arXiv 2309.00071, sections 3.2 and 3.4, as
/// Hugging Face computes it): pairs that turn more than betaFast times within
/// the original length keep f_i, those that turn less than betaSlow times take
/// f_i / factor, and a linear ramp lies between:
///   c(beta) = d ln(original / (2 pi beta)) / (2 ln theta)
///   low = max(c(betaFast), 0), high = min(c(betaSlow), d - 1), rounded down
///   and up with yarnTruncate
///   ramp_i = clamp((i - low) / (high - low), 0, 1)
///   frequency_i = f_i / factor * ramp_i + f_i * (1 - ramp_i)
double pairFrequency(const Rotary &rotary, int64_t i) {
  const auto dim = static_cast<double>(rotary.dim);
  const double plain = exponential(-2.0 * static_cast<double>(i) / dim *
                                   logarithm(rotary.theta));
  if (rotary.yarnFactor <= 1)
    return plain;
  const auto correction = [&](double beta) {
    return dim *
           logarithm(rotary.yarnOriginalLength /
                     (beta * 2 * 3.14159265358979323846)) /
           (2 * logarithm(rotary.theta));
  };
  double low = correction(rotary.yarnBetaFast);
  double high = correction(rotary.yarnBetaSlow);
  if (rotary.yarnTruncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high)
    high += 0.001;
  const double ramp =
      std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return plain / rotary.yarnFactor * ramp + plain * (1 - ramp);
}

/// cos and sin per position and pair, times the attention scale.
template <typename A> struct Rotation {
  const A *cosines;
  const A *sines;
  int64_t pairs, length;
};

/// The table for positions [0, min(sequenceLength, rows)), in double and
/// rounded once. Lives in the calling thread's scratch.
template <typename A>
Rotation<A> makeRotation(const Parallel &parallel, const Rotary &rotary,
                         int64_t rows) {
  const int64_t pairs = rotary.dim / 2;
  const int64_t length = std::min(rotary.sequenceLength, rows);
  const double scale = rotary.attentionScale;
  A *cosines = scratch<A>(ScratchSlot::table, 2 * length * pairs);
  A *sines = cosines + length * pairs;
  auto *frequencies = scratch<double>(ScratchSlot::row, pairs);
  for (int64_t i = 0; i < pairs; ++i)
    frequencies[i] = pairFrequency(rotary, i);
  parallelFor(parallel, length, [=](int64_t begin, int64_t end) {
    for (int64_t position = begin; position < end; ++position)
      for (int64_t i = 0; i < pairs; ++i) {
        const SineCosine turn =
            sineCosine(static_cast<double>(position) * frequencies[i]);
        cosines[position * pairs + i] = A(turn.cosine * scale);
        sines[position * pairs + i] = A(turn.sine * scale);
      }
  });
  return {cosines, sines, pairs, length};
}

/// Rotates pairs of columns, `step` apart, each with its partner; back: by the
/// transpose, which is the gradient. `from` and `to` may be the same.
template <bool back, int64_t step, typename A, typename S, typename U>
void rotatePairs(const A *cosines, const A *sines, int64_t pairs,
                 int64_t partner, const S *from, U *to) {
  for (int64_t i = 0; i < pairs; ++i) {
    const A first = widen(from[i * step]);
    const A second = widen(from[i * step + partner]);
    const A sine = back ? -sines[i] : sines[i];
    to[i * step] = narrow<U>(multiplyAdd(first, cosines[i], -(second * sine)));
    to[i * step + partner] =
        narrow<U>(multiplyAdd(second, cosines[i], first * sine));
  }
}

/// Rotates `2 * pairs` columns by the table's row of `position`.
template <bool back, typename A, typename S, typename U>
void rotate(const Rotation<A> &table, int64_t position, bool interleaved,
            const S *from, U *to) {
  const A *cosines = table.cosines + position * table.pairs;
  const A *sines = table.sines + position * table.pairs;
  if (interleaved)
    rotatePairs<back, 2>(cosines, sines, table.pairs, 1, from, to);
  else
    rotatePairs<back, 1>(cosines, sines, table.pairs, table.pairs, from, to);
}

template <bool back>
void rotateHeads(const Parallel &parallel, const Tensor &x, int64_t heads,
                 const Rotary &rotary, const Tensor &out) {
  withStorage(x.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t rows = x.dim(0), width = x.dim(1) / heads;
    const Rotation<A> table = makeRotation<A>(parallel, rotary, rows);
    const int64_t rotated = rotary.begin + rotary.dim;
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t h = 0; h < heads; ++h) {
          const S *from = x.as<const S>() + (t * heads + h) * width;
          S *to = out.as<S>() + (t * heads + h) * width;
          for (int64_t i = 0; i < rotary.begin; ++i)
            to[i] = from[i];
          rotate<back>(table, t % table.length, rotary.interleaved,
                       from + rotary.begin, to + rotary.begin);
          for (int64_t i = rotated; i < width; ++i)
            to[i] = from[i];
        }
    });
  });
}

} // namespace

void rope(const Parallel &parallel, const Tensor &x, int64_t heads,
          const Rotary &rotary, const Tensor &out) {
  rotateHeads<false>(parallel, x, heads, rotary, out);
}

void ropeInputGrad(const Parallel &parallel, const Tensor &dOut, int64_t heads,
                   const Rotary &rotary, const Tensor &dX) {
  rotateHeads<true>(parallel, dOut, heads, rotary, dX);
}

void mlaKey(const Parallel &parallel, const Tensor &nope, const Tensor &pe,
            int64_t heads, const Rotary &rotary, const Tensor &key) {
  withStorage(nope.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t rows = nope.dim(0), plain = nope.dim(1) / heads;
    const int64_t turned = pe.dim(1), width = plain + turned;
    const Rotation<A> table = makeRotation<A>(parallel, rotary, rows);
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const S *shared = pe.as<const S>() + t * turned;
        S *first = key.as<S>() + t * heads * width + plain;
        for (int64_t i = rotary.dim; i < turned; ++i)
          first[i] = shared[i];
        rotate<false>(table, t % table.length, rotary.interleaved, shared,
                      first);
        for (int64_t h = 0; h < heads; ++h) {
          const S *from = nope.as<const S>() + (t * heads + h) * plain;
          S *to = key.as<S>() + (t * heads + h) * width;
          for (int64_t i = 0; i < plain; ++i)
            to[i] = from[i];
          if (h > 0)
            for (int64_t i = 0; i < turned; ++i)
              to[plain + i] = first[i];
        }
      }
    });
  });
}

// The heads share pe: their gradients are added in the order of heads, turned
// back once and rounded once.
void mlaKeyInputGrad(const Parallel &parallel, const Tensor &dKey,
                     int64_t heads, const Rotary &rotary, const Tensor &dNope,
                     const Tensor &dPe) {
  withStorage(dKey.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t rows = dKey.dim(0), plain = dNope.dim(1) / heads;
    const int64_t turned = dPe.dim(1), width = plain + turned;
    const Rotation<A> table = makeRotation<A>(parallel, rotary, rows);
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      A *sum = scratch<A>(ScratchSlot::row, turned);
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t i = 0; i < turned; ++i)
          sum[i] = A(0);
        for (int64_t h = 0; h < heads; ++h) {
          const S *from = dKey.as<const S>() + (t * heads + h) * width;
          S *to = dNope.as<S>() + (t * heads + h) * plain;
          for (int64_t i = 0; i < plain; ++i)
            to[i] = from[i];
          for (int64_t i = 0; i < turned; ++i)
            sum[i] += widen(from[plain + i]);
        }
        S *shared = dPe.as<S>() + t * turned;
        for (int64_t i = rotary.dim; i < turned; ++i)
          shared[i] = narrow<S>(sum[i]);
        rotate<true>(table, t % table.length, rotary.interleaved, sum, shared);
      }
    });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
