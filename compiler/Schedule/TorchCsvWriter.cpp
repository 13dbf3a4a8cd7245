#include "compiler/Schedule/TorchCsv.h"

#include <array>

namespace moe::schedule {

static constexpr std::array<std::string_view, 2> kFormats = {"compute_only",
                                                             "compute_comms"};

std::string_view name(TorchCsvFormat format) {
  return kFormats[static_cast<size_t>(format)];
}

std::optional<TorchCsvFormat> parseTorchCsvFormat(std::string_view text) {
  for (size_t i = 0; i < kFormats.size(); ++i)
    if (kFormats[i] == text)
      return static_cast<TorchCsvFormat>(i);
  return std::nullopt;
}

namespace {

std::string cell(int64_t stage, std::string_view operation,
                 int64_t microbatch) {
  return std::to_string(stage) + std::string(operation) +
         std::to_string(microbatch);
}

std::string cell(const Action &action) {
  std::string_view operation;
  switch (action.phase) {
  case Phase::forward:
    operation = "F";
    break;
  case Phase::backward:
    operation = "B";
    break;
  case Phase::backward_input:
    operation = "I";
    break;
  case Phase::weight_grad:
    operation = "W";
    break;
  }
  return cell(action.stage, operation, action.microbatch);
}

/// Writes the ranks side by side: a message is received where the receiving
/// rank stands when it is sent, so that both list messages in one order.
class Writer {
public:
  Writer(const Schedule &schedule, bool withTransfers)
      : problem(schedule.problem), schedule(schedule),
        withTransfers(withTransfers), rows(schedule.ranks.size()) {
    auto instances =
        static_cast<size_t>(2 * problem.stages() * problem.microbatches);
    arrived.assign(instances, false);
    gradientsLeft.assign(static_cast<size_t>(problem.stages()),
                         problem.microbatches);
  }

  std::string run() {
    std::vector<size_t> next(rows.size(), 0);
    for (bool progress = true; progress;) {
      progress = false;
      for (size_t rank = 0; rank < rows.size(); ++rank)
        if (next[rank] < schedule.ranks[rank].size() &&
            writeNext(rank, next[rank]))
          progress = true;
    }
    std::string text;
    for (const std::string &row : rows)
      text += row + "\n";
    return text;
  }

private:
  size_t arrivalOf(int64_t stage, int64_t microbatch, bool forward) const {
    return static_cast<size_t>(2 * (stage * problem.microbatches + microbatch) +
                               (forward ? 0 : 1));
  }

  bool isReady(const Action &action) const {
    bool forward = action.phase == Phase::forward;
    return action.phase == Phase::weight_grad ||
           (forward ? problem.isFirst(action.stage)
                    : problem.isLast(action.stage)) ||
           arrived[arrivalOf(action.stage, action.microbatch, forward)];
  }

  /// The rank's next action or overlapping pair, if its inputs are there.
  bool writeNext(size_t rank, size_t &next) {
    const auto &actions = schedule.ranks[rank];
    const Action &first = actions[next];
    bool pair = first.overlapsNext;
    if (!isReady(first) || (pair && !isReady(actions[next + 1])))
      return false;
    append(rank, pair ? "(" + cell(first) + ";" + cell(actions[next + 1]) +
                            ")OVERLAP_F_B"
                      : cell(first));
    for (size_t end = next + (pair ? 2 : 1); next < end; ++next)
      finish(rank, actions[next]);
    return true;
  }

  void append(size_t rank, const std::string &text) {
    rows[rank] += (rows[rank].empty() ? "" : ",") + text;
  }

  void finish(size_t rank, const Action &action) {
    bool forward = action.phase == Phase::forward;
    if (action.phase != Phase::weight_grad &&
        !(forward ? problem.isLast(action.stage)
                  : problem.isFirst(action.stage))) {
      int64_t target = action.stage + (forward ? 1 : -1);
      auto peer = static_cast<size_t>(problem.rankOf(target));
      arrived[arrivalOf(target, action.microbatch, forward)] = true;
      if (withTransfers && peer != rank) {
        append(rank, cell(action.stage, forward ? "SEND_F" : "SEND_B",
                          action.microbatch));
        append(peer,
               cell(target, forward ? "RECV_F" : "RECV_B", action.microbatch));
      }
    }
    bool gradientsDone =
        (action.phase == Phase::backward ||
         action.phase == Phase::weight_grad) &&
        --gradientsLeft[static_cast<size_t>(action.stage)] == 0;
    if (withTransfers && gradientsDone)
      append(rank, std::to_string(action.stage) + "REDUCE_GRAD");
  }

  const ScheduleProblem &problem;
  const Schedule &schedule;
  bool withTransfers;
  std::vector<std::string> rows;
  std::vector<bool> arrived; ///< inputs, by stage, microbatch, direction
  std::vector<int64_t> gradientsLeft; ///< by stage
};

} // namespace

Result<std::string> writeTorchCsv(const Schedule &schedule,
                                  TorchCsvFormat format) {
  MOE_RETURN_IF_ERROR(verify(schedule));
  if (schedule.problem.replicas() > 1)
    return Error{"schedule " + schedule.name +
                 " has two copies of the model; a torch schedule file can "
                 "place every stage on one rank only"};
  if (schedule.problem.firstBackward > 0)
    return Error{"schedule " + schedule.name +
                 " leaves out the backwards of stages in which nothing is "
                 "trained; torch's schedules need one for every forward"};
  return Writer(schedule, format == TorchCsvFormat::compute_comms).run();
}

} // namespace moe::schedule
