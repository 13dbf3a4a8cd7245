#include "tools/moe-plan/Progress.h"

#include <unistd.h>

#include <iostream>

namespace moe {

Progress::Progress() : isShown(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (isShown)
    std::cerr << "\r\033[K" << std::flush;
}

void Progress::show(size_t done, size_t total, const std::string &what) const {
  if (!isShown)
    return;
  constexpr size_t width = 30;
  std::cerr << "\r\033[K";
  if (total > 0) {
    const size_t filled = width * done / total;
    std::cerr << '[' << std::string(filled, '#')
              << std::string(width - filled, '.') << "] ";
  }
  std::cerr << done;
  if (total > 0)
    std::cerr << '/' << total;
  std::cerr << "  " << what.substr(0, 60) << std::flush;
}

} // namespace moe
