//===- Values.h - the live values of one rank -------------------*- C++ -*-===//
#pragma once

#include "runtime/Comm/Transport.h"
#include "runtime/Exec/Binding.h"
#include "runtime/Memory/Arena.h"

namespace moe::exec {

/// One buffer of a stage for one slot.
struct Instance {
  int64_t stage = -1;
  plan::ValueIndex value = -1;
  int64_t slot = -1;
};

/// Bytes of an arena.
struct Place {
  Arena *arena = nullptr;
  int64_t offset = 0, bytes = 0;
};

/// Which values live, and where; every change goes through the arena that they
/// lie in: `host` for those of class host, `device` for all others.
class Values {
public:
  Values(const Binding &binding, Arena &device, Arena &host);

  Result<kernels::Tensor> allocate(const Instance &instance);
  /// Ends the value that this one overwrites, as release() does, and gives its
  /// bytes to this one as they are.
  Result<kernels::Tensor> takeOver(const Instance &instance);
  /// Errors when the value does not live, or is being sent or received.
  Status release(const Instance &instance);
  /// Does the same, but leaves it to the caller to spoil the bytes.
  Result<Place> releaseUnspoiled(const Instance &instance);
  /// The tensor with its data; an error when the value does not live, or is
  /// being received.
  Result<kernels::Tensor> get(const Instance &instance) const;

  /// Notes that a peer reads the value until takeSend().
  Status setSend(const Instance &instance, comm::SendHandle send);
  Result<comm::SendHandle> takeSend(const Instance &instance);

  /// Notes that a peer writes the value until takeReceive().
  void setReceive(const Instance &instance, comm::ReceiveHandle receive) {
    state(instance).receive = receive;
  }
  /// Nothing when the value is not being received.
  std::optional<comm::ReceiveHandle> takeReceive(const Instance &instance);

  const plan::Value &value(const Instance &instance) const;

private:
  struct State {
    bool live = false;
    comm::SendHandle send;
    comm::ReceiveHandle receive;
  };
  size_t index(const Instance &instance) const;
  State &state(const Instance &instance) {
    return states[static_cast<size_t>(instance.stage)][index(instance)];
  }
  const State &state(const Instance &instance) const {
    return states[static_cast<size_t>(instance.stage)][index(instance)];
  }
  Place placeOf(const Instance &instance) const;
  /// Ends the life of the value for this class, not for the arena.
  Status end(const Instance &instance);
  Error error(const Instance &instance, const std::string &reason) const;

  const Binding &binding;
  Arena &device, &host;
  /// [stage][value * slots + slot]; values of fixed placement use slot 0.
  std::vector<std::vector<State>> states;
};

} // namespace moe::exec
