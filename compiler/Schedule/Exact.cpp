#include "compiler/Schedule/Exact.h"

#include "compiler/Schedule/ExactModel.h"
#include "compiler/Schedule/LowerBound.h"

#include <algorithm>
#include <cmath>

#if MOE_HAVE_CBC
#include "compiler/Schedule/CbcLibrary.h"

#include <memory>
#include <mutex>
#endif

namespace moe::schedule {

using search::ExactModel;
using search::Instance;

bool hasExactSolver() {
#if MOE_HAVE_CBC
  return CbcLibrary::get() != nullptr;
#else
  return false;
#endif
}

#if MOE_HAVE_CBC

namespace {

struct Outcome {
  bool solved = false; ///< a solution was found
  bool closed = false; ///< the tree was searched to its end
  double boundUnits = 0;
  int64_t nodes = 0;
  std::vector<double> solution;
};

Outcome solve(const CbcLibrary &library, const ExactModel &model,
              const ExactOptions &options) {
  // Nothing says that two threads may solve at the same time.
  static std::mutex isSolving;
  const std::lock_guard<std::mutex> lock(isSolving);
  std::unique_ptr<Cbc_Model, decltype(library.deleteModel)> cbc(
      library.newModel(), library.deleteModel);
  // By columns, as the solver reads it.
  auto columns = static_cast<int>(model.columns.size());
  auto rows = static_cast<int>(model.rows.size());
  std::vector<CoinBigIndex> starts(model.columns.size() + 1, 0);
  for (const auto &row : model.rows)
    for (auto [column, coefficient] : row.entries)
      ++starts[static_cast<size_t>(column) + 1];
  for (size_t i = 1; i < starts.size(); ++i)
    starts[i] += starts[i - 1];
  std::vector<int> indices(static_cast<size_t>(starts.back()));
  std::vector<double> values(indices.size());
  std::vector<CoinBigIndex> next = starts;
  std::vector<double> rowLower, rowUpper, lower, upper;
  for (int r = 0; r < rows; ++r) {
    const auto &row = model.rows[static_cast<size_t>(r)];
    rowLower.push_back(row.lower);
    rowUpper.push_back(row.upper);
    for (auto [column, coefficient] : row.entries) {
      auto at = static_cast<size_t>(next[static_cast<size_t>(column)]++);
      indices[at] = r;
      values[at] = coefficient;
    }
  }
  for (const auto &column : model.columns) {
    lower.push_back(column.lower);
    upper.push_back(column.upper);
  }
  std::vector<double> objective(model.columns.size(), 0);
  objective[model.makespanColumn()] = 1;
  library.loadProblem(cbc.get(), columns, rows, starts.data(), indices.data(),
                      values.data(), lower.data(), upper.data(),
                      objective.data(), rowLower.data(), rowUpper.data());
  for (int c = 0; c < columns; ++c)
    if (model.columns[static_cast<size_t>(c)].integer)
      library.setInteger(cbc.get(), c);
  library.setParameter(cbc.get(), "log", "0");
  library.setParameter(cbc.get(), "maxN",
                       std::to_string(options.maxNodes).c_str());
  library.setParameter(cbc.get(), "sec",
                       std::to_string(options.maxSeconds).c_str());
  library.solve(cbc.get());
  Outcome outcome;
  outcome.nodes = library.getNodeCount(cbc.get());
  outcome.closed = library.isProvenOptimal(cbc.get()) ||
                   library.isProvenInfeasible(cbc.get());
  outcome.solved = !library.isProvenInfeasible(cbc.get()) &&
                   library.bestSolution(cbc.get()) != nullptr &&
                   library.getObjValue(cbc.get()) < 1e20;
  outcome.boundUnits = library.getBestPossibleObjValue(cbc.get());
  if (outcome.solved) {
    const double *best = library.bestSolution(cbc.get());
    outcome.solution.assign(best, best + columns);
  }
  return outcome;
}

} // namespace

static Status checkInput(const Schedule &start, const Costs &costs,
                         const Instance &instance,
                         const ExactOptions &options) {
  if (instance.actions > options.maxActions)
    return Error{"exact schedule: " + std::to_string(instance.actions) +
                 " actions are too many, at most " +
                 std::to_string(options.maxActions) +
                 " are tried; take fewer ranks or microbatches"};
  for (const StageCosts &stage : costs.stages)
    if (std::min({stage.forwardNs, stage.inputGradNs, stage.weightGradNs}) < 1)
      return Error{"exact schedule: every action must take time"};
  bool overlaps = !instance.pairNs.empty();
  for (const auto &actions : start.ranks)
    for (const Action &action : actions)
      overlaps = overlaps || action.overlapsNext;
  if (overlaps)
    return Error{"exact schedule: overlapping pairs are not modelled"};
  return {};
}

Result<ExactResult> solveExactly(const Schedule &start, const Costs &costs,
                                 const ExactOptions &options) {
  Result<Evaluation> evaluation = evaluate(start, costs);
  if (!evaluation)
    return evaluation.error();
  MOE_RETURN_IF_ERROR(withinLimits(*evaluation, costs));
  Result<LowerBound> bound = lowerBound(start.problem, costs);
  if (!bound)
    return bound.error();
  Instance instance(start.problem, costs);
  MOE_RETURN_IF_ERROR(checkInput(start, costs, instance, options));

  ExactResult result;
  result.schedule = start;
  result.schedule.name = "exact";
  result.evaluation = std::move(*evaluation);
  result.boundNs = bound->makespanNs;
  int64_t startNs = result.evaluation.makespanNs;
  if (startNs <= result.boundNs) {
    result.optimal = true;
    return result;
  }
  ExactModel model(instance, startNs, result.boundNs);
  // What is left to decide: whether anything is as short as the cutoff.
  auto nothingBelow = [&] {
    result.boundNs = std::max(result.boundNs, model.cutoffNs + 1);
    // Nothing lies between the start and one unit less.
    if (model.whole)
      result.boundNs = startNs;
    result.optimal = true;
  };
  if (model.empty) {
    nothingBelow();
    return result;
  }
  const CbcLibrary *library = CbcLibrary::get();
  if (!library)
    return Error{"exact schedule: COIN-OR CBC (" MOE_CBC_SONAME
                 ") cannot be loaded; install coinor-libcbc3"};
  Outcome outcome = solve(*library, model, options);
  result.nodes = outcome.nodes;
  if (!outcome.solved) {
    if (outcome.closed)
      nothingBelow();
    return result;
  }
  Schedule better{"exact", start.problem,
                  model.orderOf(instance, outcome.solution.data())};
  Result<Evaluation> improved = evaluate(better, costs);
  if (!improved)
    return Error{"exact schedule: the solver's order cannot be executed: " +
                 improved.error().message};
  MOE_RETURN_IF_ERROR(withinLimits(*improved, costs));
  result.schedule = std::move(better);
  result.evaluation = std::move(*improved);
  // One part in a million below what the solver says: it rounds.
  double boundNs = (outcome.closed ? outcome.solution[model.makespanColumn()]
                                   : outcome.boundUnits) *
                   model.unitNs * (1 - 1e-6);
  result.boundNs =
      std::max(result.boundNs, static_cast<int64_t>(std::ceil(boundNs)));
  result.boundNs = std::min(result.boundNs, result.evaluation.makespanNs);
  if (outcome.closed) {
    result.optimal = true;
    if (model.whole)
      result.boundNs = result.evaluation.makespanNs;
  }
  return result;
}

#else

Result<ExactResult> solveExactly(const Schedule &, const Costs &,
                                 const ExactOptions &) {
  return Error{"exact schedule: this build is without COIN-OR CBC; install "
               "coinor-libcbc-dev and configure again"};
}

#endif

} // namespace moe::schedule
