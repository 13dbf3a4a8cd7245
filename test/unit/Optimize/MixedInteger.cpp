#include "test/unit/Optimize/MixedInteger.h"

#include <map>
#include <string>

#if MOE_HAVE_CBC
#include <Cbc_C_Interface.h>
#include <memory>
#endif

namespace moe::optimize {

bool hasMixedIntegerSolver() {
#if MOE_HAVE_CBC
  return true;
#else
  return false;
#endif
}

void MixedIntegerProgram::addRow(const Entries &entries, double lower,
                                 double upper) {
  std::map<int, double> sums;
  for (auto [column, coefficient] : entries)
    sums[column] += coefficient;
  rows.push_back({{sums.begin(), sums.end()}, lower, upper});
}

MixedIntegerProgram::Outcome
MixedIntegerProgram::solve([[maybe_unused]] int64_t maxNodes) const {
  Outcome outcome;
#if MOE_HAVE_CBC
  struct Delete {
    void operator()(Cbc_Model *cbc) const { Cbc_deleteModel(cbc); }
  };
  std::unique_ptr<Cbc_Model, Delete> cbc(Cbc_newModel());
  std::vector<std::vector<std::pair<int, double>>> byColumn(columns.size());
  std::vector<double> rowLower, rowUpper, lower, upper, cost, values;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (auto [column, coefficient] : rows[r].entries)
      byColumn[static_cast<size_t>(column)].emplace_back(static_cast<int>(r),
                                                         coefficient);
    rowLower.push_back(rows[r].lower);
    rowUpper.push_back(rows[r].upper);
  }
  std::vector<CoinBigIndex> starts = {0};
  std::vector<int> indices;
  for (const auto &entries : byColumn) {
    for (auto [row, coefficient] : entries) {
      indices.push_back(row);
      values.push_back(coefficient);
    }
    starts.push_back(static_cast<CoinBigIndex>(indices.size()));
  }
  for (const Column &column : columns) {
    lower.push_back(column.lower);
    upper.push_back(column.upper);
    cost.push_back(column.cost);
  }
  Cbc_loadProblem(cbc.get(), static_cast<int>(columns.size()),
                  static_cast<int>(rows.size()), starts.data(), indices.data(),
                  values.data(), lower.data(), upper.data(), cost.data(),
                  rowLower.data(), rowUpper.data());
  for (size_t c = 0; c < columns.size(); ++c)
    if (columns[c].isInteger)
      Cbc_setInteger(cbc.get(), static_cast<int>(c));
  Cbc_setParameter(cbc.get(), "log", "0");
  Cbc_setParameter(cbc.get(), "maxN", std::to_string(maxNodes).c_str());
  Cbc_solve(cbc.get());
  outcome.isInfeasible = Cbc_isProvenInfeasible(cbc.get());
  outcome.isOptimal = Cbc_isProvenOptimal(cbc.get());
  if (!outcome.isInfeasible && Cbc_bestSolution(cbc.get()) != nullptr &&
      Cbc_getObjValue(cbc.get()) < 1e20) {
    outcome.objective = Cbc_getObjValue(cbc.get());
    const double *best = Cbc_bestSolution(cbc.get());
    outcome.solution.assign(best, best + columns.size());
  }
#endif
  return outcome;
}

} // namespace moe::optimize
