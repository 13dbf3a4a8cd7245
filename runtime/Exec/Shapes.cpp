#include "runtime/Exec/Shapes.h"

#include <algorithm>
#include <charconv>

namespace moe::exec {

/// The text up to `separator`, which is taken off the front of `rest`.
static std::string_view takeUntil(std::string_view &rest, char separator) {
  size_t end = rest.find(separator);
  std::string_view word = rest.substr(0, end);
  rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
  return word;
}

OperandPattern parseOperand(std::string_view text) {
  OperandPattern pattern;
  if (text.starts_with("?")) {
    pattern.optional = true;
    text.remove_prefix(1);
  }
  pattern.name = takeUntil(text, ' ');
  pattern.type = takeUntil(text, ' ')[0];
  while (!text.empty()) {
    std::string_view word = takeUntil(text, ' ');
    if (word.starts_with("from="))
      pattern.from = word.substr(5);
    else
      pattern.dims.push_back(word);
  }
  return pattern;
}

std::string describe(const kernels::Tensor &tensor) {
  std::string text(moe::name(tensor.dtype));
  for (int i = 0; i < tensor.rank; ++i)
    text += (i ? "," : "[") + std::to_string(tensor.dim(i));
  return text + (tensor.rank ? "]" : "[]");
}

ShapeMatcher::ShapeMatcher(DType storage)
    : storage(storage), wide(storage == DType::f64 ? DType::f64 : DType::f32) {}

void ShapeMatcher::define(std::string_view name, int64_t number) {
  numbers[std::string(name)] = number;
}

Status ShapeMatcher::matchType(const OperandPattern &pattern, DType type) {
  auto expected = [&](std::string_view what) {
    return Error{"must be " + std::string(what)};
  };
  switch (pattern.type) {
  case 's':
    return type == storage ? Status() : expected(moe::name(storage));
  case 'f':
    return type == wide ? Status() : expected(moe::name(wide));
  case 'i':
    return type == DType::i32 ? Status() : expected("i32");
  case 'a':
    if (any && *any != type)
      return expected(moe::name(*any));
    any = type;
    return {};
  default: // either of the floating-point types
    break;
  }
  if (type != storage && type != wide)
    return expected(std::string(moe::name(storage)) + " or " +
                    std::string(moe::name(wide)));
  if (free && *free != type)
    return expected(moe::name(*free));
  free = type;
  return {};
}

Status ShapeMatcher::matchDim(std::string_view expression, int64_t dim) {
  // A product with at most one factor that is not known yet.
  int64_t known = 1;
  std::string_view unknown;
  std::string_view rest = expression;
  while (!rest.empty()) {
    std::string_view factor = takeUntil(rest, '*');
    int64_t number = 0;
    auto found = numbers.find(factor);
    if (found != numbers.end())
      number = found->second;
    else if (std::from_chars(factor.begin(), factor.end(), number).ec !=
             std::errc()) {
      unknown = factor;
      continue;
    }
    if (__builtin_mul_overflow(known, number, &known))
      return Error{std::string(expression) + " is too large"};
  }
  if (unknown.empty() ? known == dim : known > 0 && dim % known == 0) {
    if (!unknown.empty())
      define(unknown, dim / known);
    return {};
  }
  return Error{std::string(expression) + " must be " +
               (unknown.empty() ? std::to_string(known)
                                : "a multiple of " + std::to_string(known)) +
               ", is " + std::to_string(dim)};
}

Status ShapeMatcher::match(const OperandPattern &pattern,
                           const kernels::Tensor &tensor) {
  auto fail = [&](const std::string &reason) {
    return Error{"'" + std::string(pattern.name) + "' is " + describe(tensor) +
                 ": " + reason};
  };
  if (Status status = matchType(pattern, tensor.dtype); !status)
    return fail(status.error().message);
  if (pattern.optional)
    define("?" + std::string(pattern.name), 1);
  if (pattern.dims.size() == 1 && pattern.dims[0] == "*") {
    if (!wholeShape)
      wholeShape = tensor;
    else if (wholeShape->rank != tensor.rank || wholeShape->dims != tensor.dims)
      return fail("must have the shape of " + describe(*wholeShape));
    return {};
  }
  if (static_cast<size_t>(tensor.rank) != pattern.dims.size())
    return fail("must have " + std::to_string(pattern.dims.size()) +
                " dimensions");
  for (int i = 0; i < tensor.rank; ++i)
    if (Status status =
            matchDim(pattern.dims[static_cast<size_t>(i)], tensor.dim(i));
        !status)
      return fail(status.error().message);
  return {};
}

} // namespace moe::exec
