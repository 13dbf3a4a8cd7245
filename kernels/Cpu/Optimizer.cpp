//===- Optimizer.cpp - AdamW and gradient norm ----------------------------===//

#include "kernels/Cpu/Entries.h"
#include "kernels/Cpu/Math.h"

#include <vector>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// The scalars of one step, computed in double and rounded once.
template <typename A> struct Step {
  A gradientScale, beta1, beta2, rest1, rest2, epsilon, decay, rate, correction;
};

} // namespace

// With b1, b2 the decay rates and t the step, from 1:
//   m = b1 m + (1-b1) g,  v = b2 v + (1-b2) g^2,
//   w = w (1 - rate decay) - rate/(1-b1^t) m / (sqrt(v)/sqrt(1-b2^t) +
//   epsilon).
void adamw(const Parallel &parallel, const Tensor &weight,
           const Tensor &gradient, const Tensor &master,
           const Tensor &firstMoment, const Tensor &secondMoment,
           double learningRate, double beta1, double beta2, double epsilon,
           double weightDecay, double gradientScale, int64_t step) {
  withStorage(weight.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const double unbiased1 = 1 - wholePower(beta1, step);
    const double unbiased2 = 1 - wholePower(beta2, step);
    const Step<A> c = {A(gradientScale),
                       A(beta1),
                       A(beta2),
                       A(1 - beta1),
                       A(1 - beta2),
                       A(epsilon),
                       A(-learningRate * weightDecay),
                       A(learningRate / unbiased1),
                       A(1 / squareRoot(unbiased2))};
    auto *stored = weight.as<S>();
    // What is updated: the master copy, or the weight itself.
    A *exact = master.present() ? master.as<A>() : weight.as<A>();
    const bool hasMaster = master.present();
    assert(hasMaster || sizeof(S) == sizeof(A));
    const auto *g = gradient.as<const A>();
    auto *m = firstMoment.as<A>();
    auto *v = secondMoment.as<A>();
    parallelFor(parallel, weight.elements(), [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const A scaled = g[i] * c.gradientScale;
        const A first = multiplyAdd(c.beta1, m[i], c.rest1 * scaled);
        const A second = multiplyAdd(c.beta2, v[i], c.rest2 * scaled * scaled);
        m[i] = first;
        v[i] = second;
        const A denominator =
            multiplyAdd(squareRoot(second), c.correction, c.epsilon);
        // The decay is far below one unit of 1, hence w + (-rate decay) w.
        exact[i] = multiplyAdd(c.decay, exact[i], exact[i]) -
                   c.rate * first / denominator;
      }
      if (hasMaster)
        for (int64_t i = begin; i < end; ++i)
          stored[i] = narrow<S>(exact[i]);
    });
  });
}

double sumOfSquares(const Parallel &parallel, const Tensor &x) {
  // Blocks of fixed length, then their sums in order.
  constexpr int64_t block = 4096;
  const int64_t n = x.elements(), blocks = (n + block - 1) / block;
  std::vector<double> partial(static_cast<size_t>(blocks));
  double *sums = partial.data();
  withStorage(x.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    const auto *values = x.as<const S>();
    parallelFor(parallel, blocks, [=](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t length = n - b * block < block ? n - b * block : block;
        sums[b] = dot<double>(values + b * block, values + b * block, length);
      }
    });
  });
  double sum = 0;
  for (double value : partial)
    sum += value;
  return sum;
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
