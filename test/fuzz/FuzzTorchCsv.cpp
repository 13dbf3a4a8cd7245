//===- FuzzTorchCsv.cpp - arbitrary bytes as a torch schedule -------------===//
//
// The first two bytes are the numbers of ranks and microbatches. Any text is
// either refused with a message or is a schedule that is legal and comes back
// from both formats unchanged.
//
//===----------------------------------------------------------------------===//

#include "compiler/Schedule/TorchCsv.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace moe::schedule;
  if (size < 2)
    return 0;
  ScheduleProblem base{data[0] % 8, data[1] % 16};
  std::string_view text(reinterpret_cast<const char *>(data) + 2, size - 2);
  moe::Result<Schedule> schedule = readTorchCsv(text, base);
  if (!schedule) {
    if (schedule.error().message.empty())
      std::abort();
    return 0;
  }
  if (!verify(*schedule))
    std::abort();
  for (TorchCsvFormat format :
       {TorchCsvFormat::compute_only, TorchCsvFormat::compute_comms}) {
    moe::Result<std::string> written = writeTorchCsv(*schedule, format);
    if (!written)
      std::abort();
    moe::Result<Schedule> again = readTorchCsv(*written, base);
    if (!again || !(*again == *schedule))
      std::abort();
  }
  return 0;
}
