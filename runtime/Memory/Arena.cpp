//===- Arena.cpp - the memory of one rank ---------------------------------===//

#include "runtime/Memory/Arena.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace moe {

namespace {
/// A byte of a poisoned range: all ones are NaN in bf16, f32 and f64.
constexpr int kPoison = 0xFF;
} // namespace

Result<Arena> Arena::create(int64_t bytes, bool poison) {
  if (bytes < 0 || bytes % plan::kAlignment != 0)
    return Error{"the arena's size must be a multiple of " +
                 std::to_string(plan::kAlignment) + " bytes, is " +
                 std::to_string(bytes)};
  auto fail = [&](int code) {
    return Error{"cannot map an arena of " + std::to_string(bytes) +
                 " bytes: " + std::strerror(code) +
                 "; reduce the model or the layout to what this machine holds"};
  };
  int64_t page = ::sysconf(_SC_PAGESIZE);
  if (bytes > INT64_MAX - 3 * page)
    return fail(ENOMEM);
  int64_t body = (bytes + page - 1) / page * page;

  Arena arena;
  arena.mappingBytes = static_cast<size_t>(body + 2 * page);
  void *mapping = ::mmap(nullptr, arena.mappingBytes, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED)
    return fail(errno);
  arena.mapping = mapping;
  std::byte *begin = static_cast<std::byte *>(mapping) + page;
  if (body > 0 &&
      ::mprotect(begin, static_cast<size_t>(body), PROT_READ | PROT_WRITE) != 0)
    return fail(errno);
  // The arena ends where the guard begins; what is left of a page is in front,
  // and the base stays aligned because the size is.
  arena.base = begin + (body - bytes);
  arena.bytes = bytes;
  arena.poison = poison;
  if (poison)
    std::memset(arena.base, kPoison, static_cast<size_t>(bytes));
  return arena;
}

Arena::Arena(Arena &&other) noexcept { *this = std::move(other); }

Arena &Arena::operator=(Arena &&other) noexcept {
  if (this == &other)
    return *this;
  unmap();
  mapping = std::exchange(other.mapping, nullptr);
  mappingBytes = std::exchange(other.mappingBytes, 0);
  base = std::exchange(other.base, nullptr);
  bytes = std::exchange(other.bytes, 0);
  poison = other.poison;
  buffers = std::exchange(other.buffers, {});
  liveBytes = std::exchange(other.liveBytes, {});
  liveSum = std::exchange(other.liveSum, 0);
  peakBytes = std::exchange(other.peakBytes, {});
  peakSum = std::exchange(other.peakSum, 0);
  return *this;
}

Arena::~Arena() { unmap(); }

void Arena::unmap() {
  if (mapping)
    ::munmap(mapping, mappingBytes);
  mapping = nullptr;
}

std::string Arena::describe(int64_t begin, const Buffer &buffer) {
  std::string text = buffer.label.empty()
                         ? "the buffer"
                         : "\"" + std::string(buffer.label) + "\"";
  return text + " (" + std::string(plan::name(buffer.memoryClass)) +
         ") at bytes " + std::to_string(begin) + " to " +
         std::to_string(buffer.end);
}

Result<std::byte *> Arena::allocate(int64_t offset, int64_t size,
                                    plan::MemoryClass memoryClass,
                                    std::string_view label) {
  if (offset < 0 || size <= 0 || offset % plan::kAlignment != 0 ||
      size % plan::kAlignment != 0)
    return Error{"a buffer" +
                 (label.empty() ? "" : " \"" + std::string(label) + "\"") +
                 " must have an offset and a positive size in multiples of " +
                 std::to_string(plan::kAlignment) + ", has " +
                 std::to_string(size) + " bytes at " + std::to_string(offset)};
  if (offset > bytes || size > bytes - offset)
    return Error{
        "a buffer" + (label.empty() ? "" : " \"" + std::string(label) + "\"") +
        " of " + std::to_string(size) + " bytes at " + std::to_string(offset) +
        " leaves the arena, which has " + std::to_string(bytes) + " bytes"};
  Buffer buffer{offset + size, memoryClass, label};
  auto next = buffers.upper_bound(offset);
  auto other = next;
  if (next != buffers.begin() && std::prev(next)->second.end > offset)
    other = std::prev(next);
  else if (next != buffers.end() && next->first >= buffer.end)
    other = buffers.end();
  if (other != buffers.end())
    return Error{describe(offset, buffer) + " overlaps " +
                 describe(other->first, other->second) + ", which is live"};
  buffers.emplace_hint(next, offset, buffer);
  liveBytes[memoryClass] += size;
  liveSum += size;
  if (liveSum > peakSum) {
    peakSum = liveSum;
    peakBytes = liveBytes;
  }
  return base + offset;
}

Status Arena::release(int64_t offset) {
  auto found = buffers.find(offset);
  if (found != buffers.end())
    spoil(offset, found->second.end - offset);
  return releaseUnspoiled(offset);
}

Status Arena::releaseUnspoiled(int64_t offset) {
  auto found = buffers.find(offset);
  if (found == buffers.end())
    return Error{"no live buffer begins at byte " + std::to_string(offset) +
                 " of the arena"};
  int64_t size = found->second.end - offset;
  liveBytes[found->second.memoryClass] -= size;
  liveSum -= size;
  buffers.erase(found);
  return {};
}

void Arena::spoil(int64_t offset, int64_t count) {
  if (poison)
    std::memset(base + offset, kPoison, static_cast<size_t>(count));
}

} // namespace moe
