//===- Npy.h - arrays as NumPy files ----------------------------*- C++ -*-===//
#pragma once

#include "support/DType.h"
#include "support/Result.h"

#include <fstream>
#include <string>
#include <vector>

namespace moe::exec {

/// Writes one array to `DIRECTORY/NAME.npy` (format version 1.0), piece by
/// piece in row-major order. Slashes in the name become underscores.
class NpyWriter {
public:
  /// `dtype` is that of the file: f32, f64 or i32.
  static Result<NpyWriter> create(const std::string &directory,
                                  const std::string &name, DType dtype,
                                  const std::vector<int64_t> &shape);
  /// Appends elements of type `source`; bf16 is widened to f32.
  Status append(const void *data, int64_t elements, DType source);
  /// Flushes; an error here means an incomplete file.
  Status finish();

private:
  std::string path;
  std::ofstream file;
  DType dtype = DType::f32;
};

} // namespace moe::exec
