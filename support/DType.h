//===- DType.h - element types -----------------------------------*- C++
//-*-===//
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace moe {

/// Element types of tensors. f64 exists for gradient tests only.
enum class DType : uint8_t { bf16, f32, f64, i32 };

/// Bytes of one element.
constexpr int64_t byteSize(DType type) {
  switch (type) {
  case DType::bf16:
    return 2;
  case DType::f32:
  case DType::i32:
    return 4;
  case DType::f64:
    return 8;
  }
  return 0;
}

/// The spelling used in plans and diagnostics.
constexpr std::string_view name(DType type) {
  switch (type) {
  case DType::bf16:
    return "bf16";
  case DType::f32:
    return "f32";
  case DType::f64:
    return "f64";
  case DType::i32:
    return "i32";
  }
  return "";
}

constexpr std::optional<DType> parseDType(std::string_view text) {
  for (DType type : {DType::bf16, DType::f32, DType::f64, DType::i32})
    if (name(type) == text)
      return type;
  return std::nullopt;
}

} // namespace moe
