//===- PackingSections.h - lifetimes as sets of sections --------*- C++ -*-===//
//
// Private to compiler/Optimize. A section is a moment at which the buffers that
// live are not all among those of another moment beside it: two buffers meet if
// and only if they share a section.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Offsets.h"

namespace moe::optimize {

struct Sections {
  struct Item {
    uint32_t buffer; ///< of the problem
    int64_t size;
    std::vector<uint32_t> sections; ///< rising
    bool isInterval() const {
      return sections.back() - sections.front() + 1 == sections.size();
    }
  };
  struct Section {
    std::vector<uint32_t> items;  ///< that live there
    std::vector<uint32_t> begins; ///< of those: not in the section before
    std::vector<uint32_t> ends;   ///< not in the section behind
    int64_t bytes = 0;            ///< of all items
  };
  std::vector<Item> items; ///< buffers with bytes
  std::vector<Section> sections;
};

/// The sections of those buffers of a problem that `members` names.
Sections findSections(const PackingProblem &problem,
                      const std::vector<uint32_t> &members);

} // namespace moe::optimize
