//===- Scratch.cpp --------------------------------------------------------===//

#include "kernels/Cpu/Scratch.h"

#include <array>
#include <memory>
#include <new>

namespace moe::kernels {
namespace {

constexpr std::align_val_t alignment{64};

struct Deleter {
  void operator()(std::byte *bytes) const {
    ::operator delete(bytes, alignment);
  }
};

struct Block {
  std::unique_ptr<std::byte, Deleter> bytes;
  size_t size = 0;
};

} // namespace

void *scratchBytes(ScratchSlot slot, size_t bytes) {
  thread_local std::array<Block, 6> blocks;
  Block &block = blocks[static_cast<size_t>(slot)];
  if (block.size < bytes) {
    block.bytes.reset();
    block.bytes.reset(
        static_cast<std::byte *>(::operator new(bytes, alignment)));
    block.size = bytes;
  }
  return block.bytes.get();
}

} // namespace moe::kernels
