//===- Progress.h - how far long work has come ------------------*- C++ -*-===//
#pragma once

#include <cstddef>
#include <string>

namespace moe {

/// One line on the terminal that is written over, and gone at the end; silent
/// where standard error is no terminal.
class Progress {
public:
  Progress();
  ~Progress();
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  /// `done` of `total` things, of which `what` is next; 0: it is open of how
  /// many.
  void show(size_t done, size_t total, const std::string &what) const;

private:
  bool isShown;
};

} // namespace moe
