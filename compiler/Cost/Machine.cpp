#include "compiler/Cost/Machine.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace moe::cost {

std::string_view name(OpClass opClass) {
  switch (opClass) {
  case OpClass::gemm:
    return "gemm";
  case OpClass::grouped_gemm:
    return "grouped_gemm";
  case OpClass::attention:
    return "attention";
  case OpClass::elementwise:
    return "elementwise";
  case OpClass::exchange:
    return "exchange";
  }
  return "";
}

std::optional<OpClass> parseOpClass(std::string_view text) {
  for (OpClass opClass :
       {OpClass::gemm, OpClass::grouped_gemm, OpClass::attention,
        OpClass::elementwise, OpClass::exchange})
    if (name(opClass) == text)
      return opClass;
  return std::nullopt;
}

double Machine::peakFlops(DType type) const {
  switch (type) {
  case DType::bf16:
    return bf16FlopsPerSecond;
  case DType::f32:
  case DType::i32:
    return f32FlopsPerSecond;
  case DType::f64:
    return f64FlopsPerSecond;
  }
  return f32FlopsPerSecond;
}

std::string_view name(Copies copies) {
  switch (copies) {
  case Copies::choice:
    return "choice";
  case Copies::rank:
    return "rank";
  case Copies::node:
    return "node";
  }
  return "";
}

std::optional<Copies> parseCopies(std::string_view text) {
  for (Copies copies : {Copies::choice, Copies::rank, Copies::node})
    if (name(copies) == text)
      return copies;
  return std::nullopt;
}

double Efficiency::at(double size) const {
  auto above = std::find_if(points.begin(), points.end(),
                            [&](const Point &p) { return p.size > size; });
  if (above == points.begin())
    return points.front().share;
  const Point &low = *std::prev(above);
  if (above == points.end())
    return low.share;
  double position =
      std::log(size / low.size) / std::log(above->size / low.size);
  return low.share * std::pow(above->share / low.share, position);
}

std::string Efficiency::problem() const {
  auto print = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return std::string(text);
  };
  if (points.empty())
    return "needs at least one size";
  for (size_t i = 0; i < points.size(); ++i) {
    const Point &point = points[i];
    if (!(point.size > 0) || !std::isfinite(point.size))
      return "sizes must be positive, one is " + print(point.size);
    if (!(point.share > 0) || !(point.share <= 1))
      return "must be in (0, 1], is " + print(point.share);
    if (i == 0)
      continue;
    const Point &last = points[i - 1];
    if (point.size <= last.size)
      return "sizes must rise; " + print(point.size) + " follows " +
             print(last.size);
    // A rounding error of a share that was computed as the limit is no fault.
    if (point.share / last.share > point.size / last.size * (1 + 1e-9))
      return "the share grows faster than the size from " + print(last.size) +
             " to " + print(point.size) +
             ", so that more work would take less time";
  }
  return "";
}

} // namespace moe::cost
