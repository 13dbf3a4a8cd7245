#include "PackingCases.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace moe::test {

using optimize::Buffer;
using optimize::Lifetime;
using optimize::PackingProblem;

PackingProblem randomProblem(std::mt19937 &random, size_t count, int64_t times,
                             int64_t sizes, int64_t alignment) {
  PackingProblem problem;
  for (size_t i = 0; i < count; ++i) {
    Buffer buffer;
    buffer.begin = static_cast<int64_t>(random()) % times;
    buffer.end = buffer.begin + 1 + static_cast<int64_t>(random()) % times;
    buffer.size = static_cast<int64_t>(random()) % (sizes + 1) * alignment;
    buffer.alignment = alignment;
    problem.buffers.push_back(buffer);
  }
  return problem;
}

void addLifetimes(std::mt19937 &random, size_t most, PackingProblem &problem) {
  for (Buffer &buffer : problem.buffers) {
    int64_t before = buffer.end;
    for (size_t more = random() % (most + 1); more > 0; --more) {
      int64_t begin = before + static_cast<int64_t>(random() % 4);
      before = begin + 1 + static_cast<int64_t>(random() % 4);
      buffer.later.push_back({begin, before});
    }
  }
}

static bool meet(const Buffer &a, const Buffer &b) {
  auto lives = [](const Buffer &buffer) {
    std::vector<Lifetime> all = {{buffer.begin, buffer.end}};
    all.insert(all.end(), buffer.later.begin(), buffer.later.end());
    return all;
  };
  for (Lifetime mine : lives(a))
    for (Lifetime its : lives(b))
      if (mine.begin < its.end && its.begin < mine.end)
        return true;
  return false;
}

int64_t lowestHeight(const PackingProblem &problem) {
  std::vector<size_t> order(problem.buffers.size());
  std::iota(order.begin(), order.end(), 0);
  int64_t best = std::numeric_limits<int64_t>::max();
  do {
    std::vector<int64_t> offsets(order.size(), -1);
    int64_t height = 0;
    for (size_t i : order) {
      const Buffer &a = problem.buffers[i];
      int64_t offset = 0;
      for (bool moved = true; moved;) {
        moved = false;
        for (size_t j = 0; j < order.size(); ++j) {
          const Buffer &b = problem.buffers[j];
          if (offsets[j] >= 0 && a.size > 0 && b.size > 0 && meet(a, b) &&
              offset < offsets[j] + b.size && offsets[j] < offset + a.size) {
            offset = (offsets[j] + b.size + a.alignment - 1) / a.alignment *
                     a.alignment;
            moved = true;
          }
        }
      }
      offsets[i] = offset;
      if (a.size > 0)
        height = std::max(height, offset + a.size + a.above);
    }
    best = std::min(best, height);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

PackingProblem cutRectangle(std::mt19937 &random, size_t count,
                            int64_t height) {
  struct Piece {
    int64_t begin, end, bytes;
  };
  int64_t times = height;
  std::vector<Piece> pieces = {{0, times, height}};
  while (pieces.size() < count) {
    // The larger of two is cut, across its longer side mostly.
    size_t a = random() % pieces.size(), b = random() % pieces.size();
    auto area = [&](size_t i) {
      return static_cast<double>(pieces[i].end - pieces[i].begin) *
             static_cast<double>(pieces[i].bytes);
    };
    Piece &piece = pieces[area(a) > area(b) ? a : b];
    int64_t length = piece.end - piece.begin;
    bool cutsTime =
        random() % 4 == 0 ? length < piece.bytes : length > piece.bytes;
    int64_t whole = cutsTime ? length : piece.bytes;
    if (whole < 2)
      continue;
    int64_t part = 1 + static_cast<int64_t>(random()) % (whole - 1);
    Piece cut = piece;
    if (cutsTime) {
      piece.end = piece.begin + part;
      cut.begin = piece.end;
    } else {
      piece.bytes = part;
      cut.bytes -= part;
    }
    pieces.push_back(cut);
  }
  PackingProblem problem;
  for (const Piece &piece : pieces)
    problem.buffers.push_back({piece.bytes, piece.begin, piece.end, 1});
  std::shuffle(problem.buffers.begin(), problem.buffers.end(), random);
  return problem;
}

} // namespace moe::test
