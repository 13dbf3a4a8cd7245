//===- Validators.h - checks of option values -------------------*- C++ -*-===//
#pragma once

#include <CLI/CLI.hpp>

#include <cmath>

namespace moe {

/// Of text: an empty value is a mistake, mostly of a script.
inline CLI::Validator notEmpty() {
  return {[](std::string &text) {
            return text.empty() ? std::string("must not be empty")
                                : std::string();
          },
          ""};
}

/// Of numbers: CLI::Range lets through what compares with nothing.
inline CLI::Validator finite() {
  return {[](std::string &text) {
            double value = 0;
            return CLI::detail::lexical_cast(text, value) &&
                           !std::isfinite(value)
                       ? "Value " + text + " is not a finite number"
                       : std::string();
          },
          ""};
}

} // namespace moe
