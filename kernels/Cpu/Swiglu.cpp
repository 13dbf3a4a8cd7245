//===- Swiglu.cpp - gated activation --------------------------------------===//

#include "kernels/Cpu/Entries.h"
#include "kernels/Cpu/Math.h"

#include <limits>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// The constants of `Swiglu` in the accumulator's type; without a limit the
/// bounds are infinite.
template <typename A> struct Constants {
  A limit, alpha, offset;

  explicit Constants(const Swiglu &swiglu)
      : limit(swiglu.limit > 0 ? A(swiglu.limit)
                               : std::numeric_limits<A>::infinity()),
        alpha(A(swiglu.alpha)), offset(A(swiglu.upOffset)) {}
};

/// Bounds that let NaN pass.
template <typename A> A atMost(A x, A bound) { return x > bound ? bound : x; }
template <typename A> A atLeast(A x, A bound) { return x < bound ? bound : x; }

} // namespace

void swiglu(const Parallel &parallel, const Tensor &x, const Tensor &rowScale,
            const Tensor &counts, const Swiglu &swiglu, const Tensor &out) {
  withStorage(x.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t width = x.dim(1) / 2;
    const Constants<A> constants(swiglu);
    const A limit = constants.limit, alpha = constants.alpha,
            offset = constants.offset;
    const A *scales = rowScale.present() ? rowScale.as<const A>() : nullptr;
    const int64_t rows = liveRows(counts, x.dim(0));
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const S *gates = x.as<const S>() + r * 2 * width;
        const S *ups = gates + width;
        S *result = out.as<S>() + r * width;
        const A scale = scales ? scales[r] : A(1);
        for (int64_t i = 0; i < width; ++i) {
          const A gate = atMost<A>(widen(gates[i]), limit);
          const A up = atLeast<A>(atMost<A>(widen(ups[i]), limit), -limit);
          result[i] =
              narrow<S>(gate * sigmoid(alpha * gate) * (up + offset) * scale);
        }
      }
    });
  });
}

// With s = sigmoid(alpha gate), u = up + offset, d = dOut * scale:
//   d gate = d u s (1 + alpha gate (1 - s)),  d up = d gate s,
//   d scale = sum of dOut gate s u; where a bound holds, the gradient is 0.
void swigluInputGrad(const Parallel &parallel, const Tensor &dOut,
                     const Tensor &x, const Tensor &rowScale,
                     const Tensor &counts, const Swiglu &swiglu,
                     const Tensor &dX, const Tensor &dRowScale) {
  withStorage(x.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t width = x.dim(1) / 2;
    const Constants<A> constants(swiglu);
    const A limit = constants.limit, alpha = constants.alpha,
            offset = constants.offset;
    const A *scales = rowScale.present() ? rowScale.as<const A>() : nullptr;
    const int64_t rows = liveRows(counts, x.dim(0));
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const S *gates = x.as<const S>() + r * 2 * width;
        const S *ups = gates + width;
        const S *gradient = dOut.as<const S>() + r * width;
        S *dGates = dX.as<S>() + r * 2 * width;
        S *dUps = dGates + width;
        const A scale = scales ? scales[r] : A(1);
        if (dRowScale.present())
          dRowScale.as<A>()[r] = laneSum<A>(width, [=](int64_t i, A partial) {
            const A gate = atMost<A>(widen(gates[i]), limit);
            const A up = atLeast<A>(atMost<A>(widen(ups[i]), limit), -limit);
            return multiplyAdd(A(widen(gradient[i])),
                               gate * sigmoid(alpha * gate) * (up + offset),
                               partial);
          });
        for (int64_t i = 0; i < width; ++i) {
          const A gateInput = widen(gates[i]), upInput = widen(ups[i]);
          const A gate = atMost<A>(gateInput, limit);
          const A up = atLeast<A>(atMost<A>(upInput, limit), -limit);
          const A s = sigmoid(alpha * gate);
          const A d = A(widen(gradient[i])) * scale;
          const A slope = multiplyAdd(alpha * gate, A(1) - s, A(1));
          const A dGate = d * (up + offset) * s * slope;
          const A dUp = d * gate * s;
          dGates[i] = narrow<S>(gateInput > limit ? A(0) : dGate);
          dUps[i] = narrow<S>(upInput > limit || upInput < -limit ? A(0) : dUp);
        }
      }
    });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
