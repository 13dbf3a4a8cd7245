#include "compiler/Schedule/TorchCsv.h"

#include "support/Files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <utility>

namespace moe::schedule {

namespace {

enum class Operation : uint8_t {
  forward,
  backward,
  backward_input,
  weight_grad,
  send_forward,
  receive_forward,
  send_backward,
  receive_backward,
  reduce_gradients,
  unshard,
  reshard,
};

constexpr std::array<std::string_view, 11> kOperations = {
    "F",      "B",      "I",           "W",       "SEND_F", "RECV_F",
    "SEND_B", "RECV_B", "REDUCE_GRAD", "UNSHARD", "RESHARD"};

constexpr bool isCompute(Operation operation) {
  return operation <= Operation::weight_grad;
}
constexpr bool hasMicrobatch(Operation operation) {
  return operation < Operation::reduce_gradients;
}

struct Entry {
  Operation operation = Operation::forward;
  int64_t stage = 0;
  int64_t microbatch = -1;
  bool overlapsNext = false;
  size_t row = 0, cell = 0;
};

std::string_view strip(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  size_t begin = text.find_first_not_of(kBlank);
  if (begin == text.npos)
    return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == text.npos)
      return parts;
    text.remove_prefix(end + 1);
  }
}

class Reader {
public:
  explicit Reader(const ScheduleProblem &base) : problem(base) {}

  Result<Schedule> run(std::string_view text) {
    MOE_RETURN_IF_ERROR(parse(text));
    MOE_RETURN_IF_ERROR(place());
    MOE_RETURN_IF_ERROR(count());
    Schedule schedule{"torch-csv", problem, {}};
    schedule.ranks.resize(rows.size());
    for (size_t row = 0; row < rows.size(); ++row) {
      currentRow = static_cast<int64_t>(row);
      for (const Entry &entry : rows[row])
        MOE_RETURN_IF_ERROR(take(entry, schedule.ranks[row]));
    }
    MOE_RETURN_IF_ERROR(complete());
    if (hasTransfers)
      MOE_RETURN_IF_ERROR(checkMessages());
    MOE_RETURN_IF_ERROR(verify(schedule));
    return schedule;
  }

private:
  static Error fail(const Entry &at, const std::string &what) {
    return Error{"torch schedule: row " + std::to_string(at.row) + ", cell " +
                 std::to_string(at.cell) + ": " + what};
  }

  static std::string spell(const Entry &entry) {
    std::string text =
        std::to_string(entry.stage) +
        std::string(kOperations[static_cast<size_t>(entry.operation)]);
    if (hasMicrobatch(entry.operation))
      text += std::to_string(entry.microbatch);
    return text;
  }

  //===--------------------------------------------------------------------===//
  // Text
  //===--------------------------------------------------------------------===//

