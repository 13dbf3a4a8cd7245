//===- ConfigFile.cpp - options from a file -------------------------------===//

#include "tools/moe-plan/ConfigFile.h"

#include "support/Result.h"

#include <iterator>
#include <map>
#include <string_view>

namespace moe {

namespace {

/// One `key = value`.
struct Entry {
  std::string section, key; ///< no section: empty
  std::vector<std::string> values;
  size_t line = 0;

  std::string name() const {
    return section.empty() ? key : section + "." + key;
  }
};

/// Takes the text apart. What keys mean is none of its business.
class Reader {
public:
  explicit Reader(std::string_view text) : rest(text) {}

  /// An error begins with the line, and has no name of the file.
  Result<std::vector<Entry>> run() {
    std::vector<Entry> entries;
    for (skipBlank(true); !rest.empty(); skipBlank(true)) {
      Status status =
          take('[') ? readSection() : readEntry(entries.emplace_back());
      if (status)
        status = readEndOfLine();
      if (!status)
        return Error{std::to_string(line) + ": " + status.error().message};
    }
    return entries;
  }

private:
  static bool isOfKey(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  }
  /// What a value has that needs no quotes, such as 1f1b, 0.5 or pp=4.
  static bool isOfWord(char c) {
    return isOfKey(c) || c == '=' || c == '@' || c == ':' || c == '+' ||
           c == '/';
  }

  bool take(char c) {
    if (rest.empty() || rest.front() != c)
      return false;
    rest.remove_prefix(1);
    return true;
  }

  std::string takeWhile(bool (*belongs)(char)) {
    size_t end = 0;
    while (end < rest.size() && belongs(rest[end]))
      ++end;
    std::string taken(rest.substr(0, end));
    rest.remove_prefix(end);
    return taken;
  }

  /// Spaces and comments, and where told so, the ends of lines as well.
  void skipBlank(bool passesLines) {
    while (!rest.empty()) {
      char c = rest.front();
      if (c == '#')
        takeWhile([](char each) { return each != '\n'; });
      else if (c == ' ' || c == '\t' || c == '\r' || (c == '\n' && passesLines))
        rest.remove_prefix(1);
      else
        return;
      line += c == '\n';
    }
  }

  Status readEndOfLine() {
    skipBlank(false);
    if (rest.empty() || rest.front() == '\n')
      return {};
    return Error{"'" + std::string(rest.substr(0, rest.find('\n'))) +
                 "' is too much; a text with spaces or commas stands in "
                 "quotes, a list in brackets"};
  }

  Status readSection() {
    skipBlank(false);
    section = takeWhile(isOfKey);
    skipBlank(false);
    if (section.empty() || !take(']'))
      return Error{"expected a section such as [sweep]"};
    return {};
  }

  Status readEntry(Entry &entry) {
    entry.line = line;
    entry.section = section;
    entry.key = takeWhile(isOfKey);
    skipBlank(false);
    if (entry.key.empty() || !take('='))
      return Error{"expected an option as in budget = \"76GiB\""};
    if (size_t dot = entry.key.find('.');
        section.empty() && dot != std::string::npos) {
      entry.section = entry.key.substr(0, dot);
      entry.key.erase(0, dot + 1);
    }
    skipBlank(false);
    return take('[') ? readList(entry) : readValue(entry);
  }

  Status readList(Entry &entry) {
    for (skipBlank(true); !take(']'); skipBlank(true)) {
      MOE_RETURN_IF_ERROR(readValue(entry));
      skipBlank(true);
      if (!take(',') && !rest.starts_with(']'))
        return Error{entry.name() + ": expected ',' or ']'"};
    }
    if (entry.values.empty())
      return Error{entry.name() + ": the list is empty"};
    return {};
  }

  Status readValue(Entry &entry) {
    for (char quote : {'"', '\''})
      if (take(quote))
        return readText(entry, quote);
    std::string word = takeWhile(isOfWord);
    if (word.empty())
      return Error{entry.name() + ": expected a value such as \"76GiB\" or 8"};
    entry.values.push_back(std::move(word));
    return {};
  }

  Status readText(Entry &entry, char quote) {
    std::string text;
    while (!take(quote)) {
      if (rest.empty() || rest.front() == '\n')
        return Error{entry.name() + ": the text has no end"};
      // Of escapes only those that quoted text cannot do without.
      if (quote == '"' && take('\\') && rest.find_first_of("\\\"") != 0)
        return Error{entry.name() + ": '\\' stands before '\"' and '\\' only; "
                                    "in single quotes it stands for itself"};
      text += rest.front();
      rest.remove_prefix(1);
    }
    entry.values.push_back(std::move(text));
    return {};
  }

  std::string_view rest;
  size_t line = 1;
  std::string section;
};

/// The subcommand called `name`, or null.
CLI::App *findCommand(CLI::App &app, const std::string &name) {
  for (CLI::App *command : app.get_subcommands({}))
    if (command->get_name() == name)
      return command;
  return nullptr;
}

/// The option that an entry is about.
Result<CLI::Option *> optionOf(CLI::App &app, const Entry &entry) {
  CLI::App *command = &app;
  if (!entry.section.empty()) {
    command = findCommand(app, entry.section);
    if (!command)
      return Error{entry.name() + ": there is no command " + entry.section};
    if (!command->parsed())
      return Error{entry.name() + ": is for moe-plan " + entry.section +
                   ", which is not what runs"};
  }
  CLI::Option *option = command->get_option_no_throw("--" + entry.key);
  if (!option && entry.key.size() == 1)
    option = command->get_option_no_throw("-" + entry.key);
  if (!option)
    return Error{entry.name() + ": unknown option; moe-plan " +
                 (entry.section.empty() ? "" : entry.section + " ") +
                 "--help lists those that there are"};
  if (!option->get_configurable())
    return Error{entry.name() + ": is for the command line only"};
  return option;
}

/// Gives the option its values, unless the command line did. Throws what CLI11
/// finds wrong with them.
void apply(CLI::Option &option, const Entry &entry) {
  if (!option.empty())
    return;
  const bool isFlag = option.get_expected_min() == 0;
  if (isFlag && entry.values.size() > 1)
    throw CLI::ArgumentMismatch(entry.name() + ": takes one value");
  if (isFlag)
    option.add_result(option.get_flag_value(entry.key, entry.values.front()));
  else
    option.add_result(entry.values);
  option.run_callback();
}

} // namespace

std::vector<CLI::ConfigItem>
ConfigFile::from_config(std::istream &input) const {
  const std::string place =
      "--config: " + app.get_config_ptr()->as<std::string>() + ":";
  std::string text((std::istreambuf_iterator<char>(input)), {});
  Result<std::vector<Entry>> entries = Reader(text).run();
  if (!entries)
    throw CLI::ConfigError(place + entries.error().message);

  std::map<const CLI::Option *, size_t> lines;
  for (const Entry &entry : *entries) {
    const std::string at = place + std::to_string(entry.line) + ": ";
    Result<CLI::Option *> option = optionOf(app, entry);
    if (!option)
      throw CLI::ConfigError(at + option.error().message);
    auto [known, isNew] = lines.emplace(*option, entry.line);
    if (!isNew)
      throw CLI::ConfigError(at + entry.name() + ": is given twice, first in " +
                             "line " + std::to_string(known->second));
    try {
      apply(**option, entry);
    } catch (const CLI::ParseError &error) {
      throw CLI::ConfigError(at + error.what());
    }
  }
  return {}; // nothing is left for CLI11 to do
}

} // namespace moe
