//===- PlanFile.cpp - plans as files --------------------------------------===//

#include "runtime/Plan/Plan.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace moe::plan {
namespace {

/// Closes a file descriptor at the end of a scope.
class Descriptor {
public:
  explicit Descriptor(int number) : number(number) {}
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  ~Descriptor() {
    if (number >= 0)
      ::close(number);
  }
  int number;
};

Error systemError(const std::string &path, const char *action, int code) {
  return Error{path + ": cannot " + action + ": " + std::strerror(code)};
}

Status writeAll(int file, const std::string &text, const std::string &path) {
  for (size_t done = 0; done < text.size();) {
    ssize_t count = ::write(file, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR)
      return systemError(path, "write", errno);
    if (count > 0)
      done += static_cast<size_t>(count);
  }
  if (::fsync(file) != 0)
    return systemError(path, "write", errno);
  return {};
}

} // namespace

Result<Plan> read(const std::string &path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number < 0)
    return systemError(path, "open", errno);
  std::string text;
  std::vector<char> block(1 << 20);
  for (;;) {
    ssize_t count = ::read(file.number, block.data(), block.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return systemError(path, "read", errno);
    if (count == 0)
      break;
    text.append(block.data(), static_cast<size_t>(count));
  }
  Result<Plan> plan = parse(text);
  if (!plan)
    return Error{path + ": " + plan.error().message};
  return plan;
}

Status write(const Plan &plan, const std::string &path) {
  // Beside the target, because rename() does not cross file systems.
  std::string temporary = path + ".partial-" + std::to_string(::getpid());
  Descriptor file(::open(temporary.c_str(),
                         O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.number < 0)
    return systemError(path, "write", errno);
  Status status = writeAll(file.number, print(plan), temporary);
  if (status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0)
    status = systemError(path, "replace", errno);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  // The new name is on disk once its folder is.
  size_t slash = path.rfind('/');
  std::string folder = slash == std::string::npos ? "."
                       : slash == 0               ? "/"
                                                  : path.substr(0, slash);
  Descriptor directory(
      ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.number < 0 || ::fsync(directory.number) != 0)
    return systemError(folder, "synchronize", errno);
  return {};
}

} // namespace moe::plan