  Status parse(std::string_view text) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (text.starts_with(kByteOrderMark)) // as spreadsheets write it
      text.remove_prefix(kByteOrderMark.size());
    if (!text.empty() && text.back() == '\n')
      text.remove_suffix(1);
    std::vector<std::string_view> lines = split(text, '\n');
    if (static_cast<int64_t>(lines.size()) != problem.ranks)
      return Error{"torch schedule: has " + std::to_string(lines.size()) +
                   " rows, one a rank; there are " +
                   std::to_string(problem.ranks) + " pipeline ranks"};
    std::optional<Entry> empty;
    for (std::string_view line : lines) {
      size_t row = rows.size();
      rows.emplace_back();
      std::vector<std::string_view> cells = split(line, ',');
      for (size_t i = 0; i < cells.size(); ++i) {
        Entry at;
        at.row = row;
        at.cell = i;
        std::string_view content = strip(cells[i]);
        if (content.empty() && !empty)
          empty = at;
        if (!content.empty())
          MOE_RETURN_IF_ERROR(parseCell(content, at));
      }
    }
    if (empty && hasTransfers)
      return fail(*empty, "is empty, which files with communication do not "
                          "allow");
    return {};
  }

  Status parseCell(std::string_view content, Entry at) {
    constexpr std::string_view kOverlap = ")OVERLAP_F_B";
    if (content.front() != '(')
      return parseAction(content, at);
    std::string_view pair = content;
    pair.remove_prefix(1);
    if (!pair.ends_with(kOverlap))
      return fail(at, "'" + std::string(content.substr(0, 60)) +
                          "' begins like an overlap, which is "
                          "(action;action)OVERLAP_F_B");
    pair.remove_suffix(kOverlap.size());
    std::vector<std::string_view> leaves = split(pair, ';');
    if (leaves.size() != 2)
      return fail(at, "an overlap has two actions, not " +
                          std::to_string(leaves.size()));
    at.overlapsNext = true;
    MOE_RETURN_IF_ERROR(parseAction(strip(leaves[0]), at));
    at.overlapsNext = false;
    MOE_RETURN_IF_ERROR(parseAction(strip(leaves[1]), at));
    const std::vector<Entry> &row = rows.back();
    Operation first = row[row.size() - 2].operation;
    Operation second = row.back().operation;
    if (first != Operation::forward ||
        (second != Operation::backward && second != Operation::backward_input))
      return fail(at, "an overlap is a forward (F), then a backward (B or I)");
    return {};
  }

  Status parseAction(std::string_view content, Entry at) {
    auto malformed = [&](const char *why) -> Status {
      return fail(at, "'" + std::string(content.substr(0, 60)) +
                          "' is no action: " + why);
    };
    std::string_view rest = content;
    if (!parseNumber(rest, at.stage))
      return malformed("it does not begin with a stage, a decimal number");
    size_t end = rest.find_first_of("0123456789");
    std::string_view word = rest.substr(0, end);
    auto found = std::find(kOperations.begin(), kOperations.end(), word);
    if (found == kOperations.end())
      return malformed("the operation is none of F, B, I, W, SEND_F, RECV_F, "
                       "SEND_B, RECV_B, REDUCE_GRAD, UNSHARD and RESHARD");
    at.operation = static_cast<Operation>(found - kOperations.begin());
    rest.remove_prefix(word.size());
    if (hasMicrobatch(at.operation) && !parseNumber(rest, at.microbatch))
      return malformed("a microbatch, a decimal number, must follow");
    if (!rest.empty())
      return malformed(hasMicrobatch(at.operation)
                           ? "something follows the microbatch"
                           : "the operation takes no microbatch");
    if (hasMicrobatch(at.operation) && at.microbatch >= problem.microbatches)
      return fail(at, spell(at) + ": there are " +
                          std::to_string(problem.microbatches) +
                          " microbatches");
    hasTransfers = hasTransfers || !isCompute(at.operation);
    hasShards = hasShards || at.operation == Operation::unshard;
    rows.back().push_back(at);
    return {};
  }

  /// Takes a decimal number off the front of the text.
  static bool parseNumber(std::string_view &text, int64_t &number) {
    constexpr int64_t kMost = 1 << 20; // of stages or microbatches
    if (text.empty() || text[0] < '0' || text[0] > '9')
      return false;
    auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || number > kMost)
      return false;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return true;
  }

  //===--------------------------------------------------------------------===//
  // Placement
  //===--------------------------------------------------------------------===//

  Status place() {
    std::map<int64_t, const Entry *> seen; // first entry of each stage
    for (const auto &row : rows)
      for (const Entry &entry : row) {
        auto [it, isNew] = seen.try_emplace(entry.stage, &entry);
        if (!isNew && it->second->row != entry.row)
          return fail(entry, spell(entry) + ": stage " +
                                 std::to_string(entry.stage) +
                                 " lies on rank " +
                                 std::to_string(it->second->row) + " already");
      }
    auto ranks = static_cast<int64_t>(rows.size());
    auto stages = static_cast<int64_t>(seen.size());
    if (stages == 0 || seen.rbegin()->first != stages - 1 ||
        stages % ranks != 0)
      return Error{"torch schedule: has " + std::to_string(stages) + " stages" +
                   (stages > 0 ? ", the last with number " +
                                     std::to_string(seen.rbegin()->first)
                               : std::string()) +
                   "; they must be numbered without gaps, as many on each of "
                   "the " +
                   std::to_string(ranks) + " ranks"};
    problem.stagesPerRank = stages / ranks;
    for (Placement placement : {Placement::loop, Placement::v}) {
      problem.placement = placement;
      if (!problem.check())
        continue;
      bool fits = true;
      for (const auto &[stage, entry] : seen)
        fits =
            fits && problem.rankOf(stage) == static_cast<int64_t>(entry->row);
      if (fits)
        return {};
    }
    std::string map;
    for (const auto &[stage, entry] : seen)
      if (stage < 16)
        map += (stage > 0 ? ", " : "") + std::to_string(entry->row);
    return Error{"torch schedule: the stages lie on ranks " + map +
                 (stages > 16 ? ", ..." : "") +
                 "; known placements are loop (0, 1, 2, 0, 1, 2) and v (0, 1, "
                 "2, 2, 1, 0)"};
  }

  /// Whether every stage can have all its forwards; before anything is
  /// allocated for every microbatch.
  Status count() {
    std::vector<int64_t> forwards(static_cast<size_t>(problem.stages()), 0);
    for (const auto &row : rows)
      for (const Entry &entry : row)
        if (entry.operation == Operation::forward)
          ++forwards[static_cast<size_t>(entry.stage)];
    for (size_t stage = 0; stage < forwards.size(); ++stage)
      if (forwards[stage] < problem.microbatches)
        return Error{"torch schedule: stage " + std::to_string(stage) +
                     " has " + std::to_string(forwards[stage]) +
                     " forwards; there are " +
                     std::to_string(problem.microbatches) + " microbatches"};
    states.resize(forwards.size());
    for (StageState &state : states)
      state.done.resize(static_cast<size_t>(problem.microbatches));
    return {};
  }

  //===--------------------------------------------------------------------===//
  // Rules within a row
  //===--------------------------------------------------------------------===//

  struct Done {
    std::array<bool, 8> operations{};
    bool operator[](Operation operation) const {
      return operations[static_cast<size_t>(operation)];
    }
  };
  struct StageState {
    std::vector<Done> done; ///< by microbatch
    int64_t newestInput = -1, newestWeight = -1, gradients = 0;
    bool reduced = false, unsharded = false;
  };

  Status take(const Entry &entry, std::vector<Action> &actions) {
    StageState &state = states[static_cast<size_t>(entry.stage)];
    if (!hasMicrobatch(entry.operation))
      return takeOfStage(entry, state);
    Done &done = state.done[static_cast<size_t>(entry.microbatch)];
    auto error = [&](const std::string &what) -> Status {
      return fail(entry, spell(entry) + ": " + what);
    };
    if (done[entry.operation])
      return error("stands in the row twice");
    done.operations[static_cast<size_t>(entry.operation)] = true;
    using enum Operation;
    bool shallow = problem.isFirst(entry.stage);
    bool deep = problem.isLast(entry.stage);
    switch (entry.operation) {
    case forward:
      if (isRemote(entry.stage - 1) && !done[receive_forward])
        return error("its input is not received before it");
      break;
    case backward:
    case backward_input:
      if (!done[forward])
        return error("comes before its forward");
      if (done[backward] && done[backward_input])
        return error("the microbatch has a full backward (B) and an input "
                     "gradient (I)");
      if (isRemote(entry.stage + 1) && !done[receive_backward])
        return error("the gradient of its output is not received before it");
      MOE_RETURN_IF_ERROR(ascend(entry, state.newestInput));
      break;
    case weight_grad:
      if (!done[backward_input])
        return error(done[backward]
                         ? "comes after a full backward (B); older files write "
                           "B for the input gradient, which is I"
                         : "comes before its input gradient (I)");
      MOE_RETURN_IF_ERROR(ascend(entry, state.newestWeight));
      break;
    case send_forward:
      if (deep || !isRemote(entry.stage + 1) || !done[forward])
        return error("there is nothing to send to another rank");
      break;
    case receive_forward:
      if (shallow || !isRemote(entry.stage - 1) || done[forward])
        return error("there is nothing to receive from another rank");
      break;
    case send_backward:
      if (shallow || !isRemote(entry.stage - 1) ||
          (!done[backward] && !done[backward_input]))
        return error("there is nothing to send to another rank");
      break;
    case receive_backward:
      if (deep || !isRemote(entry.stage + 1) || done[backward] ||
          done[backward_input])
        return error("there is nothing to receive from another rank");
      break;
    case reduce_gradients:
    case unshard:
    case reshard:
      break;
    }
    if (!isCompute(entry.operation)) {
      note(entry);
      return {};
    }
    if (hasShards && !state.unsharded && entry.operation != weight_grad)
      return error("its stage is not unsharded");
    if (entry.operation == backward || entry.operation == weight_grad)
      ++state.gradients;
    actions.push_back({static_cast<Phase>(entry.operation), entry.stage,
                       entry.microbatch, entry.overlapsNext});
    return {};
  }

  Status takeOfStage(const Entry &entry, StageState &state) {
    auto error = [&](const std::string &what) -> Status {
      return fail(entry, spell(entry) + ": " + what);
    };
    if (entry.operation == Operation::reduce_gradients) {
      if (state.reduced)
        return error("stands in the row twice");
      if (state.gradients != problem.microbatches)
        return error("comes before the last weight gradient of the stage");
      state.reduced = true;
      return {};
    }
    bool unshard = entry.operation == Operation::unshard;
    if (state.unsharded == unshard)
      return error(unshard ? "the stage is unsharded" : "the stage is sharded");
    state.unsharded = unshard;
    return {};
  }

  Status ascend(const Entry &entry, int64_t &newest) const {
    if (entry.microbatch < newest)
      return fail(entry,
                  spell(entry) + ": runs after microbatch " +
                      std::to_string(newest) +
                      "; backwards have to take microbatches in ascending "
                      "order, so that gradient sums do not depend on the "
                      "schedule");
    newest = entry.microbatch;
    return {};
  }

  /// Whether messages to and from the stage beside one of this row have to be
  /// in the file: it exists and lies on another rank.
  bool isRemote(int64_t beside) const {
    if (!hasTransfers || beside < 0 || beside >= problem.stages())
      return false;
    // The other one of the two is on the row that is being read.
    return problem.rankOf(beside) != currentRow;
  }

  Status complete() const {
    for (size_t stage = 0; stage < states.size(); ++stage) {
      const StageState &state = states[stage];
      std::string start =
          "torch schedule: row " +
          std::to_string(problem.rankOf(static_cast<int64_t>(stage))) +
          ": stage " + std::to_string(stage);
      for (size_t m = 0; m < state.done.size(); ++m) {
        const Done &done = state.done[m];
        using enum Operation;
        if (!done[forward] ||
            (!done[backward] && !(done[backward_input] && done[weight_grad])))
          return Error{start + " has no " +
                       (!done[forward]         ? "forward (F)"
                        : done[backward_input] ? "weight gradient (W)"
                                               : "backward (B or I)") +
                       " of microbatch " + std::to_string(m)};
      }
      if (hasTransfers && !state.reduced)
        return Error{start + " has no REDUCE_GRAD, without which its gradients "
                             "are never summed over ranks"};
    }
    return {};
  }

  //===--------------------------------------------------------------------===//
  // Messages
  //===--------------------------------------------------------------------===//

  /// Sends and receives between two ranks, in the order of each.
  struct Channel {
    std::vector<Entry> sends, receives;
  };

  void note(const Entry &entry) {
    using enum Operation;
    bool send =
        entry.operation == send_forward || entry.operation == send_backward;
    bool up =
        entry.operation == send_forward || entry.operation == receive_backward;
    auto row = static_cast<int64_t>(entry.row);
    int64_t peer = problem.rankOf(entry.stage + (up ? 1 : -1));
    if (send)
      channels[{row, peer}].sends.push_back(entry);
    else
      channels[{peer, row}].receives.push_back(entry);
  }

  Status checkMessages() const {
    for (const auto &[ranks, channel] : channels) {
      size_t count = std::max(channel.sends.size(), channel.receives.size());
      for (size_t i = 0; i < count; ++i) {
        if (i >= channel.receives.size())
          return fail(channel.sends[i],
                      spell(channel.sends[i]) + ": is never received");
        const Entry &receive = channel.receives[i];
        if (i >= channel.sends.size())
          return fail(receive, spell(receive) + ": is never sent");
        const Entry &send = channel.sends[i];
        bool forward = send.operation == Operation::send_forward;
        if (forward != (receive.operation == Operation::receive_forward) ||
            send.stage + (forward ? 1 : -1) != receive.stage ||
            send.microbatch != receive.microbatch)
          return fail(receive,
                      spell(receive) + ": meets " + spell(send) + " of row " +
                          std::to_string(send.row) + ", cell " +
                          std::to_string(send.cell) +
                          "; two ranks must list their messages in one order");
      }
    }
    return {};
  }

  ScheduleProblem problem;
  std::vector<std::vector<Entry>> rows;
  std::vector<StageState> states;                          ///< by stage
  std::map<std::pair<int64_t, int64_t>, Channel> channels; ///< from, to
  int64_t currentRow = 0;
  bool hasTransfers = false, hasShards = false;
};

} // namespace

Result<Schedule> readTorchCsv(std::string_view text,
                              const ScheduleProblem &base) {
  if (base.ranks < 1 || base.microbatches < 1)
    return Error{"torch schedule: needs the number of pipeline ranks and of "
                 "microbatches"};
  return Reader(base).run(text);
}

Result<Schedule> readTorchCsvFile(const std::string &path,
                                  const ScheduleProblem &base) {
  Result<std::string> text = readFile(path, kMostCsvBytes);
  if (!text)
    return text.error();
  Result<Schedule> schedule = readTorchCsv(*text, base);
  if (!schedule)
    return Error{path + ": " + schedule.error().message};
  return schedule;
}

} // namespace moe::schedule
