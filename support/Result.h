//===- Result.h - values or errors without exceptions -----------*- C++ -*-===//
//
// The whole tree is built without relying on exceptions for control flow: a
// function that can fail on outside input returns Result<T> (or Status), and
// the caller must look at it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <utility>

namespace moe {

/// One failure, in words for the user: what is wrong, where, and the way out.
struct Error {
  std::string message;
};

/// A value of type T, or the Error that prevented it.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : value(std::move(value)) {}
  Result(Error error) : failure(std::move(error)) {}

  bool ok() const { return value.has_value(); }
  explicit operator bool() const { return ok(); }

  T &operator*() {
    assert(ok());
    return *value;
  }
  const T &operator*() const {
    assert(ok());
    return *value;
  }
  T *operator->() { return &**this; }
  const T *operator->() const { return &**this; }

  /// The error; only when !ok().
  const Error &error() const {
    assert(!ok());
    return failure;
  }

private:
  std::optional<T> value;
  Error failure;
};

/// Success, or an Error.
class [[nodiscard]] Status {
public:
  Status() = default;
  Status(Error error) : failure(std::move(error)) {}

  bool ok() const { return !failure.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error &error() const {
    assert(!ok());
    return *failure;
  }

private:
  std::optional<Error> failure;
};

} // namespace moe

/// Leaves the enclosing function with the error of `expression`, if it has one.
#define MOE_RETURN_IF_ERROR(expression)                                        \
  do {                                                                         \
    if (auto moeStatus = (expression); !moeStatus.ok())                        \
      return moeStatus.error();                                                \
  } while (false)
