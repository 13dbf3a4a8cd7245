//===- Verify.cpp - the subcommand "verify" -------------------------------===//

#include "tools/moe-plan/Verify.h"

#include "compiler/Export/Summary.h"
#include "compiler/Export/Table.h"
#include "runtime/Plan/Proof.h"
#include "support/Files.h"

#include <CLI/CLI.hpp>

#include <iostream>

namespace moe {

CLI::App *declareVerify(CLI::App &app, VerifyOptions &options) {
  CLI::App *command = app.add_subcommand(
      "verify", "Prove that a plan is safe, from the document alone");
  command->add_option("plan", options.plan, "The plan to prove")
      ->type_name("FILE")
      ->required();
  command->add_flag("-q,--quiet", options.quiet, "Print a counterexample only");
  command->footer("Exit status: 0 proven; 1 not proven, with a "
                  "counterexample; 2 no plan document.\n"
                  "The rules are described in docs/proof.md.");
  return command;
}

static void printProof(const std::string &path, const plan::Proof &proof) {
  report::Table table;
  table.addColumn("rule", report::Table::Align::left);
  table.addColumn("holds for", report::Table::Align::right);
  table.addColumn("", report::Table::Align::left);
  table.addColumn("what was proven", report::Table::Align::left);
  for (const plan::Proven &proven : proof.proven)
    table.addRow({std::string(proven.rule.name),
                  report::formatCount(proven.count), std::string(proven.unit),
                  std::string(proven.rule.statement)});
  std::cout << path << ": proven\n" << table.print(2, 110);
}

static void printCounterexample(const std::string &path,
                                const plan::Counterexample &example) {
  std::cout << path << ": NOT proven\n  rule   " << example.rule << '\n'
            << "  error  " << example.message << '\n';
  for (size_t i = 0; i < example.trace.size(); ++i)
    std::cout << (i ? "         " : "  path   ") << example.trace[i] << '\n';
}

Result<bool> runVerify(const VerifyOptions &options) {
  Result<std::string> text = readFile(options.plan);
  if (!text)
    return text.error();
  Result<plan::Plan> plan = plan::parseUnchecked(*text);
  if (!plan)
    return Error{options.plan + ": " + plan.error().message};
  plan::Proof proof = plan::prove(*plan);
  if (proof.counterexample)
    printCounterexample(options.plan, *proof.counterexample);
  else if (!options.quiet)
    printProof(options.plan, proof);
  return proof.holds();
}

} // namespace moe
