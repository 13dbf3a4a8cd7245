//===- TorchCsv.h - schedules of torch.distributed.pipelining ---*- C++ -*-===//
//
// One row a rank, one cell an action: stage, operation, microbatch, as "2F0".
// Operations are F, B (full backward), I and W (its halves); two that overlap
// are "(2F4;5B0)OVERLAP_F_B". Files with communication have SEND_F, RECV_F,
// SEND_B and RECV_B as well, and REDUCE_GRAD, UNSHARD and RESHARD without a
// microbatch. docs/schedules.md describes the rules that are checked.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Schedule.h"

#include <optional>
#include <string>
#include <string_view>

namespace moe::schedule {

enum class TorchCsvFormat : uint8_t {
  compute_only,  ///< what runs; transfers follow from it. Cells may be empty
  compute_comms, ///< with sends, receives and gradient reduction
};
std::string_view name(TorchCsvFormat format);
std::optional<TorchCsvFormat> parseTorchCsvFormat(std::string_view text);

/// The schedule of a file in either format; it has communication when any cell
/// does, which is checked and then left out. `base` says how many ranks and
/// microbatches there must be, and the label roles; stages per rank and
/// placement are found from the rows. The name of the schedule is "torch-csv".
/// The result passes verify(). Errors name row and cell, both counted from 0;
/// placements other than loop and v, and backwards that are not in ascending
/// order, cannot be expressed here and are errors.
Result<Schedule> readTorchCsv(std::string_view text,
                              const ScheduleProblem &base);

/// The same for a file; errors name it. Files above kMostCsvBytes are errors:
/// 64 ranks of 4,096 microbatches take a tenth of that with all communication.
inline constexpr int64_t kMostCsvBytes = int64_t{1} << 30;
Result<Schedule> readTorchCsvFile(const std::string &path,
                                  const ScheduleProblem &base);

/// The text of a schedule that passes verify(). Errors: a schedule with two
/// copies of the model, whose stages such a file would take for different ones.
Result<std::string> writeTorchCsv(const Schedule &schedule,
                                  TorchCsvFormat format);

} // namespace moe::schedule
