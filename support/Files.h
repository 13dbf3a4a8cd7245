//===- Files.h - the files that a user names --------------------*- C++ -*-===//
#pragma once

#include "support/Result.h"

#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// The bytes of a file, a pipe or a device. More than `mostBytes` are an error.
Result<std::string>
readFile(const std::string &path,
         size_t mostBytes = std::numeric_limits<size_t>::max());

/// Writes `text` to `path` through a temporary file beside it, so that a
/// failure leaves no half-written file. A symbolic link stays, and what it
/// points to is replaced; a device or a pipe is written directly.
Status writeFile(const std::string &path, std::string_view text);

/// A file and the option that names it; an empty path: not given.
struct NamedFile {
  std::string_view option;
  const std::string &path;
};

/// To be asked before long work: an error if one of `outputs` cannot be
/// written, as far as can be told without creating anything; if two of them are
/// the same file; or if one of them is one of `inputs`. Devices and pipes may
/// be named twice: nothing is lost there.
Status checkOutputs(const std::vector<NamedFile> &outputs,
                    const std::vector<NamedFile> &inputs);

/// Writes out what was printed through stdio or std::cout. The error covers
/// whatever was printed before, too.
Status flushStandardOutput();

} // namespace moe
