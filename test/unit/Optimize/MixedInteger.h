//===- MixedInteger.h - mixed-integer programs for tests --------*- C++ -*-===//
//
// Solved by COIN-OR CBC where the build has it: a judge that shares nothing
// with the engines that it judges.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace moe::optimize {

/// Whether this build has the solver.
bool hasMixedIntegerSolver();

/// Minimizes the sum of cost * column.
class MixedIntegerProgram {
public:
  using Entries = std::vector<std::pair<int, double>>; ///< column, coefficient

  int addBinary(double cost) { return addColumn({0, 1, cost, true}); }
  int addContinuous(double cost) { return addColumn({0, 1e30, cost, false}); }
  /// lower <= sum of the entries <= upper; a column may occur repeatedly.
  void addRow(const Entries &entries, double lower, double upper);

  struct Outcome {
    bool isOptimal = false;    ///< the tree was searched to its end
    bool isInfeasible = false; ///< likewise, and there is nothing
    double objective = 0;
    std::vector<double> solution; ///< by column; empty: none
  };
  /// Stops after `maxNodes` nodes, so that the answer does not depend on the
  /// machine.
  Outcome solve(int64_t maxNodes) const;

private:
  struct Column {
    double lower, upper, cost;
    bool isInteger;
  };
  struct Row {
    Entries entries;
    double lower, upper;
  };
  int addColumn(Column column) {
    columns.push_back(column);
    return static_cast<int>(columns.size()) - 1;
  }

  std::vector<Column> columns;
  std::vector<Row> rows;
};

} // namespace moe::optimize
