#include "runtime/Exec/LiveCheck.h"

#include <algorithm>

namespace moe::exec {

Status LiveCheck::compare(const plan::ByteCounts &expected,
                          const plan::ByteCounts &found) {
  for (size_t c = 0; c < plan::kMemoryClassCount; ++c)
    if (expected.bytes[c] != found.bytes[c])
      return Error{"live bytes of class " +
                   std::string(plan::name(static_cast<plan::MemoryClass>(c))) +
                   ": the plan says " + std::to_string(expected.bytes[c]) +
                   ", the arena holds " + std::to_string(found.bytes[c])};
  return {};
}

void LiveCheck::note(const plan::ByteCounts &live, int64_t step,
                     std::string_view op) {
  largest.hostBytes =
      std::max(largest.hostBytes, live[plan::MemoryClass::host]);
  int64_t sum = live.total();
  if (largest.step >= 0 && sum <= total)
    return;
  total = sum;
  largest.live = live;
  largest.step = step;
  largest.op = op;
}

static std::string describe(const plan::ByteCounts &live, int64_t step,
                            const std::string &op) {
  return std::to_string(live.total()) + " bytes at step " +
         std::to_string(step) + (op.empty() ? "" : ", op '" + op + "'");
}

Status LiveCheck::comparePeak() const {
  if (largest.hostBytes != rank.hostPeakBytes)
    return Error{"peak on the host: the plan says " +
                 std::to_string(rank.hostPeakBytes) + " bytes, measured " +
                 std::to_string(largest.hostBytes)};
  if (largest.live == rank.peak && largest.step == rank.peakStep &&
      largest.op == rank.peakOp)
    return {};
  return Error{"peak: the plan says " +
               describe(rank.peak, rank.peakStep, rank.peakOp) + ", measured " +
               describe(largest.live, largest.step, largest.op)};
}

} // namespace moe::exec
