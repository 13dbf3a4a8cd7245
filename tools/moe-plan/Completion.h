//===- Completion.h - the subcommand "completion" ---------------*- C++ -*-===//
#pragma once

#include <string>

namespace CLI {
class App;
} // namespace CLI

namespace moe {

/// A script for bash that completes the subcommands and options of `app` and
/// the file names behind them, made from what the program itself accepts.
std::string bashCompletion(const CLI::App &app);

} // namespace moe
