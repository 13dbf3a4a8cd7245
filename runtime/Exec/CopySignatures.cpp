// Copies between device and host.
#include "runtime/Exec/Signature.h"

#include <cstring>

namespace moe::exec {

std::vector<Signature> copySignatures() {
  auto copy = [](const CallContext &c) {
    const kernels::Tensor &from = c.inputs[0];
    std::memcpy(c.outputs[0].as<std::byte>(), from.as<std::byte>(),
                static_cast<size_t>(from.elements() * byteSize(from.dtype)));
    return Status();
  };
  return {{.kind = "offload",
           .inputs = {"x a *"},
           .outputs = {"out a *"},
           .call = copy,
           .copies = plan::Stream::copy_out},
          {.kind = "reload",
           .inputs = {"x a *"},
           .outputs = {"out a *"},
           .call = copy,
           .copies = plan::Stream::copy_in}};
}

} // namespace moe::exec
