//===- Checks.h - limits and rules of model dimensions ----------*- C++ -*-===//
#pragma once

#include "compiler/Import/ModelConfig.h"

namespace moe::model {

// Largest values accepted. Far above any model, and small enough together that
// no parameter count leaves 64 bits:
// layers * experts * 3 * width^2 < 2^12 * 2^13 * 2^2 * 2^34 = 2^61.
inline constexpr int64_t kMaximumLayers = 4096;
inline constexpr int64_t kMaximumWidth = 131072;
inline constexpr int64_t kMaximumVocabulary = 1 << 24;
inline constexpr int64_t kMaximumExperts = 8192;
inline constexpr int64_t kMaximumHeads = 8192;
inline constexpr int64_t kMaximumHeadDim = 8192;
inline constexpr int64_t kMaximumWindow = 1 << 30;
inline constexpr int64_t kMaximumMtpLayers = 64;

/// What the user calls the dimensions: field names of the configuration, or
/// keys of a reduction.
struct DimensionNames {
  std::string_view heads, kvHeads, rotary, experts, topK, groups, topGroups;
};

/// The rules between dimensions: key-value heads divide heads, rotated columns
/// are even in number, and experts, groups and choices fit each other.
Status checkDimensions(const ModelConfig &config, const DimensionNames &names);

} // namespace moe::model
