#include "support/Files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

namespace fs = std::filesystem;

namespace moe {
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

/// Writes to an open file; the error names `path`.
Status writeAll(int file, std::string_view text, const std::string &path) {
  for (size_t done = 0; done < text.size();) {
    ssize_t count = ::write(file, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR)
      return systemError(path, "write", errno);
    if (count > 0)
      done += static_cast<size_t>(count);
  }
  return {};
}

Status writeDirectly(const std::string &path, std::string_view text) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.number < 0)
    return systemError(path, "write", errno);
  return writeAll(file.number, text, path);
}

/// Where a file lies that `path` may be a link to, whether it exists or not.
fs::path followLinks(fs::path path) {
  constexpr int mostLinks = 40; // as in Linux
  for (int link = 0; link < mostLinks; ++link) {
    std::error_code code;
    fs::path target = fs::read_symlink(path, code);
    if (code)
      break;
    path = path.parent_path() / target;
  }
  return path;
}

/// Whether something else than a regular file is there already.
bool isSpecial(const std::string &path) {
  std::error_code code;
  fs::file_status status = fs::status(path, code);
  return fs::exists(status) && !fs::is_regular_file(status);
}

/// One spelling of all paths to a file; empty if it cannot be overwritten.
fs::path identity(const std::string &path) {
  if (path.empty() || isSpecial(path))
    return {};
  std::error_code code;
  fs::path whole = fs::absolute(followLinks(path), code);
  fs::path canonical = fs::weakly_canonical(whole, code);
  return code ? whole : canonical;
}

/// As far as can be told without touching anything.
Status checkWritable(const NamedFile &output) {
  const std::string what = std::string(output.option) + ": " + output.path;
  if (output.path == "-")
    return Error{what + ": would be a file of that name; name another one, or "
                        "a device such as /dev/stdout"};
  std::error_code code;
  if (fs::is_directory(output.path, code))
    return Error{what + ": is a folder; name a file in it"};
  if (isSpecial(output.path))
    return ::access(output.path.c_str(), W_OK) == 0
               ? Status()
               : systemError(what, "write", errno);
  fs::path folder = followLinks(output.path).parent_path();
  if (folder.empty())
    folder = ".";
  // The dot is an error below what is no folder.
  if (::access((folder / ".").c_str(), W_OK | X_OK) != 0)
    return systemError(what, ("write into " + folder.string()).c_str(), errno);
  return {};
}

} // namespace

Result<std::string> readFile(const std::string &path, size_t mostBytes) {
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
      return text;
    if (static_cast<size_t>(count) > mostBytes - text.size())
      return Error{path + ": is larger than " + std::to_string(mostBytes) +
                   " bytes, the most that is read of such a file"};
    text.append(block.data(), static_cast<size_t>(count));
  }
}

Status writeFile(const std::string &path, std::string_view text) {
  if (isSpecial(path))
    return writeDirectly(path, text);
  std::string target = followLinks(path).string();
  // Beside the target, because rename() does not cross file systems.
  std::string temporary = target + ".partial-" + std::to_string(::getpid());
  Descriptor file(::open(temporary.c_str(),
                         O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.number < 0)
    return systemError(path, "write", errno);
  Status status = writeAll(file.number, text, path);
  if (status.ok() && ::fsync(file.number) != 0)
    status = systemError(path, "write", errno);
  if (status.ok() && std::rename(temporary.c_str(), target.c_str()) != 0)
    status = systemError(path, "replace", errno);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  // The new name is on disk once its folder is.
  std::string folder = fs::path(target).parent_path().string();
  if (folder.empty())
    folder = ".";
  Descriptor directory(
      ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.number < 0 || ::fsync(directory.number) != 0)
    return systemError(folder, "synchronize", errno);
  return {};
}

Status checkOutputs(const std::vector<NamedFile> &outputs,
                    const std::vector<NamedFile> &inputs) {
  std::vector<std::pair<fs::path, std::string_view>> taken;
  for (const NamedFile &input : inputs) {
    std::error_code code;
    if (fs::exists(input.path, code))
      taken.emplace_back(identity(input.path), input.option);
  }
  for (const NamedFile &output : outputs) {
    if (output.path.empty())
      continue;
    MOE_RETURN_IF_ERROR(checkWritable(output));
    fs::path file = identity(output.path);
    if (file.empty())
      continue;
    for (const auto &[other, option] : taken)
      if (file == other)
        return Error{std::string(option) + " and " +
                     std::string(output.option) + " name the same file, " +
                     output.path};
    taken.emplace_back(file, output.option);
  }
  return {};
}

Status flushStandardOutput() {
  // std::cout writes through stdout as well.
  bool flushed = std::fflush(stdout) == 0;
  int code = errno;
  if (!flushed)
    return systemError("standard output", "write", code);
  if (std::ferror(stdout))
    return Error{"standard output: cannot write"};
  return {};
}

} // namespace moe
