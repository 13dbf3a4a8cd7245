//===- Shapes.h - matching operands against a signature ---------*- C++ -*-===//
#pragma once

#include "runtime/Exec/Signature.h"

namespace moe::exec {

/// An operand of a signature, read from its text.
struct OperandPattern {
  bool optional = false;
  std::string_view name;
  char type = 's';
  std::vector<std::string_view> dims;
  std::string_view from; ///< empty: any origin
};
OperandPattern parseOperand(std::string_view text);

/// Finds the numbers that the names in shapes stand for.
class ShapeMatcher {
public:
  explicit ShapeMatcher(DType storage);

  /// Gives a name its number, before any shape is matched.
  void define(std::string_view name, int64_t number);
  /// Matches one operand; errors name it, what it must be, and what it is.
  Status match(const OperandPattern &pattern, const kernels::Tensor &tensor);
  /// The numbers found, and "?name" for each optional operand that is present.
  const Dimensions &dimensions() const { return numbers; }

private:
  Status matchType(const OperandPattern &pattern, DType type);
  Status matchDim(std::string_view expression, int64_t dim);

  DType storage, wide;
  std::optional<DType> free, any;            ///< of operands of type x, a
  std::optional<kernels::Tensor> wholeShape; ///< of "*"
  Dimensions numbers;
};

/// "f32[4,8]".
std::string describe(const kernels::Tensor &tensor);

} // namespace moe::exec
