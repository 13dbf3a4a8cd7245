//===- ConfigFile.h - options from a file -----------------------*- C++ -*-===//
#pragma once

#include <CLI/CLI.hpp>

namespace moe {

/// Reads the file of --config, which is TOML, for CLI11, whose own reader
/// passes over what it does not understand: unknown keys, keys given twice,
/// files of another kind. Here these are errors that name the file, the line
/// and the key, thrown as CLI11 wants them; so are values that an option does
/// not take, for which options get theirs here. Keys are the long names of
/// options; those of sweep stand below [sweep].
class ConfigFile : public CLI::Config {
public:
  explicit ConfigFile(CLI::App &app) : app(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream &input) const override;

  /// Nothing writes such files.
  std::string to_config(const CLI::App *, bool, bool,
                        std::string) const override {
    return {};
  }

private:
  CLI::App &app;
};

} // namespace moe
