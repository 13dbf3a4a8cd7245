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

/// Which values live, and where; every change goes through the arena.
class Values {
public:
  Values(const Binding &binding, Arena &arena);

  Result<kernels::Tensor> allocate(const Instance &instance);
  /// Errors when the value does not live, or is being sent.
  Status release(const Instance &instance);
  /// The tensor with its data; an error when the value does not live.
  Result<kernels::Tensor> get(const Instance &instance) const;

  /// Notes that a peer reads the value until takeSend().
  Status setSend(const Instance &instance, comm::SendHandle send);
  Result<comm::SendHandle> takeSend(const Instance &instance);

private:
  struct State {
    bool live = false;
    comm::SendHandle send;
  };
  size_t index(const Instance &instance) const;
  State &state(const Instance &instance) {
    return states[static_cast<size_t>(instance.stage)][index(instance)];
  }
  const State &state(const Instance &instance) const {
    return states[static_cast<size_t>(instance.stage)][index(instance)];
  }
  const plan::Value &value(const Instance &instance) const;
  int64_t offset(const Instance &instance) const;
  Error error(const Instance &instance, const std::string &reason) const;

  const Binding &binding;
  Arena &arena;
  /// [stage][value * slots + slot]; values of fixed placement use slot 0.
  std::vector<std::vector<State>> states;
};

} // namespace moe::exec
