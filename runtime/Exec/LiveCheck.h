//===- LiveCheck.h - predicted against counted bytes ------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::exec {

/// The largest total of live bytes that a step of the rank had, the first such
/// moment when there are several, named as plans name it.
struct Peak {
  plan::ByteCounts live;
  int64_t step = -1;
  std::string op;        ///< empty: the step itself
  int64_t hostBytes = 0; ///< most that lived on the host, at any moment
};

/// Compares what lives with what the plan says, at every op and step.
class LiveCheck {
public:
  explicit LiveCheck(const plan::Rank &rank) : rank(rank) {}

  /// Any difference is an error that names the class and both numbers.
  static Status compare(const plan::ByteCounts &expected,
                        const plan::ByteCounts &found);

  /// Notes a moment of the step with this index.
  void note(const plan::ByteCounts &live, int64_t step, std::string_view op);
  const Peak &peak() const { return largest; }
  /// Whether the peak is the predicted one: bytes of each class, and where.
  Status comparePeak() const;

private:
  const plan::Rank &rank;
  Peak largest;
  int64_t total = 0;
};

} // namespace moe::exec
