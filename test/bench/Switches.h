//===- Switches.h - memory techniques as global switches --------*- C++ -*-===//
//
// The way frameworks offer recompute and offload: modules by name, applied to
// all layers of all ranks, with even shares of layers on the stages. Every
// subset of Megatron-LM's recompute modules (and full recompute) with every
// subset of its offload modules, for one model, layout and schedule; the
// quickest that fits a budget, found without making all of their plans.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Compile.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moe::bench {

/// A setting of all switches, with proven bounds of what its plan needs.
struct Switch {
  std::string recompute;  ///< as users write it; empty: nothing
  std::string modules;    ///< offload modules; empty: none
  std::string offload;    ///< the values that these move, as users write them
  int64_t leastNs = 0;    ///< no plan of it has a shorter step
  int64_t leastBytes = 0; ///< nor does the largest of its ranks need less
  /// What its plan without waits for bytes needs and takes, once it is made.
  std::optional<int64_t> bytesWithoutWaits, nsWithoutWaits;
};

/// The quickest setting within a budget.
struct Best {
  const Switch *setting = nullptr; ///< null: none fits
  int64_t stepNs = 0;
};

class Switches {
public:
  /// Makes the plan of every recompute setting. The request's schedule has to
  /// be 1f1b: bounds rest on one stage a rank and whole backwards.
  static Result<Switches> make(std::unique_ptr<driver::Inputs> inputs);

  /// Within `bytes` a rank, reserve left out. Settings that cannot be the
  /// quickest by their bounds are left out unless `all` are asked for. Errors:
  /// of the compiler, and a plan that is better than a bound of its setting.
  Result<Best> best(int64_t bytes, bool offloads, bool all = false);

  /// The least that any setting without offload can be laid out in, bytes of
  /// its largest rank; and what keeping everything needs without waits.
  Result<int64_t> leastBytes();
  int64_t mostBytes() const { return *settings.front().bytesWithoutWaits; }

  int64_t reserveBytes() const { return inputs->machine.reserveBytes; }
  size_t count() const { return settings.size(); }
  int64_t plansMade() const { return plans; }

private:
  struct Figures;
  Switches(std::unique_ptr<driver::Inputs> inputs, driver::Compiler compiler)
      : inputs(std::move(inputs)), compiler(std::move(compiler)) {}

  Result<driver::Draft> draft(const Switch &setting, int64_t bytes);
  Result<plan::Plan> planOf(const Switch &setting);
  Result<Figures> figuresOf(const Switch &setting);
  Status addSettings();
  Result<std::optional<int64_t>> stepWithin(Switch &setting, int64_t bytes);

  std::unique_ptr<driver::Inputs> inputs;
  driver::Compiler compiler;
  std::vector<Switch> settings; ///< the first keeps everything
  int64_t plans = 0;
};

} // namespace moe::bench
