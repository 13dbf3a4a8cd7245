//===- Loopback.h - ranks are threads of one process ------------*- C++ -*-===//
//
// Nothing is buffered: who posts the second side of a transfer copies straight
// from the sender's memory into the receiver's.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Comm/Transport.h"

#include <chrono>
#include <memory>
#include <optional>

namespace moe::comm {

struct LoopbackOptions {
  /// Longest time that one operation may block.
  std::chrono::milliseconds deadline = std::chrono::seconds(60);
};

/// The first failure of a world.
struct Failure {
  int64_t rank = 0;
  Error error;
};

/// The state that the ranks share. It must outlive its transports.
class LoopbackWorld {
public:
  explicit LoopbackWorld(int64_t ranks, LoopbackOptions options = {});
  ~LoopbackWorld();

  /// The transport of `rank`, in [0, ranks).
  Transport &transport(int64_t rank);
  /// Set once a rank has failed.
  std::optional<Failure> failure() const;

  struct State;

private:
  std::unique_ptr<State> state;
};

} // namespace moe::comm
